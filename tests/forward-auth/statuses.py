"""The client's response for each status of Portcullis, through a real reverse proxy.

    python3 tests/forward-auth/statuses.py nginx
    python3 tests/forward-auth/statuses.py caddy

A stub stands in for Portcullis, so that the test chooses each status, even those that Portcullis never
sends. Only 2xx may let a request through. [FWD-2]
"""

import contextlib
import http.server
import json
import pathlib
import sys
import tempfile

from proxies import CLIENTS, DATABASE, PORTCULLIS, Client, Database, free_port, listening, proxy

CHALLENGE = 'Basic realm="portcullis", charset="UTF-8"'
IDS = {f"X-Portcullis-{name}": "of-the-decider" for name in ("Authorization", "Org", "User", "Username")}
SENTENCE = "a sentence for people"


class Decider(http.server.BaseHTTPRequestHandler):
    """Responds with the chosen status, in the place of Portcullis."""

    protocol_version = "HTTP/1.1"
    status, headers_of_answer = 204, {}

    def do_GET(self):
        if self.status is None:
            # It hangs: there is no response until the proxy's timeout.
            self.rfile.read(1)
            return
        error = {"code": "a code", "message": SENTENCE, "error": SENTENCE}
        body = b"" if self.status == 204 else json.dumps(error).encode()
        self.send_response(self.status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        if self.status != 204:
            self.send_header("Content-Length", str(len(body)))
        for name, value in self.headers_of_answer.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


# This client reads the seconds of Retry-After as milliseconds.
JAVASCRIPT = ("User-Agent", "influxdb-client-js/1.35.0")


def check(client, status, expected, headers=(), retry_after=None, challenge=None):
    """Has Portcullis respond so, and checks the client's response."""
    Decider.status, Decider.headers_of_answer = status, dict(headers)
    response = refused(client, expected, retry_after)
    if response.headers["WWW-Authenticate"] != challenge:
        raise AssertionError(f"{status} of Portcullis: {response.status} {response.getheaders()}")


def refused(client, expected, retry_after, **other):
    """Sends a request that must not go through; the body must be the JSON that clients understand."""
    response = refused_once(client, expected, **other)
    if response.headers["Retry-After"] != retry_after:
        raise AssertionError(f"{response.status}: {response.getheaders()}, and not {retry_after}")
    javascript = refused_once(client, expected, headers=[JAVASCRIPT], **other)
    if javascript.headers["Retry-After"] is not None:
        raise AssertionError(f"{response.status}: {response.getheaders()}")
    return response


def refused_once(client, expected, **other):
    client.checks += 1
    Database.seen.clear()
    response = client.send("/write?db=default", **other)
    what = f"{response.status} and not {expected}: {response.getheaders()} {response.text[:200]}"
    if response.status != expected or Database.seen:
        raise AssertionError(f"{what}; {len(Database.seen)} requests to the database")
    if len(response.headers.get_all("Content-Type", [])) != 1:
        raise AssertionError(what)
    if response.headers.get_content_type() != "application/json":
        raise AssertionError(what)
    if any(name.lower().startswith("x-portcullis") for name in response.headers):
        raise AssertionError(f"our ids are shown to the client: {what}")
    body = json.loads(response.text)
    if sorted(body) != ["code", "error", "message"] or body["error"] != body["message"]:
        raise AssertionError(what)
    return response


def statuses(kind, client):
    Decider.status, Decider.headers_of_answer = 204, IDS
    client.check(204, "/write?db=default")

    # Final refusals.
    check(client, 401, 401, {"WWW-Authenticate": CHALLENGE}, challenge=CHALLENGE)
    check(client, 403, 403, IDS)
    # Temporary failures: the client gets Retry-After.
    check(client, 429, 429, {"Retry-After": "7"}, retry_after="7")
    check(client, 503, 503, {"Retry-After": "11"}, retry_after="11")
    check(client, 503, 503, {"Retry-After": "11", **IDS}, retry_after="11")
    # Statuses that Portcullis never sends. nginx turns all of them into one.
    for status in (400, 404, 500, 502):
        expected, retry_after = (503, "5") if kind == "nginx" else (status, None)
        check(client, status, expected, retry_after=retry_after)
    for status in (301, 302, 304):
        Decider.status, Decider.headers_of_answer = status, {"Location": "/elsewhere"}
        Database.seen.clear()
        response = client.send("/write?db=default")
        if response.status < 300 or Database.seen:
            raise AssertionError(f"{kind}, {status}: {response.status}, {len(Database.seen)} requests")


def main(kind):
    addresses = {what: f"127.0.0.1:{free_port()}" for what in (CLIENTS, PORTCULLIS, DATABASE)}
    ports = {what: int(address.split(":")[1]) for what, address in addresses.items()}
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        stack.enter_context(proxy(kind, addresses, pathlib.Path(directory), patience="1s"))
        client = Client(addresses[CLIENTS])

        # Portcullis is not there, then the database is not.
        refused(client, 503, "5")
        stack.enter_context(listening(Decider, ports[PORTCULLIS]))
        Decider.status, Decider.headers_of_answer = 204, IDS
        refused(client, 503, "5")
        stack.enter_context(listening(Database, ports[DATABASE]))

        # It accepts connections, and never responds.
        Decider.status = None
        refused(client, 503, "5")
        statuses(kind, client)

        if kind == "nginx":
            # Bodies have a bound, and the client gets 413.
            Decider.status, Decider.headers_of_answer = 204, IDS
            client.check(204, "/write?db=default", body=b"x" * (25 << 20))
            refused(client, 413, None, body=b"x" * ((25 << 20) + 1))
    print(f"statuses through {kind}: {client.checks} checks passed, 0 failed")


if __name__ == "__main__":
    main(*sys.argv[1:])
