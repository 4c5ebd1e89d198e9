"""Runs an example that embeds the engine, and the curl commands that it prints.

    python tests/clients/embed_run.py target/debug/examples/embed

Each example prints two commands: one of a client that may write, one of a client that may not.
"""

import pathlib
import subprocess
import sys
import urllib.parse


def main(example):
    process = subprocess.Popen([example], stdout=subprocess.PIPE, text=True)
    try:
        commands = [process.stdout.readline().strip() for _ in range(2)]
        outputs = []
        for command in commands:
            if not command.startswith("curl "):
                raise AssertionError(f"the example prints {command!r}")
            command = command.replace("curl ", "curl -sS --retry 10 --retry-connrefused ", 1)
            done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
            # The messages of gRPC are encoded.
            outputs.append(urllib.parse.unquote(done.stdout + done.stderr))
    finally:
        process.kill()
        process.wait()
    written, refused = outputs
    if "allowed by write:orgs/" not in written or "insufficient" in written:
        raise AssertionError(written)
    if "insufficient permissions for write\n" not in refused.replace("\r", "") or "allowed" in refused:
        raise AssertionError(refused)
    print(f"the example {pathlib.Path(example).name}: 2 commands passed, 0 failed")


if __name__ == "__main__":
    main(sys.argv[1])
