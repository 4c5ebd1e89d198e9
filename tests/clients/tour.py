"""Pastes docs/tour.md into a shell, block by block, and compares what comes out.

    python tests/clients/tour.py target/debug/portcullis
"""

import pathlib
import re
import subprocess
import sys
import tempfile

from server import running

TOUR = pathlib.Path(__file__).parents[2] / "docs/tour.md"


def blocks():
    """The shell blocks of the tour, each with the block of output that follows it."""
    tour = TOUR.read_text().split("<!-- tour -->")[1].split("<!-- end of tour -->")[0]
    found = re.findall(r"^```(\w+)\n(.*?)^```$", tour, re.MULTILINE | re.DOTALL)
    commands = []
    for language, text in found:
        if language == "sh":
            commands.append([text, ""])
        else:
            commands[-1][1] = text
    return commands


def neutral(text):
    """Leaves out what differs from one run to the next."""
    text = re.sub(r"\b[0-9a-f]{16}\b", "ID", text)
    return re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "TIME", text)


def main(binary):
    binary = pathlib.Path(binary).resolve()
    commands = blocks()
    with running(binary) as server, tempfile.TemporaryDirectory() as directory:
        script = f"export TOKEN={server.token} PORTCULLIS_STORE={server.store}\n"
        script += f"portcullis() {{ '{binary}' \"$@\"; }}\n"
        for command, _ in commands:
            script += command.replace("http://127.0.0.1:8087", server.url) + "\nprintf '\\0'\n"
        shell = subprocess.run(
            ["bash"], input=script, cwd=directory, capture_output=True, text=True, timeout=120
        )
    outputs = shell.stdout.split("\0")[:-1]
    if len(outputs) != len(commands):
        raise AssertionError(f"{len(outputs)} of {len(commands)} blocks ran: {shell.stderr}")
    for (command, expected), output in zip(commands, outputs):
        if neutral(output) != neutral(expected):
            raise AssertionError(f"{command}\ngave\n{output}\ninstead of\n{expected}\n{shell.stderr}")
    print(f"docs/tour.md: {len(commands)} blocks passed, 0 failed")


if __name__ == "__main__":
    main(sys.argv[1])
