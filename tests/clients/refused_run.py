"""A refused client shows its user the reason, through a real proxy, and its exit status is not 0.

    target/ci-venv/bin/python tests/clients/refused_run.py target/debug/portcullis nginx
    target/ci-venv/bin/python tests/clients/refused_run.py target/debug/portcullis caddy

Each client of InfluxDB, unmodified, writes one point with a wrong password (401), with a credential that
may only read (403), after many failures (429), while the store is stopped (503), and while `portcullis`
is stopped (503). Prints a table of the output. It needs PostgreSQL, Debian's influxdb-client,
ruby-influxdb, golang-go and golang-github-influxdata-influxdb1-client-dev, the packages in
requirements.txt, and of npm `influx` and `@influxdata/influxdb-client` below --npm.
"""

import http.client
import json
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "outage"))

from deployment import BUCKET, deployed, main  # noqa: E402
from processes import wait_until  # noqa: E402
from proxies import SECRET, Database, basic  # noqa: E402

HERE = pathlib.Path(__file__).parent / "refused"
WRITER, READER, SLOWED = "telegraf", "grafana", "slowed"
WRONG = "wrong-password"

# Each is called with the URL, username, password and database, and writes a point.
PROGRAMS = {
    "influxdb (PyPI)": [sys.executable, HERE / "influxdb_v1.py"],
    "influxdb-client (PyPI)": [sys.executable, HERE / "influxdb_v2.py"],
    "influx (npm)": ["node", HERE / "v1.cjs"],
    "@influxdata/influxdb-client": ["node", HERE / "v2.cjs"],
    "influxdb (gem)": ["/usr/bin/ruby", HERE / "client.rb"],
}

# This one reads no body of 5xx, and shows the reason phrase of the status line.
READS_NO_BODY_OF_5XX = "influx (npm)"

# Ends with 0 whatever the response is, with InfluxDB itself as well.
ALWAYS_CONTENT = "influx (CLI), INSERT"

# What the statement needs is denied to all credentials here. A proxy that passes the body on shows which one.
QUERY = "influx (CLI), a query"
DENIED = "not authorized to execute statement 1, DROP DATABASE: it needs write to all databases"


class Clients:
    def __init__(self, address, npm, directory):
        self.address = address
        self.environment = {**os.environ, "NODE_PATH": str(npm / "node_modules"), "HOME": str(directory)}
        go = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOCACHE": str(directory / "go-cache")}
        program = directory / "go-client"
        command = ["go", "build", "-o", program, HERE / "client.go"]
        subprocess.run(command, check=True, env={**os.environ, **go})
        self.programs = {**PROGRAMS, "influxdb1-client (Go)": [program]}
        points = directory / "points"
        points.write_text(f"# DML\n# CONTEXT-DATABASE: {BUCKET}\n\ncpu value=1\n")
        self.of_the_shell = {
            ALWAYS_CONTENT: ["-database", BUCKET, "-execute", "INSERT cpu value=1"],
            "influx (CLI), -import": ["-import", "-path", points],
            QUERY: ["-database", BUCKET, "-execute", "DROP DATABASE other"],
        }

    def names(self):
        return [*self.of_the_shell, *self.programs]

    def run(self, name, username, password):
        """Runs the client; returns its status and its output."""
        if name in self.programs:
            command = [*self.programs[name], f"http://{self.address}", username, password, BUCKET]
        else:
            host, port = self.address.split(":")
            command = ["influx", "-host", host, "-port", port, "-username", username, "-password", password]
            command += self.of_the_shell[name]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment, timeout=60)
        return done.returncode, f"{done.stdout}\n{done.stderr}"

    def by_hand(self, username, password):
        """Returns the response, and the member `error` of its body."""
        connection = http.client.HTTPConnection(self.address, timeout=60)
        connection.request("POST", f"/write?db={BUCKET}", headers=dict([basic(username, password)]))
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response, json.loads(body)["error"] if body else None

    def has_to_wait(self, username):
        """Guesses once more; returns whether that is throttled for longer than all clients take."""
        response, _ = self.by_hand(username, WRONG)
        return response.status == 429 and int(response.headers["Retry-After"]) > 3


class Table:
    """The output of the clients, and what is wrong with it."""

    def __init__(self, clients):
        self.clients, self.wrong, self.checks = clients, [], 0

    def rows(self, expected, what, username, password):
        """Runs each client, and checks its output and its status."""
        response, reason = self.clients.by_hand(username, password)
        print(f"\n{response.status}, {what}: {reason}")
        if response.status != expected:
            self.wrong.append(f"{what}: got {response.status}, and not {expected}")
        for name in self.clients.names():
            self.checks += 1
            status, shown = self.clients.run(name, username, password)
            words = [reason]
            if expected == 503 and name == READS_NO_BODY_OF_5XX:
                words = [response.reason]
            if expected == 403 and name == QUERY:
                words.append(DENIED)
            line = next((line.strip() for line in shown.splitlines() if any(it in line for it in words)), None)
            print(f"  {name:<28} {status:>3}  {line}", flush=True)
            if line is None or (status == 0 and name != ALWAYS_CONTENT):
                self.wrong.append(f"{what}, {name}: status {status}, {shown[:500]}")

    def content(self):
        """With the right password each of them writes."""
        for name in self.clients.names():
            if name != QUERY:
                self.checks += 1
                status, shown = self.clients.run(name, WRITER, SECRET)
                if status != 0 or "ERR" in shown:
                    self.wrong.append(f"allowed, {name}: status {status}, {shown}")


def work(arguments, directory):
    write = ["--write-bucket", BUCKET]
    credentials = {WRITER: write, READER: ["--read-bucket", BUCKET], SLOWED: write}
    with deployed(arguments, directory, credentials, Database) as deployment:
        clients = Clients(deployment.address, arguments.npm.resolve(), directory)
        table = Table(clients)
        print(f"through {arguments.proxy}: the client's exit status, and the line with the reason")
        table.content()
        table.rows(403, "may only read", READER, SECRET)
        table.rows(401, "wrong password", WRITER, WRONG)
        wait_until("a longer wait", lambda: clients.has_to_wait(SLOWED), 60)
        table.rows(429, "many failures", SLOWED, WRONG)
        deployment.store.stop()
        # Cache hits need no store until their entries are stale.
        wait_until("a status other than 204", lambda: clients.by_hand(WRITER, SECRET)[0].status != 204, 30)
        table.rows(503, "the store is stopped", WRITER, SECRET)
        deployment.server.kill()
        table.rows(503, "portcullis is stopped", WRITER, SECRET)
    print("\n" + "\n".join([*table.wrong, f"{table.checks - len(table.wrong)} passed, {len(table.wrong)} failed"]))
    return 1 if table.wrong else 0


if __name__ == "__main__":
    main(work)
