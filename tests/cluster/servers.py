"""Three `portcullis serve` on one database."""

import json
import signal
import subprocess

from client import Client
from processes import start, wait_until

# The server's `max_staleness`: how long a node uses its cache without an event from the feed.
MAX_STALENESS = 2.0

# How many connections to the database a node has.
POOL_SIZE = 8


class Server:
    """A node, which keeps its port when it is restarted."""

    def __init__(self, name, directory, port, command):
        self.name, self.port, self.command = name, port, command
        self.log = directory / f"{name}.log"
        self.process = None

    def start(self):
        self.process = start(self.command, self.log)

    def is_ready(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}: {self.log.read_text()[-2000:]}")
        return self.client().ask("GET", "/ready").status == 200

    def client(self, token=None):
        return Client(self.port, token)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        """Stops in good order, which must be quick and clean."""
        self.process.terminate()
        status = self.process.wait(30)
        if status != 0:
            raise AssertionError(f"{self.name} ended with {status} after SIGTERM")


class Servers:
    """The three of them, on a new store."""

    def __init__(self, binary, directory, ports, database, address, more):
        self.store = database.url(f"&{address}&pool_size={POOL_SIZE}")
        command = [binary, "setup", "--org", "acme", "--user", "ada", "--bucket", "telemetry"]
        done = subprocess.run(
            [*command, "--json", "--store", self.store], capture_output=True, text=True, timeout=60
        )
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        told = json.loads(done.stdout)
        self.token, self.org, self.bucket = told["token"], told["org"]["id"], told["buckets"][0]["id"]
        self.all = []
        for name in "ABC":
            port = ports.take()
            command = [binary, "serve", "--store", self.store, "--listen", f"127.0.0.1:{port}"]
            # Old passwords are presented all the time, which the throttle would slow down.
            command += ["--no-throttle", *more]
            self.all.append(Server(name, directory, port, command))
        for server in self.all:
            server.start()
        wait_until("the servers", self.are_ready, 30)

    def are_ready(self):
        return all(server.is_ready() for server in self.all)
