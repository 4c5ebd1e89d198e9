"""Unmodified clients of InfluxDB through the gateway, or a proxy with forward-auth, before a real InfluxDB
1.x: each credential sees what it may, and its user reads why something is refused.

    target/ci-venv/bin/python tests/gateway/clients_run.py target/debug/portcullis [--front nginx]

It needs Debian's influxdb, influxdb-client and syslog-ng, the packages in tests/clients/requirements.txt, and
of npm `influx` and `@influxdata/influxdb-client` below --npm.
"""

import argparse
import base64
import contextlib
import http.client
import json
import os
import pathlib
import pty
import re
import select
import subprocess
import sys
import tempfile
import time
import urllib.parse

from deployment import ADMIN_PASSWORD, DATABASE, PASSWORD, ROOT, USERS, behind, deployed, gateway
from proxies import Database, listening

HERE = pathlib.Path(__file__).parent
REFUSED = HERE.parent / "clients" / "refused"

READS, WRITES = {"reader", "both"}, {"writer", "both"}
SEES = {"reader": DATABASE, "writer": DATABASE, "both": DATABASE, "none": "other"}
NO_READ = 'not authorized to execute statement 1, SELECT: it needs read of "telemetry"'
NO_WRITE = 'not authorized to write to "telemetry"'
NO_DROP = "not authorized to execute statement 1, DROP DATABASE: it needs write to all databases"
UNAUTHORIZED = "nauthorized"
# A proxy cannot filter the response, and does not show the body of a request to Portcullis.
NO_NAMES = "not authorized to execute statement 1, SHOW DATABASES"
NO_BODY = "send them in the URL, without a form"


class Checks:
    def __init__(self):
        self.passed, self.wrong = 0, []

    def check(self, what, is_right, shown=""):
        self.passed += is_right
        if not is_right:
            self.wrong.append(what)
            print(f"WRONG {what}: {shown!s:.600}", flush=True)


def basic(username, password=PASSWORD):
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


def send(address, method, target, body=None, headers=()):
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request(method, target, body, dict(headers))
    response = connection.getresponse()
    response.text = response.read().decode()
    connection.close()
    return response


class Front:
    """What is different with a proxy."""

    def __init__(self, name):
        self.is_gateway = name == "gateway"
        self.no_write = NO_WRITE if self.is_gateway else "insufficient permissions"

    def shows_databases(self, user, status, names, shown):
        """Whether the client has listed what this user may see, or has said that it may not."""
        if self.is_gateway:
            return (status, names) == (0, [SEES[user]])
        return status != 0 and NO_NAMES in shown


def shell(address, username, *arguments):
    host, port = address.split(":")
    command = ["influx", "-host", host, "-port", port, "-username", username, "-password", PASSWORD]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def interactive(address, username, lines, *arguments):
    """Types the lines at the prompt of the `influx` shell, and returns what it shows after each."""
    host, port = address.split(":")
    command = ["influx", "-host", host, "-port", port, "-username", username, "-password", PASSWORD, *arguments]
    pid, terminal = pty.fork()
    if pid == 0:
        with tempfile.TemporaryDirectory() as home:
            os.environ.update({"TERM": "dumb", "HOME": home})
            os.execvp("influx", command)
    shown = []

    def until_prompt():
        text, deadline = "", time.monotonic() + 20
        while not text.endswith("> ") and time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.5)[0]:
                try:
                    text += os.read(terminal, 65_536).decode(errors="replace")
                except OSError:
                    break
                text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
        return text

    until_prompt()
    for line in lines:
        os.write(terminal, line.encode() + b"\n")
        shown.append(until_prompt())
    os.write(terminal, b"exit\n")
    with contextlib.suppress(OSError):
        os.read(terminal, 65_536)
    os.close(terminal)
    os.waitpid(pid, 0)
    return shown


def count(influx, measurement):
    """How many points of the measurement the database has."""
    _, body = influx.ask(f'SELECT count(value) FROM "{measurement}"', "admin", DATABASE)
    series = json.loads(body)["results"][0].get("series")
    return series[0]["values"][0][1] if series else 0


def the_shell(checks, deployment, front):
    for user in USERS:
        status, shown = shell(deployment.address, user, "-execute", "SHOW DATABASES")
        names = shown.split("----")[-1].split()
        is_right = front.shows_databases(user, status, names, shown)
        checks.check(f"influx, {user}: SHOW DATABASES", is_right, shown)
        on = ["-database", DATABASE, "-execute"]
        status, shown = shell(deployment.address, user, *on, "SELECT * FROM seed")
        is_right = (status == 0 and "2000000000" in shown) if user in READS else (status != 0 and NO_READ in shown)
        checks.check(f"influx, {user}: SELECT", is_right, shown)
        status, shown = shell(deployment.address, user, *on, "SELECT * FROM seed; SHOW MEASUREMENTS")
        is_right = ("2000000000" in shown and "measurements" in shown) if user in READS else NO_READ in shown
        checks.check(f"influx, {user}: two statements", is_right, shown)
        before = count(deployment.influx, "from_shell")
        _, shown = shell(deployment.address, user, *on, "INSERT from_shell value=1")
        wrote = count(deployment.influx, "from_shell") - before
        is_right = wrote == 1 if user in WRITES else wrote == 0 and front.no_write in shown.replace("\\", "")
        checks.check(f"influx, {user}: INSERT", is_right, shown)
        status, shown = shell(deployment.address, user, *on, f"DROP DATABASE {DATABASE}")
        checks.check(f"influx, {user}: DROP", status != 0 and NO_DROP in shown, shown)
    # `use` asks for the names of all databases.
    lines = ["INSERT typed value=7", "SELECT value FROM typed", "SHOW MEASUREMENTS", "use hidden"]
    if front.is_gateway:
        used, *shown = interactive(deployment.address, "both", [f"use {DATABASE}", *lines])
        checks.check("influx, typed: use", f"Using database {DATABASE}" in used, used)
        unknown = "doesn't exist"
    else:
        shown = interactive(deployment.address, "both", lines, "-database", DATABASE)
        unknown = NO_NAMES
    _, read, measurements, hidden = shown
    checks.check("influx, typed: INSERT and SELECT", "typed" in read and " 7" in read, read)
    checks.check("influx, typed: SHOW", "seed" in measurements and "typed" in measurements, measurements)
    checks.check("influx, typed: use of a database that is not shown", unknown in hidden, hidden)
    status, shown = shell(deployment.address, "unknown", "-execute", "SHOW DATABASES")
    checks.check("influx, unknown user", status != 0 and UNAUTHORIZED in shown, shown)


def libraries(checks, deployment, npm, front):
    environment = {**os.environ, "NODE_PATH": str(npm / "node_modules")}
    for name, program, measurement in [
        ("influxdb (PyPI)", [sys.executable, HERE / "clients" / "influxdb_v1.py"], "from_python"),
        ("influx (npm)", ["node", HERE / "clients" / "v1.cjs"], "from_npm"),
    ]:
        def act(user, action, password=PASSWORD):
            command = [*program, f"http://{deployment.address}", user, password, DATABASE, action]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
            return done.returncode, done.stdout + done.stderr

        for user in USERS:
            before = count(deployment.influx, measurement)
            status, shown = act(user, "write")
            wrote = count(deployment.influx, measurement) - before
            is_right = (status, wrote) == (0, 1) if user in WRITES else status != 0 and wrote == 0 and front.no_write.split('"')[0] in shown
            checks.check(f"{name}, {user}: write", is_right, shown)
            status, shown = act(user, "read")
            is_right = status == 0 and "host" in shown and "1970" in shown
            is_right = is_right if user in READS else status != 0 and "it needs read of" in shown
            checks.check(f"{name}, {user}: read", is_right, shown)
            status, shown = act(user, "databases")
            is_right = front.shows_databases(user, status, shown.split(), shown)
            checks.check(f"{name}, {user}: databases", is_right, shown)
            status, shown = act(user, "drop")
            checks.check(f"{name}, {user}: drop", status != 0 and NO_DROP in shown, shown)
        status, shown = act("reader", "read", "wrong")
        checks.check(f"{name}: wrong password", status != 0 and UNAUTHORIZED in shown, shown)


def grafana(checks, deployment, front):
    """The requests that Grafana's data source for InfluxQL sends."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    query = 'SELECT mean("value") FROM "seed" WHERE time >= 0s AND time < 10s GROUP BY time(1s) fill(null)'
    q, db = urllib.parse.urlencode({"q": query}), f"db={DATABASE}"
    for what, method, target, body, headers in [
        ("GET", "GET", f"/query?{db}&{q}&epoch=ms", None, {}),
        ("POST form", "POST", f"/query?{db}&epoch=ms", q, form),
        ("POST, all in the form", "POST", "/query", f"{db}&{q}&epoch=ms", form),
        ("POST, q in the URL", "POST", f"/query?{db}&{q}&epoch=ms", "", form),
        ("chunked", "GET", f"/query?{db}&{q}&epoch=ms&chunked=true&chunk_size=1", None, {}),
        ("gzip", "GET", f"/query?{db}&{q}&epoch=ms", None, {"Accept-Encoding": "identity"}),
        ("u and p", "GET", f"/query?{db}&{q}&epoch=ms", None, {}),
    ]:
        for user in [*USERS, None]:
            login = basic(user) if user else {}
            if what == "u and p" and user:
                login, there = {}, f"{target}&u={user}&p={PASSWORD}"
            else:
                there = target
            response = send(deployment.address, method, there, body, {**login, **headers})
            if user and not front.is_gateway and headers == form:
                is_right = response.status == 403 and NO_BODY in json.loads(response.text)["error"]
            elif user is None:
                is_right = response.status == 401 and UNAUTHORIZED in response.text
            elif user in READS:
                is_right = response.status == 200 and "2000" in response.text and "1.5" not in response.text
                is_right = is_right and response.headers["X-Influxdb-Version"] is not None
            else:
                is_right = response.status == 403 and "it needs read of" in json.loads(response.text)["error"]
            checks.check(f"Grafana, {what}, {user}", is_right, f"{response.status} {response.text}")
    for statement, allowed in [
        ("SHOW RETENTION POLICIES on \"telemetry\"", READS),
        ("SHOW MEASUREMENTS LIMIT 100", READS),
        ("SHOW TAG KEYS FROM \"seed\"", READS),
        ("SHOW TAG VALUES FROM \"seed\" WITH KEY = \"host\"", READS),
        ("SHOW FIELD KEYS FROM \"seed\"", READS),
        ("DROP MEASUREMENT seed", set()),
        ("CREATE CONTINUOUS QUERY c ON telemetry BEGIN SELECT mean(value) INTO x FROM seed GROUP BY time(1m) END", {"both"}),
        ("SELECT * INTO hidden..stolen FROM seed", set()),
        ("SELECT * FROM hidden..seed", set()),
    ]:
        for user in USERS:
            parameters = urllib.parse.urlencode({"q": statement, "db": DATABASE})
            if front.is_gateway:
                response = send(deployment.address, "POST", "/query", parameters, {**basic(user), **form})
            else:
                response = send(deployment.address, "POST", f"/query?{parameters}", "", basic(user))
            expected = 200 if user in allowed else 403
            shown = f"{response.status} {response.text}"
            checks.check(f"{statement}, {user}", response.status == expected, shown)
    is_there = send(deployment.address, "GET", "/ping")
    version = is_there.headers["X-Influxdb-Version"]
    checks.check("ping", is_there.status == 204 and (version or "").startswith("1."), is_there.headers)


def agent(checks, deployment):
    """syslog-ng writes lines that it reads from a file."""
    directory = deployment.directory
    log = directory / "in.log"
    log.write_text("")
    for user in ("writer", "reader"):
        conf = directory / f"{user}.conf"
        conf.write_text(f"""@version: 3.38
@include "scl.conf"
source s {{ file("{log}" follow-freq(0.2) flags(no-parse)); }};
destination d {{ http(url("http://{deployment.address}/write?db={DATABASE}") method("POST") user("{user}")
    password("{PASSWORD}") body("syslog,agent={user} value=1") persist-name("{user}") retries(1)); }};
log {{ source(s); destination(d); }};
""")
        persist = ["-R", str(directory / f"{user}.persist"), "-p", str(directory / f"{user}.pid"),
                   "-c", str(directory / f"{user}.ctl")]
        output = directory / f"{user}.out"
        with output.open("w") as out:
            process = subprocess.Popen(["syslog-ng", "-F", "-e", "--no-caps", "-f", str(conf), *persist],
                                       stdout=out, stderr=out)
        time.sleep(1)
        with log.open("a") as lines:
            lines.write(f"a line for {user}\n")
        deadline = time.monotonic() + 15
        found = 0
        while time.monotonic() < deadline and not found and process.poll() is None:
            _, body = deployment.influx.ask(f"SELECT count(value) FROM syslog WHERE agent = '{user}'", "admin", DATABASE)
            found = '"series"' in body
            refused = "403" in output.read_text()
            if refused:
                break
            time.sleep(0.2)
        process.terminate()
        process.wait()
        shown = output.read_text()
        checks.check(f"syslog-ng, {user}", found if user == "writer" else not found and "403" in shown, shown[-600:])


@contextlib.contextmanager
def before_stub(binary, stub, front, directory):
    """The front before a stub of a database; yields its address."""
    if front.is_gateway:
        with gateway(binary, f"http://{stub}", directory) as running:
            yield running.gateway
    else:
        with behind("nginx", binary, stub, directory) as (_, address):
            yield f"http://{address}"


def clients_of_2(checks, binary, npm, front):
    """The clients of InfluxDB 2.x write to /api/v2/write, which InfluxDB 1.6 lacks: a stub has it."""
    environment = {**os.environ, "NODE_PATH": str(npm / "node_modules")}
    with tempfile.TemporaryDirectory() as directory, listening(Database) as stub:
        with before_stub(binary, stub, front, directory) as address:
            for name, program in [
                ("influxdb-client (PyPI)", [sys.executable, REFUSED / "influxdb_v2.py"]),
                ("@influxdata/influxdb-client", ["node", REFUSED / "v2.cjs"]),
            ]:
                for user in USERS:
                    Database.seen.clear()
                    command = [*program, address, user, PASSWORD, DATABASE]
                    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
                    shown = done.stdout + done.stderr
                    reached = [(path.partition("?")[0], body.rstrip()) for _, path, _, body in Database.seen]
                    if user in WRITES:
                        is_right = done.returncode == 0 and reached == [("/api/v2/write", b"cpu value=1")]
                    else:
                        is_right = done.returncode != 0 and not reached and front.no_write.split('"')[0] in shown
                    checks.check(f"{name}, {user}: write", is_right, f"{reached} {shown}")
                    if reached and front.is_gateway:
                        headers = Database.seen[0][2]
                        login = base64.b64encode(f"admin:{ADMIN_PASSWORD}".encode()).decode()
                        checks.check(f"{name}: the gateway's login", headers["Authorization"] == f"Basic {login}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("--front", choices=["gateway", "nginx"], default="gateway")
    parser.add_argument("--influxd", default="influxd")
    parser.add_argument("--npm", type=pathlib.Path, default=ROOT / "target" / "ci-npm")
    arguments = parser.parse_args()
    checks, npm, front = Checks(), arguments.npm.resolve(), Front(arguments.front)
    with deployed(arguments.binary, arguments.influxd, arguments.front) as deployment:
        the_shell(checks, deployment, front)
        libraries(checks, deployment, npm, front)
        grafana(checks, deployment, front)
        agent(checks, deployment)
        _, body = deployment.influx.ask("SHOW DATABASES", "admin")
        checks.check("the databases are there", all(name in body for name in (DATABASE, "hidden", "other")), body)
        log = deployment.server.log.read_text()
        secrets = [PASSWORD, ADMIN_PASSWORD]
        checks.check("no secret in the log", not any(secret in log for secret in secrets))
    clients_of_2(checks, arguments.binary, npm, front)
    print(f"{checks.passed} passed, {len(checks.wrong)} failed")
    return 1 if checks.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
