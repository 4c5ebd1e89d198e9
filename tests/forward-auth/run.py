"""A real reverse proxy in front of a stub of a database, with `portcullis` deciding who may write.

    python tests/forward-auth/run.py target/debug/portcullis nginx
    python tests/forward-auth/run.py target/debug/portcullis caddy

The configuration is the file in docs/forward-auth, in which only addresses and the directory of the
logs are replaced.
"""

import base64
import contextlib
import http.client
import http.server
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "clients"))

from server import running  # noqa: E402

CLIENTS, PORTCULLIS, DATABASE = "127.0.0.1:8086", "127.0.0.1:8087", "127.0.0.1:8186"
SECRET = "s3cret-enough"
POINTS = b"cpu value=1\n"


class Database(http.server.BaseHTTPRequestHandler):
    """Takes everything, and remembers it."""

    protocol_version = "HTTP/1.1"
    seen = []

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.seen.append((self.command, self.path, self.headers, body))
        self.send_response(200 if self.path.startswith("/ping") else 204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = do_HEAD = do_PUT = answer

    def log_message(self, *_):
        pass


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def configured(name, addresses, directory):
    """The text of the documented configuration, for this machine."""
    text = (ROOT / "docs" / "forward-auth" / name).read_text()
    if name == "Caddyfile":
        # Caddy's address of clients is in two lines.
        addresses = {"http://:8086": f"http://:{addresses[CLIENTS].split(':')[1]}",
                     PORTCULLIS: addresses[PORTCULLIS], DATABASE: addresses[DATABASE]}
    else:
        addresses = {**addresses, "/var/log/nginx": str(directory)}
    for documented, here in addresses.items():
        if documented not in text:
            raise AssertionError(f"{name} does not say {documented}")
        text = text.replace(documented, here)
    return text


@contextlib.contextmanager
def proxy(kind, addresses, directory):
    if kind == "nginx":
        (directory / "database.conf").write_text(configured("nginx.conf", addresses, directory))
        paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        paths = "\n".join(f"{path}_temp_path {directory}/{path};" for path in paths)
        main = directory / "nginx.conf"
        main.write_text(
            f"daemon off; master_process off; pid {directory}/nginx.pid;\n"
            f"error_log {directory}/error.log crit;\nevents {{}}\n"
            f"http {{ {paths} include {directory}/database.conf; }}\n"
        )
        command = ["nginx", "-c", str(main)]
    else:
        (directory / "Caddyfile").write_text(configured("Caddyfile", addresses, directory))
        command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(directory / "Caddyfile")]
    home = {**os.environ, "HOME": str(directory), "XDG_DATA_HOME": str(directory)}
    with (directory / "proxy.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=home)
    try:
        host, port = addresses[CLIENTS].split(":")
        for _ in range(200):
            if process.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection((host, port)):
                break
            time.sleep(0.05)
        else:
            raise AssertionError(f"{kind} does not listen")
        if process.poll() is not None:
            raise AssertionError(f"{kind} ended: {(directory / 'proxy.log').read_text()}")
        yield
    finally:
        process.terminate()
        process.wait()


class Client:
    def __init__(self, address):
        self.address = address
        self.checks = 0

    def send(self, path, headers=(), method="POST", body=POINTS):
        connection = http.client.HTTPConnection(self.address, timeout=30)
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        response.read()
        connection.close()
        return response

    def check(self, expected, path, headers=(), **other):
        """Sends it, and asserts what came back; returns what the database got of it."""
        self.checks += 1
        Database.seen.clear()
        response = self.send(path, headers, **other)
        seen = list(Database.seen)
        what = f"{path} {headers}: {response.status}, {len(seen)} requests to the database"
        if response.status != expected or len(seen) != (1 if expected < 300 else 0):
            raise AssertionError(what)
        if (response.headers["WWW-Authenticate"] is not None) != (expected == 401):
            raise AssertionError(what)
        if expected >= 300:
            return None
        _, got, got_headers, body = seen[0]
        if got != path or body != other.get("body", POINTS):
            raise AssertionError(f"the database got {got} {body[:100]}")
        if "Authorization" in got_headers:
            raise AssertionError("the database got the credentials")
        return got_headers


def administer(binary, server):
    """Buckets `default` and `events`; who may write what. Returns the ids of `telegraf`."""

    def run(*arguments):
        command = [binary, *arguments, "--json", "--store", server.store]
        environment = {**os.environ, "PORTCULLIS_PASSWORD": SECRET}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise AssertionError(f"{arguments}: {done.stderr}")
        return json.loads(done.stdout)

    run("bucket", "create", "--org", "default", "events")
    owner = ["--org", "default", "--user", "admin"]
    created = run("auth", "create", *owner, "--username", "telegraf", "--write-bucket", "default")
    run("auth", "create", *owner, "--username", "grafana", "--read-bucket", "default")
    run("auth", "create", *owner, "--username", "ä\n:", "--write-bucket", "default")
    return created


def basic(username, password=SECRET):
    encoded = base64.b64encode(f"{username}:{password}".encode()).decode()
    return ("Authorization", f"Basic {encoded}")


def let_through(client, server, telegraf):
    token = ("Authorization", f"Token {server.token}")
    known = basic("telegraf")

    def identity(headers):
        names = ["Authorization", "Org", "User", "Username"]
        return [headers.get_all(f"X-Portcullis-{name}") for name in names]

    # Who may write: Basic, `u` and `p`, tokens.
    for path, headers in [
        ("/write?db=default", [known]),
        ("/write?db=default&precision=s&rp=autogen", [known]),
        ("/write?%64b=defaul%74", [known]),
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
    got = identity(client.check(204, f"/write?db=default&u=%C3%A4%0A%3A&p={SECRET}"))
    if got[3] != ["%C3%A4%0A%3A"]:
        raise AssertionError(f"the database got {got}")

    # A large body, and a form with a `db` of its own.
    client.check(204, "/write?db=default", [known], body=POINTS * 100_000)
    form = ("Content-Type", "application/x-www-form-urlencoded")
    got = client.check(204, "/write?db=default", [known, form], body=b"db=events")
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

    # Everybody may ask whether it is there.
    got = identity(client.check(200, "/ping", forged, method="GET"))
    if any(value for value in got):
        raise AssertionError(f"the database got {got}")


def turned_away(client, server):
    known, reader = basic("telegraf"), basic("grafana")
    token = ("Authorization", f"Token {server.token}")
    good = "/write?db=default"
    for expected, path, headers in [
        # Nobody.
        (401, good, []),
        (401, good, [basic("telegraf", "wrong-password")]),
        (401, good, [basic("nobody")]),
        (401, good, [("Authorization", "Token nonsense")]),
        (401, good, [("Authorization", f"Bearer {server.token}")]),
        (401, f"{good}&u=telegraf&p=wrong-password", [known]),
        (401, f"{good}&u=telegraf&p={SECRET}&p={SECRET}", []),
        (401, f"{good}&u=telegraf&u=grafana&p={SECRET}", []),
        (401, f"{good};u=telegraf&p={SECRET}", [known]),
        # Somebody who may not.
        (403, good, [reader]),
        (403, "/write?db=events", [known]),
        (403, "/write?db=nowhere", [token]),
        (403, "/write", [known]),
        # A `db` that the database could read in another way.
        (403, "/write?db=default&db=default", [known]),
        (403, "/write?db=events&db=default", [known]),
        (403, "/write?db=default&%64b=events", [known]),
        # The proxy says what is asked, the client does not.
        (403, "/query?check=none", [known]),
        (403, "/write?db=events&check=none", [known]),
        (403, "/write?db=default&permission=read:orgs", [token]),
        # No URL says what these do.
        (403, "/query?db=default&q=SELECT", [known]),
        (403, "/query?db=default&q=SELECT", [token]),
        (403, "/api/v2/write?bucket=default", [known]),
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
        # What a client says of its own request decides nothing.
        spoofed = [("X-Original-URI", good), ("X-Forwarded-Uri", good), ("X-Original-URL", good),
                   ("x-original-uri", f"{good}&u=telegraf&p={SECRET}"), ("X_Original_URI", good),
                   ("X-Portcullis-Authorization", "0" * 16)]
        client.check(expected, path, [*headers, *spoofed])
    client.check(204, good, [known, ("X-Original-URI", "/query")])

    # What is asked about cannot be asked for directly.
    for path in ["/forward-auth?check=none", "/forward-auth"]:
        status = client.send(path, [known]).status
        if status < 400:
            raise AssertionError(f"{path}: {status}")


def main(binary, kind):
    binary = pathlib.Path(binary).resolve()
    database = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Database)
    threading.Thread(target=database.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        directory = pathlib.Path(directory)
        with running(binary, "--trusted-proxy", "127.0.0.1") as server:
            telegraf = administer(binary, server)
            addresses = {
                CLIENTS: f"127.0.0.1:{free_port()}",
                PORTCULLIS: server.url.removeprefix("http://"),
                DATABASE: f"127.0.0.1:{database.server_address[1]}",
            }
            stack.enter_context(proxy(kind, addresses, directory))
            client = Client(addresses[CLIENTS])
            let_through(client, server, telegraf)
            turned_away(client, server)

            # The address is the client's, whatever it claims.
            headers = [basic("telegraf", "wrong-password"), ("X-Forwarded-For", "6.6.6.6")]
            client.check(401, "/write?db=default", headers)
            log = server.log.read_text()
            if "address=127.0.0.1 scheme=" not in log or "6.6.6.6" in log:
                raise AssertionError(log)
            if SECRET in log or server.token in log:
                raise AssertionError("a secret is in the log of portcullis")

        # Nobody who decides: nobody gets through.
        client.checks += 1
        Database.seen.clear()
        path = f"/write?db=default&u=telegraf&p={SECRET}"
        status = client.send(path, [basic("telegraf")]).status
        if status < 500 or Database.seen:
            raise AssertionError(f"{status}, {len(Database.seen)} requests")
        stack.close()
        logs = "".join(log.read_text() for log in directory.glob("*.log"))
        if SECRET in logs:
            raise AssertionError(f"a password is in the log of {kind}: {logs}")
    database.shutdown()
    print(f"forward-auth with {kind}: {client.checks} checks passed, 0 failed")


if __name__ == "__main__":
    main(*sys.argv[1:])
