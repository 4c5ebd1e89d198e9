"""An InfluxDB 1.6.7 moves in: its users, with their passwords and grants, log in to Portcullis and to InfluxDB alike,
and both decide the same.

    python3 tests/import/influxdb_1x.py target/debug/portcullis

It needs Debian's influxdb.
"""

import argparse
import base64
import contextlib
import http.client
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import urllib.parse

ROOT = pathlib.Path(__file__).parents[1]
for directory in ("clients", "influxql"):
    sys.path.insert(0, str(ROOT / directory))

import server  # noqa: E402
from differential import GRANTS, REASONS, decision  # noqa: E402
from grammar import Grammar  # noqa: E402
from influxd import PASSWORD, Influx  # noqa: E402

# Users with odd names and passwords: privileges by database.
ODD = {
    "Ünïcode 用户 🚀": ("päss wörd 密码", {"日本語": "ALL"}),
    "it's \"quoted\"; DROP DATABASE telemetry": ("s3cret 'x' \"y\"", {"sp ace": "READ", "日本語": "WRITE"}),
    "READER": (PASSWORD, {"telemetry": "WRITE"}),
    "short": ("abc", {"telemetry": "ALL"}),
    "long": ("x" * 72, {"events": "READ"}),
    "a.b@c-d_e": ("p:w%2F+&=?", {"quo'te\"d": "ALL"}),
}
ODD_DATABASES = ["日本語", "sp ace", "quo'te\"d", "TELEMETRY"]
PAIRS = 200
# The shell's `SHOW DATABASES` is filtered by the gateway and by InfluxDB, and `check` knows no response.
FILTERED = "SHOW DATABASES"


def quoted(name):
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def literal(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def set_up(influx):
    influx.set_up(GRANTS)
    influx.must(f"CREATE USER boss WITH PASSWORD '{PASSWORD}' WITH ALL PRIVILEGES")
    for database in ODD_DATABASES:
        influx.must(f"CREATE DATABASE {quoted(database)}")
    influx.must("CREATE RETENTION POLICY weekly ON telemetry DURATION 1w REPLICATION 1 DEFAULT")
    influx.must('CREATE RETENTION POLICY "年" ON "日本語" DURATION INF REPLICATION 1')
    influx.must("CREATE CONTINUOUS QUERY cq ON telemetry BEGIN SELECT mean(v) INTO telemetry.weekly.hourly FROM cpu "
                "GROUP BY time(1h) END")
    influx.must("CREATE SUBSCRIPTION copy ON telemetry.autogen DESTINATIONS ANY 'udp://127.0.0.1:9'")
    for name, (password, privileges) in ODD.items():
        influx.must(f"CREATE USER {quoted(name)} WITH PASSWORD {literal(password)}")
        for database, privilege in privileges.items():
            influx.must(f"GRANT {privilege} ON {quoted(database)} TO {quoted(name)}")


def run(binary, directory, *arguments, status=0):
    command = [binary, *arguments]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120)
    assert done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr)
    return done


def importing(binary, directory, *arguments, status=0):
    meta = str(pathlib.Path(directory, "meta", "meta.db"))
    command = ["import", "--from", "influxdb-1x", meta, "--org", "acme", "--user", "ada", "--json", *arguments]
    done = run(binary, directory, *command, status=status)
    return json.loads(done.stdout)


def outcomes(report, kind):
    return {entry["name"]: entry["outcome"] for entry in report["entries"] if entry["kind"] == kind}


def import_all(binary, directory):
    """Imports, in the steps of an operator; returns the secret of the operator token."""
    undecided = importing(binary, directory, status=1)
    assert undecided["counts"]["credential"]["undecided"] == 2 and not undecided["imported"]
    dry = importing(binary, directory, "--admins", "operator-token", "--dry-run")
    assert not pathlib.Path(directory, "portcullis.db").exists(), "a dry run creates nothing"
    report = importing(binary, directory, "--admins", "operator-token")
    assert report["imported"] and report["newRecords"] == dry["newRecords"]
    credentials = outcomes(report, "credential")
    administrators = {"admin": "changed", "boss": "changed"}
    assert credentials == {name: "taken" for name in [*GRANTS, *ODD]} | administrators, credentials
    databases = outcomes(report, "database")
    assert databases == {name: "taken" for name in ["telemetry", "events", *ODD_DATABASES]}, databases
    grants = {(entry["of"], entry["name"]): entry["outcome"] for entry in report["entries"] if entry["kind"] == "grant"}
    expected = {(name, f"{privilege} on {database}"): "taken"
                for name, (_, privileges) in ODD.items() for database, privilege in privileges.items()}
    assert expected.items() <= grants.items() and set(grants.values()) == {"taken"}, grants
    assert outcomes(report, "continuous query") == {"telemetry/cq": "notCarried"}
    assert outcomes(report, "subscription") == {"telemetry/autogen/copy": "notCarried"}
    similar = [entry["name"] for entry in report["entries"] if "only by case" in " ".join(entry.get("notes", []))]
    assert sorted(similar) == ["READER", "TELEMETRY", "TELEMETRY/autogen"], similar
    again = importing(binary, directory, "--admins", "operator-token")
    assert again["newRecords"] == 0 and "tokens" not in again
    assert set(outcomes(again, "credential").values()) == {"alreadyThere"}
    verified = run(binary, directory, "verify")
    assert "sound" in verified.stdout or verified.stdout, verified
    print(f"{report['newRecords']} records of {len(credentials)} users are imported; again: 0")
    return report["tokens"]


def request(address, user, password, target, body=None):
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("POST" if body else "GET", target, body, {"Authorization": f"Basic {token}"})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def clients(influx, gateway):
    """The same requests of the same clients, to InfluxDB and to the gateway before it."""
    users = {name: (PASSWORD, {d for d in ("telemetry", "events") if f"read {d}" in held},
                    {d for d in ("telemetry", "events") if f"write {d}" in held}) for name, held in GRANTS.items()}
    for name, (password, privileges) in ODD.items():
        reads = {database for database, privilege in privileges.items() if privilege in ("READ", "ALL")}
        writes = {database for database, privilege in privileges.items() if privilege in ("WRITE", "ALL")}
        users[name] = (password, reads, writes)
    requests = 0
    for name, (password, reads, writes) in users.items():
        for database in ["telemetry", "events", *ODD_DATABASES]:
            db = urllib.parse.quote(database)
            read = f"/query?db={db}&q=" + urllib.parse.quote("SELECT * FROM seed")
            write = f"/write?db={db}"
            for target, body, is_allowed in ((read, None, database in reads), (write, b"w v=1", database in writes)):
                there = request(f"127.0.0.1:{influx.port}", name, password, target, body)
                here = request(gateway, name, password, target, body)
                assert (there[0] < 300) == (here[0] < 300) == is_allowed, (name, target, there, here)
                if is_allowed:
                    assert there == here, (name, target, there, here)
                requests += 1
        show = "/query?q=" + urllib.parse.quote("SHOW DATABASES")
        there, here = (names_of(request(address, name, password, show)[1])
                       for address in (f"127.0.0.1:{influx.port}", gateway))
        assert here == there == reads | writes, (name, there, here)
        status, _ = request(gateway, name, password + "x", show)
        # A password of 72 bytes is all that bcrypt reads: InfluxDB accepts more of them, Portcullis does not.
        assert status == 401, (name, status)
    print(f"{len(users)} clients, {requests} requests: the same responses from InfluxDB and from the gateway")


def names_of(text):
    series = json.loads(text)["results"][0]["series"][0]
    return {name for [name] in series.get("values", [])}


def statements(binary, directory, influx, seed):
    """Random statements, decided by InfluxDB and by `portcullis check`."""
    grammar = Grammar(random.Random(seed))
    agreed, stricter, wrong = 0, 0, []
    while agreed + stricter < PAIRS:
        query = grammar.statement()
        user = grammar.random.choice(list(GRANTS))
        database = grammar.random.choice(["telemetry", "telemetry", "events", None])
        command = [binary, "check", user, "--query", query, "--json", *(["--db", database] if database else [])]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60)
        theirs = decision(*influx.ask(query, user, database))
        if done.returncode == 2 or theirs == "unparsable":
            continue
        ours = "allowed" if done.returncode == 0 else "refused"
        if ours == theirs:
            agreed += 1
        elif theirs == "allowed" and is_stricter(json.loads(done.stdout)["reason"]):
            stricter += 1
        else:
            wrong.append((user, database, query, ours, theirs, done.stdout))
            break
    for user, database, query, ours, theirs, shown in wrong:
        print(f"WRONG {query!r} on {database} by {user}: {ours} here, {theirs} by InfluxDB\n{shown}")
    assert not wrong
    print(f"{agreed} of {PAIRS} statements are decided alike, {stricter} are refused for the reasons of "
          "differential.py")


def is_stricter(reason):
    """Whether the refused statement is of a kind for which Portcullis is stricter, as documented."""
    kind = reason.split(": ", 1)[0].rsplit(", ", 1)[-1]
    return kind == FILTERED or any(kinds.match(kind) for _, kinds in REASONS)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--influxd", default="influxd")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options = parser.parse_args()
    binary = str(pathlib.Path(options.binary).resolve())
    print(f"seed {options.seed}")
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        influx = Influx(options.influxd, directory)
        stack.callback(influx.stop)
        set_up(influx)
        tokens = import_all(binary, directory)
        secrets = pathlib.Path(directory, "upstream-password")
        secrets.touch(0o600)
        secrets.write_text(PASSWORD)
        arguments = ["--upstream", f"http://127.0.0.1:{influx.port}", "--gateway-listen", "127.0.0.1:0",
                     "--upstream-username", "admin", "--upstream-password-file", str(secrets), "--throttle", "off"]
        with server.running(binary, *arguments, directory=directory) as running:
            gateway = running.gateway.removeprefix("http://")
            clients(influx, gateway)
            connection = http.client.HTTPConnection(running.url.removeprefix("http://"), timeout=60)
            for token in tokens:
                connection.request("GET", "/api/v2/users", headers={"Authorization": f"Token {token['token']}"})
                response = connection.getresponse()
                assert response.status == 200 and b"ada" in response.read(), token["name"]
            print("the operator tokens of the administrators work")
            statements(binary, directory, influx, options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
