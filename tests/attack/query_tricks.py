"""Requests that try to reach more than a credential may: statements, parameters, paths, framing.

Each is a label and the bytes of a request. `{auth}` stands for the line with the credentials.
"""

import json
import urllib.parse

# What a credential for one database must not do, with `events` as another one.
FORBIDDEN = [
    'SELECT * FROM events..cpu',
    'SELECT * FROM "events"."autogen"."cpu"',
    'SELECT * FROM events../.*/',
    'SELECT * FROM telemetry..cpu, events..cpu',
    'SELECT * FROM (SELECT * FROM (SELECT v FROM events..cpu))',
    'SELECT v INTO events..stolen FROM telemetry..cpu',
    'SELECT v INTO telemetry..stolen FROM events..cpu',
    'SHOW TAG VALUES ON events WITH KEY = host',
    'SHOW SERIES ON events',
    'SHOW SERIES EXACT CARDINALITY ON events',
    'SHOW FIELD KEYS FROM events..cpu',
    'SHOW MEASUREMENTS ON events',
    'EXPLAIN ANALYZE SELECT * FROM events..cpu',
    'DROP DATABASE events',
    'DROP MEASUREMENT cpu',
    'CREATE DATABASE mine',
    'CREATE USER mallory WITH PASSWORD \'x\' WITH ALL PRIVILEGES',
    'SET PASSWORD FOR root = \'x\'',
    'GRANT ALL PRIVILEGES TO mallory',
    'CREATE CONTINUOUS QUERY c ON telemetry BEGIN SELECT mean(v) INTO events..m FROM events..cpu GROUP BY time(1m) END',
    'CREATE SUBSCRIPTION s ON events.autogen DESTINATIONS ALL \'http://127.0.0.1:9\'',
    'CREATE RETENTION POLICY p ON events DURATION 1h REPLICATION 1 DEFAULT',
    'DROP RETENTION POLICY autogen ON events',
    'KILL QUERY 1',
    'SHOW STATS',
    'SHOW QUERIES',
    'SHOW USERS',
    'SHOW GRANTS FOR reader',
]

# Ways to write a statement otherwise.
DISGUISES = [
    ("swapped case", str.swapcase),
    ("tabs and lines", lambda q: q.replace(" ", "\t\r\n")),
    ("a comment between words", lambda q: q.replace(" ", " /* x */ ")),
    ("a line comment between words", lambda q: q.replace(" ", " -- x\n")),
    ("behind semicolons", lambda q: f";;; {q} ;;"),
    ("behind an allowed statement", lambda q: f"SELECT v FROM cpu WHERE v < 0; {q}"),
    ("behind a comment that ends", lambda q: f"SHOW TAG KEYS -- ;\n; {q}"),
    ("behind a string with a quote", lambda q: f"SELECT v FROM cpu WHERE host = 'a\\'' ; {q} --'"),
    ("behind a name with a quote", lambda q: f'SELECT v FROM "a\\"" ; {q} --"'),
    ("behind a regular expression", lambda q: f"SELECT v FROM cpu WHERE host =~ /a\\/;/; {q} --/"),
    ("behind a NUL", lambda q: f"SELECT v FROM cpu\0; {q}"),
    ("with a byte order mark", lambda q: "\ufeff" + q),
    ("with wide blanks", lambda q: q.replace(" ", "\u00a0")),
    ("in an unfinished comment", lambda q: f"/* {q}"),
    ("with a carriage return", lambda q: f"SHOW TAG KEYS\r;{q}"),
]

BAD = "SELECT * FROM events..cpu"
GOOD = "SELECT v FROM cpu WHERE v < 0"
FORM = "Content-Type: application/x-www-form-urlencoded"


def quote(text):
    return urllib.parse.quote(text, safe="", errors="surrogatepass")


def request(target, *fields, method="GET", body="", auth=True, close=True, version="1.1"):
    body = body.encode() if isinstance(body, str) else body
    head = [f"{method} {target} HTTP/{version}", "Host: database"]
    head += ["{auth}"] if auth else []
    head += fields
    if body and not any(field.lower().startswith(("content-length", "transfer-")) for field in fields):
        head.append(f"Content-Length: {len(body)}")
    if close:
        head.append("Connection: close")
    return ("\r\n".join(head) + "\r\n\r\n").encode("latin-1") + body


def get(q, **parameters):
    return "/query?" + urllib.parse.urlencode({"db": "telemetry", "q": q, **parameters})


def statements():
    """Every forbidden statement, plain and as a form, and some of them in every disguise."""
    for q in FORBIDDEN:
        yield q, request(get(q))
        yield f"POST: {q}", request(get(q), method="POST")
        form = urllib.parse.urlencode({"db": "telemetry", "q": q})
        yield f"form: {q}", request("/query", FORM, method="POST", body=form)
    for name, disguise in DISGUISES:
        for q in FORBIDDEN[::3]:
            yield f"{name}: {q}", request(get(disguise(q)))


def parameters():
    """Parameters that are given twice, elsewhere, in another spelling, or that change the statement."""
    bad, good = quote(BAD), quote(GOOD)
    other = quote("SELECT * FROM cpu")
    base = "/query?db=telemetry&q="
    for name, target in [
        ("q twice", f"{base}{good}&q={bad}"),
        ("q twice, other order", f"{base}{bad}&q={good}"),
        ("q with an escape in its name", f"{base}{good}&%71={bad}"),
        ("q in capitals", f"{base}{good}&Q={bad}"),
        ("q as an array", f"{base}{good}&q[]={bad}"),
        ("q after a semicolon", f"{base}{good};q={bad}"),
        ("q after an escaped ampersand", f"{base}{good}%26q={bad}"),
        ("q after a line break", f"{base}{good}%0d%0aq={bad}"),
        ("q with a broken escape", f"{base}{good}&q=%zz{bad}"),
        ("q with invalid UTF-8", f"{base}{bad}%ff"),
        ("q with overlong UTF-8", f"{base}SELECT%20*%20FROM%20events%c0%ae.cpu"),
        ("q with a NUL", f"{base}{good}%00%3B{bad}"),
        ("q encoded twice", f"{base}{quote(bad)}"),
        ("q with UTF-16 surrogates", f"{base}{bad}%ed%a0%80"),
        ("db twice", f"/query?db=telemetry&db=events&q={other}"),
        ("db twice, other order", f"/query?db=events&db=telemetry&q={other}"),
        ("db with an escape in its name", f"/query?db=telemetry&%64b=events&q={other}"),
        ("db in capitals", f"/query?DB=events&db=telemetry&q={other}"),
        ("db is another one", f"/query?db=events&q={other}"),
        ("db with a blank", f"/query?db=+events&q={other}"),
        ("db with a NUL", f"/query?db=events%00telemetry&q={other}"),
        ("db with a slash", f"/query?db=telemetry%2Fevents&q={other}"),
        ("db with a dot", f"/query?db=events.autogen&q={other}"),
        ("db in quotation marks", f"/query?db=%22events%22&q={other}"),
        ("db is a path", f"/query?db=..%2Fevents&q={other}"),
        ("db and database", f"/query?db=telemetry&database=events&q={other}"),
        ("db and org and bucket", f"/query?db=telemetry&bucket=events&org=x&q={other}"),
        ("rp with another database", f"/query?db=telemetry&rp=events..cpu&q={other}"),
        ("rp in quotation marks", f"/query?db=telemetry&rp=%22.%22events&q={other}"),
        ("rp with a statement", f"/query?db=telemetry&rp=x%3B{bad}&q={other}"),
        ("epoch with a statement", f"{base}{good}&epoch=ms%3B{bad}"),
        ("chunk_size with a line break", f"{base}{good}&chunk_size=1%0d%0aX: y"),
        ("another user", f"{base}{bad}&u=root&p=root"),
        ("user without a password", f"{base}{bad}&u=root"),
        ("a fragment", f"{base}{good}#&q={bad}"),
        ("an empty name", f"{base}{good}&={bad}"),
        ("a very long q", f"{base}{bad}{quote(' ' * 6000)}"),
    ]:
        yield name, request(target)
    for name, values in [
        ("a database", {"x": {"identifier": "events"}}),
        ("a database, short", {"x": {"ident": "events"}}),
        ("a regular expression", {"x": {"regex": ".*"}}),
        ("a string with a statement", {"x": "events..cpu; DROP DATABASE events"}),
        ("a name with a statement", {"x": {"identifier": 'events"; DROP DATABASE events; --'}}),
        ("something else", {"x": {"duration": "1h"}}),
    ]:
        q = "SELECT * FROM $x..cpu"
        yield f"params: {name}", request(get(q, params=json.dumps(values)))
    twice = '{"x":{"identifier":"telemetry"},"x":{"identifier":"events"}}'
    yield "params: one name twice", request(get("SELECT * FROM $x..cpu", params=twice))
    yield "params: given twice", request(
        get("SELECT * FROM $x..cpu", params='{"x":{"identifier":"telemetry"}}')
        + "&params=" + quote('{"x":{"identifier":"events"}}'))
    yield "params: a string for a source", request(get("SELECT * FROM $x", params='{"x":"events..cpu"}'))

    part = "--B\r\nContent-Disposition: form-data; name=\"{}\"{}\r\n\r\n{}\r\n"
    for name, fields, body in [
        ("q in a form and in the URL", [FORM], f"q={bad}"),
        ("q twice in a form", [FORM], f"q={good}&q={bad}"),
        ("db in a form", [FORM], f"db=events&q={other}"),
        ("a form with capitals", ["CONTENT-TYPE: Application/X-WWW-Form-Urlencoded"], f"q={bad}"),
        ("a form with parameters of its type", [FORM + "; charset=utf-7; x=\"y\""], f"q={bad}"),
        ("two content types", [FORM, "Content-Type: text/plain"], f"q={bad}"),
        ("two content types, other order", ["Content-Type: text/plain", FORM], f"q={bad}"),
        ("two content types in a line", ["Content-Type: text/plain, application/x-www-form-urlencoded"], f"q={bad}"),
        ("a folded content type", ["Content-Type:\r\n application/x-www-form-urlencoded"], f"q={bad}"),
        ("a form as text", ["Content-Type: text/plain"], f"q={bad}"),
        ("a form as JSON", ["Content-Type: application/json"], json.dumps({"q": BAD})),
        ("a form without a type", [], f"q={bad}"),
        ("a compressed form", [FORM, "Content-Encoding: gzip"], f"q={bad}"),
        ("Flux", ["Content-Type: application/vnd.flux"], 'from(bucket: "events")'),
        ("multipart", ["Content-Type: multipart/form-data; boundary=B"],
         part.format("q", "", BAD) + "--B--\r\n"),
        ("multipart with a file", ["Content-Type: multipart/form-data; boundary=B"],
         part.format("q", '; filename="q.txt"', BAD) + "--B--\r\n"),
        ("multipart with q twice", ["Content-Type: multipart/form-data; boundary=B"],
         part.format("q", "", GOOD) + part.format("q", "", BAD) + "--B--\r\n"),
        ("multipart with another boundary", ["Content-Type: multipart/form-data; boundary=A; boundary=B"],
         part.format("q", "", BAD) + "--B--\r\n"),
        ("multipart after a form", [FORM, "Content-Type: multipart/form-data; boundary=B"],
         part.format("q", "", BAD) + "--B--\r\n"),
    ]:
        for target in (f"{base}{good}", "/query?db=telemetry"):
            yield f"{name}, {target[:25]}", request(target, *fields, method="POST", body=body)
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "HEAD", "QUERY", "get", "CONNECT"):
        yield f"{method} with q", request(f"{base}{bad}", method=method)
        yield f"{method} with a form", request("/query?db=telemetry", FORM, method=method, body=f"q={bad}")
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        yield f"{name}", request(f"{base}{good}", f"{name}: POST", FORM, body=f"q={bad}")


def paths():
    """Other paths, and other spellings of those that are served."""
    query = "?db=telemetry&q=" + quote(BAD)
    for path in [
        "/query/", "//query", "/./query", "/x/../query", "/%71uery", "/query%2f", "/query%00", "/query%3f",
        "/QUERY", "/Query", "/query;x=y", "/query/..", "/query%20", "/query\\", "/.query", "/ping/../query",
        "/write/../query", "/write%2f..%2fquery", "/ping%2f..%2fquery", "/ping/%2e%2e/query", "/ping;/../query",
        "/health/../query", "/api/v2/query", "/api/v3/query", "/api/v2/../../query", "/query.csv",
        "http://database/query", "http://database:80/../query", "https://database/query", "http:/query",
        "//database/query", "database:80", "*", "query", "/debug/vars", "/debug/pprof/heap", "/metrics",
        "/debug/requests", "/shards", "/raft", "/backup", "/api/v2/delete?bucket=events", "/api/v2/buckets",
        "/api/v2/setup", "/api/v2/dbrps", "/api/v1/prom/metrics", "/kapacitor/v1/ping", "/chronograf", "/",
    ]:
        yield f"path {path}", request(path if "?" in path else path + query)
        yield f"POST {path}", request(path if "?" in path else path + query, method="POST")


def framing():
    """One request in another, and headers that name or hide others."""
    bad = get(BAD)
    inner = "GET " + bad + " HTTP/1.1\r\nHost: database\r\n\r\n"
    good = get(GOOD)
    chunked = f"0\r\n\r\n{inner}"
    for name, fields, body in [
        ("a request as the body", [], inner),
        ("length and chunks", [f"Content-Length: {len(chunked)}", "Transfer-Encoding: chunked"], chunked),
        ("chunks and length", ["Transfer-Encoding: chunked", f"Content-Length: {len(chunked)}"], chunked),
        ("a short length", ["Content-Length: 0"], inner),
        ("two lengths", ["Content-Length: 0", f"Content-Length: {len(inner)}"], inner),
        ("lengths in a line", [f"Content-Length: 0, {len(inner)}"], inner),
        ("a length with a sign", ["Content-Length: +0"], inner),
        ("a length in hexadecimal", ["Content-Length: 0x0"], inner),
        ("a blank before the colon", ["Content-Length : 0", f"Content-Length: {len(inner)}"], inner),
        ("an underscore", ["Content_Length: 0", f"Content-Length: {len(inner)}"], inner),
        ("chunks in capitals", ["Transfer-Encoding: CHUNKED"], chunked),
        ("chunks and identity", ["Transfer-Encoding: chunked, identity"], chunked),
        ("identity and chunks", ["Transfer-Encoding: identity, chunked"], chunked),
        ("chunks after a tab", ["Transfer-Encoding:\tchunked"], chunked),
        ("chunks with a vertical tab", ["Transfer-Encoding: \x0bchunked"], chunked),
        ("folded chunks", ["Transfer-Encoding:\r\n chunked"], chunked),
        ("an unknown encoding", ["Transfer-Encoding: xchunked", f"Content-Length: {len(chunked)}"], chunked),
        ("a size with an extension", ["Transfer-Encoding: chunked"], f"0;x=\r\n\r\n{inner}"),
        ("a size with a line feed", ["Transfer-Encoding: chunked"], f"0\n\n{inner}"),
        ("a trailer", ["Transfer-Encoding: chunked", "Trailer: Authorization"], f"0\r\nAuthorization: x\r\n\r\n{inner}"),
    ]:
        for method in ("GET", "POST"):
            yield f"{name}, {method}", request(good, *fields, method=method, body=body, close=False)
    for name, fields in [
        ("Connection names Authorization", ["Connection: Authorization"]),
        ("Connection names Host", ["Connection: Host, X-Forwarded-For"]),
        ("an upgrade to HTTP/2", ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQ"]),
        ("an upgrade to a socket", ["Connection: Upgrade", "Upgrade: websocket"]),
        ("the original path", [f"X-Original-URI: {good}"]),
        ("the original URL", [f"X-Original-URL: {good}", f"X-Rewrite-URL: {good}"]),
        ("forwarded", [f"X-Forwarded-Uri: {good}", "X-Forwarded-Method: GET", "X-Forwarded-For: 127.0.0.1"]),
        ("forwarded, standard", ["Forwarded: for=127.0.0.1;host=database"]),
        ("an identity", ["X-Portcullis-Authorization: 0000000000000001", "X-Portcullis-Username: root"]),
        ("another Authorization", ["Authorization: Basic cm9vdDpyb290"]),
        ("Authorization of a proxy", ["Proxy-Authorization: Basic cm9vdDpyb290"]),
        ("a cookie", ["Cookie: session=root"]),
        ("a line feed alone", ["X: y\nX-Original-URI: " + good]),
        ("another host", ["Host: other"]),
    ]:
        yield name, request(bad, *fields, close=False)
    yield "HTTP/1.0", request(bad, version="1.0", close=False)
    yield "HTTP/0.9", f"GET {bad}\r\n".encode()
    yield "HTTP/2.0", request(bad, version="2.0", close=False)
    yield "a second request", request(good, close=False) + inner.encode()
    yield "a second request without credentials", request("/ping", close=False, auth=False) + inner.encode()
    yield "no credentials", request(bad, auth=False)


def writes():
    """Points for another database."""
    points = "cpu,host=mallory v=666"
    for name, target in [
        ("another database", "/write?db=events"),
        ("db twice", "/write?db=telemetry&db=events"),
        ("db twice, other order", "/write?db=events&db=telemetry"),
        ("db with an escape in its name", "/write?db=telemetry&%64b=events"),
        ("db after a semicolon", "/write?db=telemetry;db=events"),
        ("db with a NUL", "/write?db=events%00"),
        ("db with a slash", "/write?db=telemetry%2f..%2fevents"),
        ("db and bucket", "/write?db=telemetry&bucket=events"),
        ("rp of another database", "/write?db=telemetry&rp=events"),
        ("rp with quotation marks", "/write?db=telemetry&rp=autogen%22.%22events"),
        ("a bucket", "/api/v2/write?bucket=events&org=x"),
        ("a bucket with a policy", "/api/v2/write?bucket=events/autogen&org=x"),
        ("a bucket twice", "/api/v2/write?bucket=telemetry&bucket=events"),
        ("a bucket and db", "/api/v2/write?bucket=telemetry&db=events"),
        ("a bucket with two slashes", "/api/v2/write?bucket=telemetry/autogen/events"),
        ("an org", "/api/v2/write?bucket=events&orgID=0000000000000001"),
        ("Prometheus", "/api/v1/prom/write?db=events"),
        ("precision with a parameter", "/write?db=telemetry&precision=s%26db=events"),
        ("consistency with a line break", "/write?db=telemetry&consistency=any%0d%0adb:events"),
        ("another path", "/write/events?db=telemetry"),
        ("a path in capitals", "/WRITE?db=events"),
        ("no db", "/write"),
    ]:
        yield f"write: {name}", request(target, method="POST", body=points)
        yield f"write by GET: {name}", request(target, body=points)
        yield f"write by PUT: {name}", request(target, method="PUT", body=points)
    for name, fields in [("a form", [FORM]), ("multipart", ["Content-Type: multipart/form-data; boundary=B"])]:
        yield f"write: db in {name}", request("/write?db=telemetry", *fields, method="POST", body="db=events&x=1")
        yield f"write: only db in {name}", request("/write", *fields, method="POST", body="db=events")
    for name, body in [
        ("a statement", "cpu v=1\nCREATE DATABASE mine"),
        ("a heading", "# DML\n# CONTEXT-DATABASE: events\ncpu,host=mallory v=666"),
        ("a second database", "events..cpu,host=mallory v=666"),
        ("a NUL", "cpu,host=mallory\0 v=666"),
    ]:
        yield f"points with {name}", request("/write?db=telemetry", method="POST", body=body)


def everything():
    for kind in (statements, parameters, paths, framing, writes):
        for label, raw in kind():
            yield f"{kind.__name__}: {label}", raw
