"""A `meta.db` with many users is imported in flat memory.

    python3 tests/import/large.py target/release/portcullis --users 1000000

Prints the time and the largest memory of the import into a new store, of the same into an existing one, and of the same
again, which finds everything. Fails where the first takes more than --bound MiB.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

HASH = "$2a$10$CDafirhBo9D73MKfVTHPqu4tfjDezDtVxLBCgvE/pkouSt7XerB1i"


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def number(field, value):
    return varint(field << 3) + varint(value)


def data(field, content):
    content = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(content)) + content


def write(path, users):
    with open(path, "wb") as file:
        file.write(number(1, 0) + number(2, 35) + number(3, 77))
        for name in ("telemetry", "events"):
            policy = data(1, "autogen") + number(2, 0) + number(3, 604_800_000_000_000) + number(4, 1)
            file.write(data(5, data(1, name) + data(2, "autogen") + data(3, policy)))
        for user in range(users):
            privilege = data(4, data(1, "telemetry") + number(2, 1 + user % 3))
            file.write(data(6, data(1, f"agent-{user:07}") + data(2, HASH) + number(3, 0) + privilege))
        file.write(number(7, 0) + number(8, 14) + number(9, 14))


def measure(directory, *command):
    begin = time.monotonic()
    with open(os.devnull, "wb") as null:
        process = subprocess.Popen(command, cwd=directory, stdout=null)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, (command, process.returncode)
    return time.monotonic() - begin, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--bound", type=float, help="MiB")
    parser.add_argument("--new-only", action="store_true", help="no import into an existing store")
    options = parser.parse_args()
    binary = str(pathlib.Path(options.binary).resolve())
    failed = False
    with tempfile.TemporaryDirectory() as directory:
        write(pathlib.Path(directory, "meta.db"), options.users)
        size = pathlib.Path(directory, "meta.db").stat().st_size / 2**20
        print(f"{options.users} users, meta.db has {size:.0f} MiB")
        command = [binary, "import", "--from", "influxdb-1x", "meta.db", "--org", "acme", "--user", "ada"]
        runs = [("a new store", [])]
        if not options.new_only:
            subprocess.run([binary, "setup", "--org", "acme", "--user", "ada", "--store", "sqlite:there.db"],
                           cwd=directory, check=True, stdout=subprocess.DEVNULL)
            runs.append(("an existing store", ["--store", "sqlite:there.db"]))
        runs.append(("the same again", []))
        for what, arguments in runs:
            seconds, mebibytes = measure(directory, *command, *arguments)
            print(f"{what}: {seconds:.1f} s, {mebibytes:.0f} MiB", flush=True)
            if options.bound and what != "an existing store" and mebibytes > options.bound:
                print(f"WRONG: more than {options.bound} MiB")
                failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
