"""`portcullis serve` on a PostgreSQL server of its own, behind a real proxy, in front of a database's stub."""

import argparse
import contextlib
import pathlib
import sys
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).parents[2]
for beside in ("forward-auth", "cluster"):
    sys.path.insert(0, str(ROOT / "tests" / beside))

from postgres import Postgres, set_up  # noqa: E402
from processes import Ports, under_guard, wait_until  # noqa: E402
from proxies import CLIENTS, DATABASE, PORTCULLIS, listening, proxy  # noqa: E402
from servers import Server  # noqa: E402

BUCKET = "telemetry"


@dataclass
class Deployment:
    """Both servers can be stopped and started; clients connect to `address`."""

    store: Postgres
    server: Server
    address: str

    def start_server(self):
        self.server.start()
        wait_until("portcullis", self.server.is_ready, 30)


@contextlib.contextmanager
def deployed(arguments, directory, credentials, database):
    """Sets up a store with the credentials, usernames with their permissions, and starts everything."""
    ports = Ports()
    store = Postgres(directory, ports.take())
    binary = arguments.binary.resolve()
    set_up(binary, store.url, BUCKET, credentials)
    port = ports.take()
    addresses = {CLIENTS: f"127.0.0.1:{ports.take()}", PORTCULLIS: f"127.0.0.1:{port}"}
    command = [binary, "serve", "--store", store.url, "--listen", addresses[PORTCULLIS]]
    server = Server("portcullis", directory, port, [*command, "--trusted-proxy", "127.0.0.1"])
    deployment = Deployment(store, server, addresses[CLIENTS])
    deployment.start_server()
    with listening(database) as addresses[DATABASE], proxy(arguments.proxy, addresses, directory):
        yield deployment


def main(work):
    """Runs `work(arguments, directory)` and ends with the status that it returns."""
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("proxy", choices=["nginx", "caddy"])
    parser.add_argument("--npm", type=pathlib.Path, default=ROOT / "target" / "ci-npm")
    arguments = parser.parse_args()
    under_guard(lambda directory: work(arguments, directory))
