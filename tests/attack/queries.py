"""Tries to read, write and change more than a credential may, through a real front of a real InfluxDB 1.x.

    python3 tests/attack/queries.py target/debug/portcullis gateway
    python3 tests/attack/queries.py target/debug/portcullis nginx --short

Behind the front is an InfluxDB without authentication, which executes everything that reaches it. After each try
it must have the same databases, users, policies, queries and points as before, and the response must not hold
data that is not the credential's. What it executed meanwhile is then executed on a second InfluxDB with
authentication, by a user with the same grants, who must be allowed to do it.
"""

import argparse
import base64
import collections
import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parents[1]
for directory in ("clients", "forward-auth", "influxql"):
    sys.path.insert(0, str(ROOT / directory))

import proxies  # noqa: E402
import server  # noqa: E402
from influxd import Influx  # noqa: E402
from query_tricks import everything, get, request  # noqa: E402

SECRET = "s3cret-enough"
# How long the front may be silent, in seconds, before the next try: some leave it waiting for more.
SILENCE = 1
GRANTS = {"reader": {"read telemetry"}, "writer": {"write telemetry"}, "nothing": set()}
# Tag and field values, by database.
MARKS = {"telemetry": ["host-of-telemetry", "111111"], "events": ["host-of-events", "222222"]}
STATE = "; ".join([
    "SHOW DATABASES", "SHOW USERS", "SHOW CONTINUOUS QUERIES", "SHOW SUBSCRIPTIONS",
    "SHOW RETENTION POLICIES ON telemetry", "SHOW RETENTION POLICIES ON events",
    "SELECT * FROM events.autogen./.*/", "SELECT * FROM telemetry.autogen./.*/",
])


class Victim(Influx):
    """The database behind the front."""

    def __init__(self, influxd, directory):
        super().__init__(influxd, directory, auth=False, log_queries=True)
        for database, (host, value) in MARKS.items():
            self.must(f"CREATE DATABASE {database}")
            self.write(database, f"cpu,host={host} v={value} 1000000000")
        self.position = 0

    def state(self):
        """What it holds: a result for each statement of [`STATE`]."""
        status, body = self.ask(STATE)
        assert status == 200, body
        return json.loads(body)["results"]

    def executed(self):
        """The statements that it has executed since the last call, with how often."""
        with self.log.open() as log:
            log.seek(self.position)
            lines = log.readlines()
            self.position = log.tell()
        records = (json.loads(line) for line in lines if line.startswith("{"))
        return collections.Counter(
            record["query"] for record in records if record.get("msg") == "Executing query")


def send(address, raw, authorization):
    """Sends the bytes and returns everything that comes back until the connection ends or is silent."""
    raw = raw.replace(b"{auth}", authorization) if authorization else raw.replace(b"{auth}\r\n", b"")
    received = b""
    with contextlib.suppress(OSError), socket.create_connection(address, timeout=SILENCE) as connection:
        connection.sendall(raw)
        while more := connection.recv(65_536):
            received += more
    return received


def authorization(user):
    encoded = base64.b64encode(f"{user}:{SECRET}".encode()).decode()
    return f"Authorization: Basic {encoded}".encode()


@contextlib.contextmanager
def front(binary, kind, victim):
    """Portcullis with the credentials and a front before the database; yields the front's address."""
    database = f"127.0.0.1:{victim.port}"
    arguments = ["--trusted-proxy", "127.0.0.1"]
    gateway = f"127.0.0.1:{proxies.free_port()}"
    if kind == "gateway":
        arguments = ["--upstream", f"http://{database}", "--gateway-listen", gateway]
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        running = stack.enter_context(server.running(binary, *arguments))
        administer(binary, running)
        address = gateway
        if kind != "gateway":
            address = f"127.0.0.1:{proxies.free_port()}"
            addresses = {proxies.CLIENTS: address, proxies.DATABASE: database,
                         proxies.PORTCULLIS: running.url.removeprefix("http://")}
            stack.enter_context(proxies.proxy(kind, addresses, pathlib.Path(directory)))
        host, port = address.split(":")
        yield host, int(port)


def administer(binary, running):
    def run(*arguments):
        command = [binary, *arguments, "--store", running.store]
        environment = {**os.environ, "PORTCULLIS_PASSWORD": SECRET}
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)

    owner = ["--org", "default", "--user", "admin"]
    for bucket in MARKS:
        run("bucket", "create", "--org", "default", bucket)
    run("auth", "create", *owner, "reader", "--read-bucket", "telemetry")
    run("auth", "create", *owner, "writer", "--write-bucket", "telemetry")
    run("bucket", "create", "--org", "default", "other")
    run("auth", "create", *owner, "nothing", "--read-bucket", "other")


def visible(user):
    """The marks that responses to the user may hold."""
    return {mark for grant in GRANTS.get(user, ()) if grant.startswith("read")
            for mark in MARKS[grant.split()[1]]}


def controls(address, victim):
    """What must work works, and a front that let everything through would be found out."""
    read = request(get("SELECT * FROM cpu"))
    response = send(address, read, authorization("reader"))
    assert MARKS["telemetry"][0].encode() in response, response
    write = request("/write?db=telemetry", method="POST", body="written,host=x v=1 1")
    response = send(address, write, authorization("writer"))
    assert response.startswith(b"HTTP/1.1 204"), response
    victim.must("DROP MEASUREMENT written", database="telemetry")
    everything_there = send(("127.0.0.1", victim.port), request(get("SELECT * FROM events..cpu")), None)
    assert MARKS["events"][0].encode() in everything_there, everything_there


def attack(user, address, victim, failures):
    """Makes every try as the user; returns how many, and the statements that were executed."""
    credentials = authorization(user) if user in GRANTS else None
    before = victim.state()
    victim.executed()
    victim.state()
    own = victim.executed()
    tries, checks = 0, 0
    forbidden = [mark for marks in MARKS.values() for mark in marks if mark not in visible(user)]
    for label, raw in everything():
        tries += 1
        response = send(address, raw, credentials).decode(errors="replace")
        shown = [mark for mark in forbidden if mark in response]
        if shown:
            failures.append(f"{user}, {label}: the response shows {shown}")
        checks += 1
        after = victim.state()
        if changed(user, before, after):
            failures.append(f"{user}, {label}: the database is changed\n  {before}\n  {after}")
            before = after
    executed = victim.executed()
    for statement, count in own.items():
        executed[statement] -= count * checks
    return tries, +executed


def changed(user, before, after):
    """Whether something is there or is gone that the user may not write."""
    if "write telemetry" in GRANTS.get(user, ()):
        # The points of this database are the user's.
        before, after = before[:-1], after[:-1]
    return before != after


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("portcullis")
    parser.add_argument("front", choices=["gateway", "nginx", "caddy"])
    parser.add_argument("--influxd", default="influxd")
    parser.add_argument("--short", action="store_true", help="only as a user who may read one database")
    options = parser.parse_args()
    failures, total = [], 0
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        victim, oracle = Victim(options.influxd, one), Influx(options.influxd, other)
        oracle.set_up(GRANTS)
        try:
            with front(pathlib.Path(options.portcullis).resolve(), options.front, victim) as address:
                controls(address, victim)
                users = ["reader"] if options.short else [*GRANTS, "no credentials"]
                for user in users:
                    tries, executed = attack(user, address, victim, failures)
                    total += tries
                    print(f"{user}: {tries} tries, {sum(executed.values())} statements executed, "
                          f"{len(executed)} different ones")
                    for statement in executed:
                        status, body = oracle.ask(statement, user if user in GRANTS else "", "telemetry")
                        if status != 200:
                            failures.append(f"{user}: {statement!r} was executed; InfluxDB: {status} {body}")
                controls(address, victim)
        finally:
            victim.stop()
            oracle.stop()
    for failure in failures[:40]:
        print("WRONG", failure)
    print(f"{total} tries through {options.front}, {len(failures)} went too far")
    return 1 if failures or total < 300 else 0


if __name__ == "__main__":
    sys.exit(main())
