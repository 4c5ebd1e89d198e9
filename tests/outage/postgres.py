"""One PostgreSQL server that can be stopped and started."""

import os
import signal
import subprocess

from database import programs
from processes import as_postgres, start, wait_until
from proxies import SECRET


class Postgres:
    def __init__(self, directory, port):
        self.directory, self.port = directory / "postgres", port
        self.directory.mkdir()
        self.prefix = as_postgres(self.directory)
        self.data = self.directory / "data"
        command = [*self.prefix, programs() / "initdb", "-D", self.data, "-A", "trust", "-U", "postgres"]
        subprocess.run([*command, "-E", "UTF8", "--no-locale", "--no-sync"], check=True, capture_output=True)
        self.start()

    @property
    def url(self):
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres?sslmode=disable"

    def start(self):
        command = [*self.prefix, programs() / "postgres", "-D", self.data, "-p", str(self.port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.directory}"]
        self.process = start([*command, "-c", "shared_buffers=32MB"], self.directory / "log", cwd=self.directory)
        wait_until("PostgreSQL", self.answers, 60)

    def answers(self):
        address = f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres connect_timeout=2"
        command = [programs() / "psql", "-AtXq", "-d", address, "-c", "SELECT 1"]
        return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout == "1\n"

    def stop(self):
        """At once, without a message to the connections."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(60)


def set_up(binary, store, bucket, credentials):
    """Sets up a new store: a bucket, and each username with its permissions."""

    def run(*arguments):
        environment = {**os.environ, "PORTCULLIS_PASSWORD": SECRET}
        command = [binary, *arguments, "--store", store]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)

    run("setup", "--org", "acme", "--user", "ada", "--bucket", bucket)
    for username, permissions in credentials.items():
        run("auth", "create", "--org", "acme", "--user", "ada", username, *permissions)
