"""Each documented trick with headers and targets, through a real reverse proxy.

    python3 tests/forward-auth/tricks.py target/debug/portcullis nginx
    python3 tests/forward-auth/tricks.py target/debug/portcullis caddy

Each checks the client's status, the request to Portcullis, and the request to the database. In every
case the database gets exactly the request that Portcullis has decided, and the identity from Portcullis,
once.
"""

import contextlib
import pathlib
import socket
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "clients"))

from proxies import (  # noqa: E402
    CLIENTS,
    DATABASE,
    PORTCULLIS,
    SECRET,
    administer,
    basic,
    free_port,
    proxy,
)
from server import running  # noqa: E402
from wire import Recorder, Relay, plain  # noqa: E402

IDENTITY = ["X-Portcullis-Authorization", "X-Portcullis-Org", "X-Portcullis-User", "X-Portcullis-Username"]
KNOWN = ": ".join(basic("telegraf"))
GOOD, OTHER = "/write?db=default", "/write?db=events"
POINTS = "cpu value=1\n"
LENGTH = f"Content-Length: {len(POINTS)}"
SMUGGLED = f"POST {OTHER} HTTP/1.1\r\nHost: database\r\n{KNOWN}\r\nContent-Length: 0\r\n\r\n"

OPTIONS = ["--trusted-proxy", "127.0.0.1", "--no-throttle", "--forward-auth-preflight"]

# Read to its end on the same connection: nothing of a trick may be left over before it.
LAST = "GET /ping HTTP/1.1\r\nHost: database\r\nConnection: close\r\n\r\n"


def request(*fields, target=GOOD, method="POST", body=POINTS, version="HTTP/1.1"):
    fields = ["Host: database", *fields]
    if body == POINTS and not any(field.lower().startswith("transfer-encoding") for field in fields):
        fields.append(LENGTH)
    return f"{method} {target} {version}\r\n" + "".join(f"{field}\r\n" for field in fields) + "\r\n" + body


def chunked(body, *trailers):
    end = "".join(f"{trailer}\r\n" for trailer in trailers)
    return f"{len(body):x}\r\n{body}\r\n0\r\n{end}\r\n"


def tricks(token):
    """Pairs of statuses, one of which it must be, and the bytes."""
    names = ", ".join(IDENTITY)
    # Fields that a client declares as hop-by-hop.
    for value in [f"close, {names}", names, names.lower(), "X-Portcullis-Username", "Authorization",
                  "X-Original-URI", "X-Forwarded-For", "Content-Type", "Content-Length", "Host",
                  "close, X-Original-URI, X-Forwarded-For, X-Forwarded-Uri, Cookie"]:
        yield [204], request(KNOWN, f"Connection: {value}")
        yield [204], request(KNOWN, "Connection: keep-alive", f"Connection: {value}")
        yield [204], request(KNOWN, f"connection: {value}", f"Proxy-Connection: {value}", f"Keep-Alive: {value}")
    yield [403], request(KNOWN, f"Connection: {names}", target=OTHER)
    yield [401], request(f"Connection: {names}, Authorization")

    # Forged identities.
    for name in IDENTITY:
        for forged in [name, name.lower(), name.upper(), name.replace("-", "_"),
                       name.replace("-", "_", 1), name.replace("s-", "s_")]:
            yield [204], request(KNOWN, f"{forged}: root")
            yield [204], request(f"{forged}: root", f"{forged}: admin", KNOWN, f"{forged}:")
        # Invalid fields: refused, or dropped.
        for forged in [f"{name} : root", f"{name}\t: root", f"X: y\r\n {name}: root", f"{name}: a\0b",
                       f"{name}\0: root", f"X: y\n{name}: root", f"X: y\r{name}: root"]:
            yield [204, 400], request(KNOWN, forged)
    forged = [f"{name}: root" for name in IDENTITY]
    yield [401], request(*forged)
    yield [403], request(KNOWN, *forged, target=OTHER)
    yield [401], request(basic("telegraf", "wrong-password")[1].join(["Authorization: ", ""]), *forged)

    # Forged targets and methods.
    for name in ["X-Original-URI", "x-original-uri", "X_Original_URI", "X-Original_URI", "X-Original-URL",
                 "X-Forwarded-Uri", "X-Forwarded-URI", "X-Rewrite-URL", "X-Original-Uri", "X-Accel-Redirect"]:
        yield [204], request(KNOWN, f"{name}: {OTHER}")
        yield [403], request(KNOWN, f"{name}: {GOOD}", target=OTHER)
        yield [403], request(KNOWN, f"{name}: {GOOD}", f"{name}: {GOOD}", target=OTHER)
        yield [401], request(f"{name}: {GOOD}&u=telegraf&p={SECRET}")
    for name in ["X-Original-Method", "X-Forwarded-Method", "X-HTTP-Method-Override", "X-HTTP-Method",
                 "X-Method-Override"]:
        yield [204], request(KNOWN, f"{name}: DELETE")
        # A preflight goes through without credentials, so no client may claim that its request is one.
        preflight = ["Origin: https://example.org", "Access-Control-Request-Method: POST"]
        for forged in [name, name.lower(), name.replace("-", "_")]:
            yield [401], request(f"{forged}: OPTIONS", *preflight)
            yield [401], request(f"{forged}: OPTIONS", f"{forged}: OPTIONS", "Connection: X-Original-Method", *preflight)
    for name in ["X-Forwarded-For", "X_Forwarded_For", "X-Real-IP", "Forwarded", "X-Forwarded-Host",
                 "X-Forwarded-Proto", "X-Forwarded-Port"]:
        yield [204], request(KNOWN, f"{name}: 6.6.6.6", f"{name}: 7.7.7.7")

    # Other protocols, on this connection.
    yield [204], request(KNOWN, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    yield [204], request(KNOWN, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    yield [403], request(KNOWN, "Connection: Upgrade", "Upgrade: websocket", target="/query?db=default")
    yield [204], request(KNOWN, "Connection: TE", "TE: trailers, chunked")
    yield [204], request(KNOWN, "Expect: 100-continue")

    # The end of a body.
    trailers = [f"{name}: root" for name in IDENTITY] + ["Authorization: Basic cm9vdDpyb290", "Content-Type: a/b"]
    encoded = "Transfer-Encoding: chunked"
    yield [204], request(KNOWN, encoded, body=chunked(POINTS))
    yield [204], request(KNOWN, encoded, f"Trailer: {names}", body=chunked(POINTS, *trailers))
    yield [204], request(KNOWN, encoded, "Connection: Trailer", body=chunked(POINTS, *trailers))
    smuggled = chunked("") + SMUGGLED
    for fields in [[encoded, f"Content-Length: {len(smuggled)}"], [f"Content-Length: {len(smuggled)}", encoded],
                   [encoded, encoded], ["Transfer-Encoding: chunked, chunked"], ["Transfer-Encoding: identity, chunked"],
                   ["Transfer-Encoding: xchunked"], ["Transfer-Encoding : chunked"], ["Transfer-Encoding: chunked\x0b"],
                   ["Transfer-Encoding:\r\n chunked"], ["Transfer_Encoding: chunked"],
                   ["Connection: Transfer-Encoding", encoded], ["Connection: Content-Length", f"Content-Length: {len(smuggled)}"],
                   ["Content-Length: 0", f"Content-Length: {len(smuggled)}"],
                   [f"Content-Length: {len(smuggled)}", "Content-Length: 0"], ["Content-Length: +5"], ["Content-Length: 0x5"]]:
        # A second request is one only if it is decided as well: it is for another bucket, so never.
        yield [204, 400, 411, 413, 501], request(KNOWN, *fields, body=smuggled)

    # Credentials twice, and the body in another form.
    other = ": ".join(basic("grafana"))
    yield [401, 400], request(KNOWN, other)
    yield [401, 400], request(other, KNOWN)
    yield [204], request(KNOWN, "Authorization_: x", "Proxy-Authorization: Basic cm9vdDpyb290")
    for value in ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]:
        yield [204], request(KNOWN, f"Content-Type: {value}", body=POINTS)
        yield [204], request(KNOWN, f"Content-Type: {value}", f"Content-Type: {value}", f"Content_Type: {value}")

    # The target in other forms.
    for scheme in ["http://", "HTTP://", "https://", "ftp://", "http://root:root@"]:
        good = [204] if scheme == "http://" else [204, 400, 401]
        yield good, request(KNOWN, target=f"{scheme}database{GOOD}")
        yield good, request(target=f"{scheme}database{GOOD}&u=telegraf&p={SECRET}")
        yield [400, 401, 403], request(KNOWN, target=f"{scheme}database{OTHER}")
        yield [400, 401, 403], request(KNOWN, f"X-Original-URI: {GOOD}", target=f"{scheme}database{OTHER}")
        yield [400, 401, 403], request(KNOWN, target=f"{scheme}database/query{GOOD}")
    for target in [f"http://database?db=default", "http://database", f"http://{GOOD}", f"http:{GOOD}",
                   f"//database{GOOD}", f"http://database/{GOOD}", f"http://a/http://b{GOOD}",
                   "database:8086", "*", f"{GOOD}#{OTHER}", f"{GOOD} {OTHER}", f"{OTHER}\t{GOOD}", f"\\{GOOD}",
                   f"http://database\\@other{GOOD}", f"http://database#{GOOD}", f"http://data base{GOOD}"]:
        yield [400, 401, 403, 404, 405], request(KNOWN, target=target)
    # The client does not choose the request to Portcullis: some proxies use the part behind the colon as
    # the target of their own request.
    for path in ["/ping", "/health", "/forward-auth", "/forward-auth?check=none", "/api/v2/buckets"]:
        for target in [f"x:http://portcullis{path}", f"x:{path}", f"x:{path[1:]}", f"x:/{path}", f"x:?{path}"]:
            yield [400, 401, 403, 404], request(f"Authorization: Token {token}", target=target)
            yield [400, 401, 403, 404], request(KNOWN, f"X-Original-URI: {GOOD}", target=f"{target}?db=default")
    for placeholder in ["{http.request.header.X}", "{http.request.orig_uri}", "$request_uri", "${1}", "$1", "%{X}"]:
        yield [403], request(KNOWN, "X: default", target=f"/write?db={placeholder}")
    for method in ["CONNECT", "TRACE"]:
        for target in ["database:8086", GOOD]:
            yield [204, 400, 403, 401, 405], request(KNOWN, method=method, target=target, body="")
    # Caddy answers this one by itself.
    yield [200, 400, 401, 403, 405], request(KNOWN, method="OPTIONS", target="*", body="")
    yield [204, 400], request(KNOWN, "Host: other")
    yield [204], request(KNOWN, version="HTTP/1.0")

    # Two on one connection: each is decided on its own.
    yield [204], request(KNOWN) + request()
    yield [204], request(KNOWN) + request(KNOWN, target=OTHER)
    yield [401], request() + request(KNOWN, target=OTHER)


def statuses(address, sent):
    """Sends the bytes and a last request; returns the statuses of all responses until the end."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        answer = b""
        with contextlib.suppress(ConnectionError):
            connection.sendall((sent + LAST).encode("latin-1"))
        with contextlib.suppress(ConnectionError, TimeoutError):
            while more := connection.recv(65_536):
                answer += more
    lines = [line for line in answer.split(b"\n") if line.startswith(b"HTTP/1.")]
    return [int(line.split()[1]) for line in lines if not line.split()[1].startswith(b"1")], answer


def check(kind, address, identity, database, portcullis, expected, sent):
    database.seen.clear()
    portcullis.seen.clear()
    received, answer = statuses(address, sent)
    got = [message for message in database.seen if message.target != "/ping"]
    what = f"{kind}: {sent!r}\ngot {answer!r}\nthe database got {got}\nPortcullis got {portcullis.seen}"
    if not received or received[0] not in expected:
        raise AssertionError(f"{received[:1]} and not one of {expected}\n{what}")
    if b"x-portcullis" in answer.lower():
        raise AssertionError(f"the client was shown our ids\n{what}")
    if len(got) != (1 if received[0] == 204 else 0):
        raise AssertionError(f"the database got {len(got)} requests\n{what}")

    # The fields for Portcullis come from the proxy, once.
    for asked in portcullis.seen:
        addresses = asked.exactly("X-Forwarded-For")
        if len(asked.exactly("X-Original-URI")) != 1 or addresses != ["127.0.0.1"]:
            raise AssertionError(what)
        if asked.exactly("X-Original-Method") != [sent.split(" ")[0]]:
            raise AssertionError(what)
        if asked.target.rstrip("?") != "/forward-auth" or asked.body or asked.exactly("Transfer-Encoding"):
            raise AssertionError(what)

    for message in got:
        for name, value in identity.items():
            if message.all(name) != [value]:
                raise AssertionError(f"{name}: {message.all(name)}\n{what}")
        if sum("portcullis" in plain(name) for name, _ in message.fields) != len(identity):
            raise AssertionError(what)
        allowed = [asked for asked in portcullis.seen if asked.exactly("X-Original-URI") == [message.target]]
        if not allowed or not message.target.startswith(GOOD):
            raise AssertionError(f"Portcullis was asked about another request\n{what}")
        if message.trailers or message.all("Authorization") or message.all("Upgrade"):
            raise AssertionError(what)
        if message.exactly("Content-Type") != ["text/plain; charset=utf-8"]:
            raise AssertionError(what)
        if set(",".join(message.all("Connection")).lower().split(",")) - {"", "close", "keep-alive"}:
            raise AssertionError(what)


def main(binary, kind):
    checks = 0
    with tempfile.TemporaryDirectory() as directory, running(binary, *OPTIONS) as server:
        telegraf = administer(pathlib.Path(binary).resolve(), server)
        identity = dict(zip(IDENTITY, [telegraf["id"], telegraf["orgID"], telegraf["userID"], "telegraf"], strict=True))
        with Recorder() as database, Relay(server.url.removeprefix("http://")) as portcullis:
            addresses = {CLIENTS: f"127.0.0.1:{free_port()}", PORTCULLIS: portcullis.address, DATABASE: database.address}
            with proxy(kind, addresses, pathlib.Path(directory)):
                for expected, sent in tricks(server.token):
                    check(kind, addresses[CLIENTS], identity, database, portcullis, expected, sent)
                    checks += 1
            database.shutdown()
            portcullis.shutdown()
    print(f"tricks through {kind}: {checks} checks passed, 0 failed")


if __name__ == "__main__":
    main(*sys.argv[1:])
