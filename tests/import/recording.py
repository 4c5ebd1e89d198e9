"""Ten clients of an InfluxDB 1.6.7 move in: the recording in docs/moving-in.md, made by running it.

    python3 tests/import/recording.py target/debug/portcullis                         prints it
    python3 tests/import/recording.py target/debug/portcullis --check docs/moving-in.md
    python3 tests/import/recording.py target/debug/portcullis --update docs/moving-in.md

The ten clients are Debian's `influx` shell and curl. They run before and after, with the same arguments: their
commands have the port 8086 in the recording, which first is InfluxDB's and then the gateway's. It needs Debian's
influxdb and influxdb-client, and curl.
"""

import argparse
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parents[1]
for directory in ("clients", "influxql"):
    sys.path.insert(0, str(ROOT / directory))

import server  # noqa: E402
from influxd import PASSWORD, Influx  # noqa: E402

BEGIN, END = "<!-- recording -->\n", "<!-- end of the recording -->\n"
POINT = "cpu,host=a v=1 1000000000"
# Username, password, database, privilege.
USERS = [
    ("telegraf-1", "agent-pass-1", "telemetry", "WRITE"),
    ("telegraf-2", "agent-pass-2", "telemetry", "WRITE"),
    ("telegraf-3", "agent-pass-3", "events", "WRITE"),
    ("collectd", "abc", "telemetry", "WRITE"),
    ("grafana", "grafana-pass", "telemetry", "READ"),
    ("Grafana", "another-pass", "events", "READ"),
    ("jürgen", "päss wörd", "telemetry", "READ"),
    ("reports", "reports-pass", "events", "READ"),
    ("backfill", "backfill-pass", "telemetry", "ALL"),
    ("root", "root-password", None, "ALL"),
]


def command_of(user, password, database, privilege):
    """The command of a client: it writes a point, or reads what there is."""
    if privilege == "WRITE":
        return ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}\\n", "-u", f"{user}:{password}",
                "--data-binary", POINT, f"http://127.0.0.1:8086/write?db={database}"]
    shell = ["influx", "-port", "8086", "-username", user, "-password", password, "-format", "csv"]
    return [*shell, "-database", database or "events", "-execute", "SELECT v FROM cpu"]


class Recording:
    def __init__(self, directory, port):
        self.directory, self.port, self.lines = directory, port, []
        self.places = {}

    def shown(self, text):
        for place, name in self.places.items():
            text = text.replace(place, name)
        return text

    def run(self, command, shown=None, status=0):
        """Runs the command, and records it with its output."""
        actual = [part.replace("8086", str(self.port)) for part in command]
        environment = {**os.environ, "HOME": str(self.directory)}
        done = subprocess.run(actual, cwd=self.directory, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == status, (actual, done.returncode, done.stdout, done.stderr)
        output = self.shown(done.stdout + done.stderr)
        self.lines.append(f"$ {shown or shlex.join(command)}\n{output}")
        return output

    def say(self, text):
        self.lines.append(f"# {text}\n")

    def text(self):
        return "```console\n" + "".join(self.lines) + "```\n"


def set_up(influx):
    influx.must(f"CREATE USER portcullis WITH PASSWORD '{PASSWORD}' WITH ALL PRIVILEGES")
    for database in ("telemetry", "events"):
        influx.must(f"CREATE DATABASE {database}", "portcullis")
    for user, password, database, privilege in USERS:
        influx.must(f"CREATE USER \"{user}\" WITH PASSWORD '{password}'", "portcullis")
        on = f" ON {database}" if database else ""
        influx.must(f'GRANT {privilege}{on} TO "{user}"', "portcullis")


def record(binary, influxd):
    with tempfile.TemporaryDirectory() as directory:
        influx = Influx(influxd, directory)
        try:
            set_up(influx)
            recording = Recording(directory, influx.port)
            recording.places = {f"{directory}/": "/var/lib/influxdb/"}
            commands = [command_of(*user) for user in USERS]
            recording.say("before: ten clients and InfluxDB 1.6.7, at port 8086")
            before = [recording.run(command) for command in commands]
            recording.say("its users move in")
            importing = ["import", "--from", "influxdb-1x", "--org", "acme", "--user", "ada"]
            meta = f"{directory}/meta/meta.db"
            shown = f"portcullis {shlex.join(importing)}"
            recording.run([binary, *importing, meta], f"{shown} /var/lib/influxdb/meta/meta.db", status=1)
            decided = ["--admins", "org-owner"]
            output = recording.run(
                [binary, *importing, *decided, meta], f"{shown} {shlex.join(decided)} /var/lib/influxdb/meta/meta.db")
            assert "are stored" in output, output
            recording.say("InfluxDB moves to port 8186, and the gateway to 8086")
            influx.stop()
            port = influx.port
            influx = Influx(influxd, directory)
            secret = pathlib.Path(directory, "upstream-password")
            secret.touch(0o600)
            secret.write_text(PASSWORD)
            upstream = ["--upstream", f"http://127.0.0.1:{influx.port}", "--upstream-username", "portcullis",
                        "--upstream-password-file", str(secret), "--gateway-listen", f"127.0.0.1:{port}"]
            recording.lines.append(
                "$ systemctl restart influxdb\n$ portcullis serve --upstream http://127.0.0.1:8186 "
                "--gateway-listen 127.0.0.1:8086 \\\n      --upstream-username portcullis "
                "--upstream-password-file /etc/portcullis/upstream-password &\n")
            with server.running(binary, *upstream, directory=directory):
                recording.say("after: the same ten clients, unchanged")
                after = [recording.run(command) for command in commands]
            assert before == after, (before, after)
            return recording.text()
        finally:
            influx.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--influxd", default="influxd")
    parser.add_argument("--check", type=pathlib.Path)
    parser.add_argument("--update", type=pathlib.Path)
    options = parser.parse_args()
    text = record(str(pathlib.Path(options.binary).resolve()), options.influxd)
    path = options.check or options.update
    if path is None:
        print(text, end="")
        return 0
    page = path.read_text()
    new = re.sub(f"{BEGIN}.*?{END}", lambda _: BEGIN + text + END, page, flags=re.DOTALL)
    if options.update:
        path.write_text(new)
        return 0
    if new != page:
        print(text, end="")
        print(f"WRONG: the recording in {path} is another one; --update replaces it")
        return 1
    print(f"ten clients work unchanged after the import, as {path} shows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
