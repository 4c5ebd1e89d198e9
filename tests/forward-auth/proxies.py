"""Real proxies with the documented configuration, the stub of a database behind them, and a client.

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
from collections.abc import Callable
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "clients"))

import server  # noqa: E402

CLIENTS, PORTCULLIS, DATABASE = "127.0.0.1:8086", "127.0.0.1:8087", "127.0.0.1:8186"
SECRET = "s3cret-enough"

# How long the proxies wait for a response of Portcullis.
PATIENCE = "15s"
POINTS = b"cpu value=1\n"


class Database(http.server.BaseHTTPRequestHandler):
    """Accepts and records every request."""

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


class Stub(http.server.ThreadingHTTPServer):
    """Ends silently, even with open connections."""

    daemon_threads, block_on_close = True, False

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextlib.contextmanager
def listening(handler, port=0):
    """A server with the handler; yields its address."""
    server = Stub(("127.0.0.1", port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def configured(name, addresses, directory, patience):
    """The text of the documented configuration, for this machine."""
    text = (ROOT / "docs" / "forward-auth" / name).read_text()
    if name == "Caddyfile":
        # Caddy's address of clients is in two lines.
        addresses = {"http://:8086": f"http://:{addresses[CLIENTS].split(':')[1]}",
                     PORTCULLIS: addresses[PORTCULLIS], DATABASE: addresses[DATABASE]}
    else:
        addresses = {**addresses, "/var/log/nginx": str(directory)}
    for documented, here in {**addresses, PATIENCE: patience}.items():
        if documented not in text:
            raise AssertionError(f"{name} does not contain {documented}")
        text = text.replace(documented, here)
    return text


@contextlib.contextmanager
def proxy(kind, addresses, directory, patience=PATIENCE):
    if kind == "nginx":
        (directory / "database.conf").write_text(configured("nginx.conf", addresses, directory, patience))
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
        (directory / "Caddyfile").write_text(configured("Caddyfile", addresses, directory, patience))
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
        response.text = response.read().decode()
        connection.close()
        return response

    def check(self, expected, path, headers=(), **other):
        """Sends it, and checks the response; returns the headers that the database received."""
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
    """Creates the bucket `events` and the credentials. Returns the ids of `telegraf`."""

    def run(*arguments):
        command = [binary, *arguments, "--json", "--store", server.store]
        environment = {**os.environ, "PORTCULLIS_PASSWORD": SECRET}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise AssertionError(f"{arguments}: {done.stderr}")
        return json.loads(done.stdout)

    run("bucket", "create", "--org", "default", "events")
    owner = ["--org", "default", "--user", "admin"]
    created = run("auth", "create", *owner, "telegraf", "--write-bucket", "default")
    run("auth", "create", *owner, "grafana", "--read-bucket", "default")
    run("auth", "create", *owner, "ä\n:", "--write-bucket", "default")
    return created


def basic(username, password=SECRET):
    encoded = base64.b64encode(f"{username}:{password}".encode()).decode()
    return ("Authorization", f"Basic {encoded}")


@dataclass
class Deployment:
    """Portcullis with credentials, a stub of the database, and a proxy in front of both."""

    server: server.Server
    telegraf: dict
    client: Client
    directory: pathlib.Path
    stop_portcullis: Callable
    stop_proxy: Callable


@contextlib.contextmanager
def deployed(binary, kind, database=Database):
    """Starts all of it; ends whatever still runs. The proxy's logs are in `directory`."""
    binary = pathlib.Path(binary).resolve()
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as around:
        directory = pathlib.Path(directory)
        addresses = {CLIENTS: f"127.0.0.1:{free_port()}", DATABASE: around.enter_context(listening(database))}
        with contextlib.ExitStack() as portcullis:
            running = portcullis.enter_context(server.running(binary, "--trusted-proxy", "127.0.0.1"))
            telegraf = administer(binary, running)
            addresses[PORTCULLIS] = running.url.removeprefix("http://")
            around.enter_context(proxy(kind, addresses, directory))
            client = Client(addresses[CLIENTS])
            yield Deployment(running, telegraf, client, directory, portcullis.close, around.close)
