"""A real reverse proxy in front of a stub of a database, with `portcullis` deciding on each write.

    python3 tests/forward-auth/run.py target/debug/portcullis nginx
    python3 tests/forward-auth/run.py target/debug/portcullis caddy
"""

import json
import sys
import time
import urllib.parse

from proxies import POINTS, SECRET, Database, basic, deployed

READ = "SELECT%20v%20FROM%20cpu"
FORM = ("Content-Type", "application/x-www-form-urlencoded")


def allowed(client, server, telegraf):
    token = ("Authorization", f"Token {server.token}")
    known = basic("telegraf")

    def identity(headers):
        names = ["Authorization", "Org", "User", "Username"]
        return [headers.get_all(f"X-Portcullis-{name}") for name in names]

    # Credentials that may write: Basic, `u` and `p`, tokens.
    for path, headers in [
        ("/write?db=default", [known]),
        ("/write?db=default&precision=s&rp=autogen", [known]),
        ("/write?%64b=defaul%74", [known]),
        ("/write?db=default&precision=ns&rp=", [known]),
        ("/api/v2/write?org=-&bucket=default&precision=ns", [("Authorization", f"Token telegraf:{SECRET}")]),
        (f"/write?db=default&u=telegraf&p={SECRET}", []),
        (f"/write?u=telegraf&db=default&%70=s3cret%2Denough", []),
        ("/write?db=default", [("Authorization", f"Token telegraf:{SECRET}")]),
    ]:
        got = identity(client.check(204, path, headers))
        expected = [[telegraf["id"]], [telegraf["orgID"]], [telegraf["userID"]], ["telegraf"]]
        if got != expected:
            raise AssertionError(f"the database got {got}")
    for bucket in ["default", "events"]:
        client.check(204, f"/write?db={bucket}", [token])
        client.check(204, f"/write?db={bucket}", [("Authorization", f"Bearer {server.token}")])
    got = identity(client.check(204, f"/write?db=default&u=%C3%A4%0A%3A&p={SECRET}"))
    if got[3] != ["%C3%A4%0A%3A"]:
        raise AssertionError(f"the database got {got}")

    # A large body, and a form with a `db` of its own.
    client.check(204, "/write?db=default", [known], body=POINTS * 100_000)
    got = client.check(204, "/write?db=default", [known, FORM], body=b"db=events")
    if got["Content-Type"] != "text/plain; charset=utf-8":
        raise AssertionError(f"the database got {got['Content-Type']}")

    # Headers that only the proxy may set: none is taken from a client, none reaches the database.
    forged = [("X-Portcullis-Authorization", "0" * 16), ("X-Portcullis-Org", "0" * 16),
              ("X-Portcullis-User", "0" * 16), ("X-Portcullis-Username", "root")]
    got = identity(client.check(204, "/write?db=default", [known, *forged, *forged]))
    if got != expected:
        raise AssertionError(f"the database got {got}")
    got = identity(client.check(204, "/write?db=default", [token, *forged]))
    if got[3] not in (None, [""]):
        raise AssertionError(f"the database got {got}")

    # Queries, by what their statements need.
    for path, credentials in [
        (f"/query?db=default&q={READ}", basic("grafana")),
        ("/query?q=SELECT%20v%20FROM%20%22default%22..cpu", basic("grafana")),
        ("/query?db=default&q=DELETE%20FROM%20cpu", basic("telegraf")),
        ("/api/v1/prom/read?db=default", basic("grafana")),
        ("/api/v1/prom/write?db=default", basic("telegraf")),
    ]:
        client.check(204, path, [credentials])

    # A ping needs no credentials.
    got = identity(client.check(200, "/ping", forged, method="GET"))
    if any(value for value in got):
        raise AssertionError(f"the database got {got}")


def refused(client, server):
    known, reader = basic("telegraf"), basic("grafana")
    token = ("Authorization", f"Token {server.token}")
    good = "/write?db=default"
    for expected, path, headers in [
        # No credentials, or wrong ones.
        (401, good, []),
        (401, good, [basic("telegraf", "wrong-password")]),
        (401, good, [basic("unknown")]),
        (401, good, [("Authorization", "Token nonsense")]),
        (401, good, [("Authorization", "Bearer nonsense")]),
        (401, good, [("Authorization", f"Digest {server.token}")]),
        (401, f"{good}&u=telegraf&p=wrong-password", [known]),
        (401, f"{good}&u=telegraf&p={SECRET}&p={SECRET}", []),
        (401, f"{good}&u=telegraf&u=grafana&p={SECRET}", []),
        (401, f"{good};u=telegraf&p={SECRET}", [known]),
        # Credentials without the permission.
        (403, good, [reader]),
        (403, "/write?db=events", [known]),
        (403, "/write?db=nowhere", [token]),
        (403, "/write", [known]),
        # A `db` that the database could read in another way.
        (403, "/write?db=default&db=default", [known]),
        (403, "/write?db=events&db=default", [known]),
        (403, "/write?db=default&%64b=events", [known]),
        # The proxy chooses the check, not the client.
        (403, "/query?check=none", [known]),
        (403, "/write?db=events&check=none", [known]),
        (403, "/write?db=default&permission=read:orgs", [token]),
        # Queries that need what the credential does not have, that cannot be parsed, or that may be in
        # the body.
        (403, f"/query?db=default&q={READ}", [known]),
        (403, "/query?db=default&q=DROP%20DATABASE%20default", [known]),
        (403, "/query?db=default&q=DROP%20DATABASE%20%22default%22", [reader]),
        (403, f"/query?db=default&q={READ}%3BDELETE%20FROM%20cpu", [reader]),
        (403, f"/query?db=default&q={READ}&q={READ}", [reader]),
        (403, f"/query?db=default&q={READ}", [reader, FORM]),
        (403, "/query?db=default&q=SELECT", [reader]),
        (403, "/query?db=default", [reader]),
        (403, "/api/v2/write?bucket=events", [known]),
        (403, "/api/v2/write?bucket=default&bucket=default", [known]),
        (403, "/api/v2/write?db=default", [known]),
        (403, "/api/v2/query?bucket=default", [known]),
        (403, "/", [known]),
        # What the proxy or the database could take for /write.
        (403, "/write/?db=default", [known]),
        (403, "//write?db=default", [known]),
        (403, "/%77rite?db=default", [known]),
        (403, "/x/../write?db=default", [known]),
        (403, "/write/../query?db=default", [known]),
        (403, "/write%2F..%2Fquery?db=default", [known]),
    ]:
        client.check(expected, path, headers)
        # Headers of the client about its own request decide nothing.
        spoofed = [("X-Original-URI", good), ("X-Forwarded-Uri", good), ("X-Original-URL", good),
                   ("x-original-uri", f"{good}&u=telegraf&p={SECRET}"), ("X_Original_URI", good),
                   ("X-Portcullis-Authorization", "0" * 16)]
        client.check(expected, path, [*headers, *spoofed])
    client.check(204, good, [known, ("X-Original-URI", "/query")])

    # The client gets the statement and what it needs, whatever names it quotes.
    for q, error in [
        ("SHOW SERIES; DROP DATABASE x",
         "not authorized to execute statement 2, DROP DATABASE: it needs write to all databases"),
        ('SELECT v FROM "ü$host\\""..cpu',
         'not authorized to execute statement 1, SELECT: it needs read of "ü$host\\""'),
        ("SELECT v", "error parsing query: found EOF, expected FROM at line 1, char 9"),
    ]:
        query = urllib.parse.urlencode({"db": "default", "q": q})
        response = client.send(f"/query?{query}", [reader], method="GET", body=b"")
        if response.status != 403 or json.loads(response.text)["error"] != error:
            raise AssertionError(f"{q}: {response.status} {response.text}")

    # A client cannot request a decision directly.
    for path in ["/forward-auth?check=none", "/forward-auth"]:
        status = client.send(path, [known]).status
        if status < 400:
            raise AssertionError(f"{path}: {status}")


def main(binary, kind):
    with deployed(binary, kind) as deployment:
        client, server, directory = deployment.client, deployment.server, deployment.directory
        allowed(client, server, deployment.telegraf)
        refused(client, server)

        # The logged address is the client's, whatever it claims.
        headers = [basic("telegraf", "wrong-password"), ("X-Forwarded-For", "6.6.6.6")]
        client.check(401, "/write?db=default", headers)
        log = server.log.read_text()
        if "address=127.0.0.1 scheme=" not in log or "6.6.6.6" in log:
            raise AssertionError(log)
        if SECRET in log or server.token in log:
            raise AssertionError("a secret is in the log of portcullis")

        deployment.stop_portcullis()
        # While Portcullis is down, no request goes through.
        client.checks += 1
        Database.seen.clear()
        path = f"/write?db=default&u=telegraf&p={SECRET}"
        status = client.send(path, [basic("telegraf")]).status
        if status < 500 or Database.seen:
            raise AssertionError(f"{status}, {len(Database.seen)} requests")
        # Portcullis' status stands in nginx's log, since the client gets no detail. nginx writes the line
        # once it has read the rest of the body.
        if kind == "nginx":
            log, until = directory / "database.log", time.monotonic() + 10
            while any(f"portcullis={status}" not in log.read_text() for status in ("204", "401", "403", "502", "-")):
                if time.monotonic() > until:
                    raise AssertionError(f"not all of it is in the log: {log.read_text()[-2000:]}")
                time.sleep(0.01)
        deployment.stop_proxy()
        logs = "".join(log.read_text() for log in directory.glob("*.log"))
        if SECRET in logs:
            raise AssertionError(f"a password is in the log of {kind}: {logs}")
    print(f"forward-auth with {kind}: {client.checks} checks passed, 0 failed")


if __name__ == "__main__":
    main(*sys.argv[1:])
