"""A real InfluxDB 1.x, the gateway or a proxy with forward-auth before it, and credentials of Portcullis."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).parents[2]
for beside in ("clients", "influxql", "forward-auth"):
    sys.path.insert(0, str(ROOT / "tests" / beside))

import server  # noqa: E402
from influxd import PASSWORD as ADMIN_PASSWORD  # noqa: E402
from influxd import Influx  # noqa: E402
from proxies import CLIENTS, DATABASE as UPSTREAM, PORTCULLIS, free_port, proxy  # noqa: E402

PASSWORD = "s3cret-enough"
DATABASE = "telemetry"
USERS = {
    "reader": ["--read-bucket", DATABASE],
    "writer": ["--write-bucket", DATABASE],
    "both": ["--read-bucket", DATABASE, "--write-bucket", DATABASE],
    "none": ["--read-bucket", "other"],
}


def run(binary, store, *arguments):
    command = [binary, *arguments, "--json", "--store", store]
    environment = {**os.environ, "PORTCULLIS_PASSWORD": PASSWORD}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise AssertionError(f"{arguments}: {done.stderr}")
    return json.loads(done.stdout)


def set_up(influx):
    """Creates the admin, two databases, and points in one of them."""
    influx.must(f"CREATE USER admin WITH PASSWORD '{ADMIN_PASSWORD}' WITH ALL PRIVILEGES")
    for database in (DATABASE, "hidden", "other"):
        influx.must(f"CREATE DATABASE {database}")
    lines = b"seed,host=a value=1 1000000000\nseed,host=b value=2 2000000000\n"
    influx.connection.request("POST", f"/write?db={DATABASE}&u=admin&p={ADMIN_PASSWORD}", lines)
    assert influx.connection.getresponse().read() == b""


@dataclass
class Deployment:
    address: str
    influx: Influx
    server: server.Server
    binary: pathlib.Path
    directory: pathlib.Path


@contextlib.contextmanager
def gateway(binary, upstream, directory, *arguments):
    """A gateway before the upstream, with the credentials of USERS."""
    binary = pathlib.Path(binary).resolve()
    password = pathlib.Path(directory, "upstream-password")
    password.touch(0o600)
    password.write_text(ADMIN_PASSWORD + "\n")
    login = ["--upstream-username", "admin", "--upstream-password-file", str(password)]
    listen = ["--gateway-listen", "127.0.0.1:0"]
    with server.running(binary, "--upstream", upstream, *listen, *login, *arguments) as running:
        create_credentials(binary, running)
        yield running


def create_credentials(binary, running):
    """Creates the buckets, and the credentials of USERS."""
    for bucket in (DATABASE, "hidden", "other"):
        run(binary, running.store, "bucket", "create", "--org", "default", bucket)
    for name, permissions in USERS.items():
        owner = ["--org", "default", "--user", "admin"]
        run(binary, running.store, "auth", "create", *owner, name, *permissions)


@contextlib.contextmanager
def behind(kind, binary, upstream, directory):
    """The documented proxy before the upstream, which asks Portcullis; yields the server and the address."""
    binary = pathlib.Path(binary).resolve()
    with server.running(binary, "--trusted-proxy", "127.0.0.1") as running:
        create_credentials(binary, running)
        clients = f"127.0.0.1:{free_port()}"
        addresses = {CLIENTS: clients, PORTCULLIS: running.url.removeprefix("http://"), UPSTREAM: upstream}
        with proxy(kind, addresses, pathlib.Path(directory)):
            yield running, clients


@contextlib.contextmanager
def deployed(binary, influxd="influxd", front="gateway"):
    """InfluxDB with points, and the front before it. Behind a proxy, InfluxDB has no authentication of its own:
    the URL's `u` and `p` reach it."""
    binary = pathlib.Path(binary).resolve()
    with contextlib.ExitStack() as around:
        directory = pathlib.Path(around.enter_context(tempfile.TemporaryDirectory()))
        influx = Influx(influxd, directory, auth=front == "gateway")
        around.callback(influx.stop)
        set_up(influx)
        upstream = f"127.0.0.1:{influx.port}"
        if front == "gateway":
            running = around.enter_context(gateway(binary, f"http://{upstream}", directory))
            address = running.gateway.removeprefix("http://")
        else:
            proxied = pathlib.Path(around.enter_context(tempfile.TemporaryDirectory()))
            running, address = around.enter_context(behind(front, binary, upstream, proxied))
        yield Deployment(address, influx, running, binary, directory)
