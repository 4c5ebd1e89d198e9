"""Runs the example `embed` and does with curl what it says.

    python tests/clients/embed_run.py target/debug/examples/embed
"""

import subprocess
import sys


def main(example):
    process = subprocess.Popen([example], stdout=subprocess.PIPE, text=True)
    try:
        commands = [process.stdout.readline().strip() for _ in range(2)]
        outputs = []
        for command in commands:
            if not command.startswith("curl "):
                raise AssertionError(f"the example says {command!r}")
            command = command.replace("curl ", "curl -sS --retry 10 --retry-connrefused ", 1)
            done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
            outputs.append(done.stdout + done.stderr)
    finally:
        process.kill()
        process.wait()
    written, refused = outputs
    if not written.startswith("1 lines written, allowed by write:orgs/"):
        raise AssertionError(written)
    if refused != "insufficient permissions for write\n":
        raise AssertionError(refused)
    print("the example: 2 commands passed, 0 failed")


if __name__ == "__main__":
    main(sys.argv[1])
