"""A real InfluxDB 1.x of one's own."""

import base64
import http.client
import pathlib
import socket
import subprocess
import time
import urllib.parse

PASSWORD = "differential-1"


class Influx:
    """A server in a directory; `auth` demands credentials, and `log_queries` logs what is executed."""

    def __init__(self, influxd, directory, auth=True, log_queries=False):
        self.directory = pathlib.Path(directory)
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            other.bind(("127.0.0.1", 0))
            self.port, rpc = one.getsockname()[1], other.getsockname()[1]
        config = self.directory / "influxdb.conf"
        config.write_text(f"""
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[logging]
format = "json"
[meta]
dir = "{directory}/meta"
[data]
dir = "{directory}/data"
wal-dir = "{directory}/wal"
query-log-enabled = {str(log_queries).lower()}
[http]
bind-address = "127.0.0.1:{self.port}"
auth-enabled = {str(auth).lower()}
log-enabled = false
[monitor]
store-enabled = false
[continuous_queries]
enabled = false
""")
        self.log = self.directory / "influxd.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen([influxd, "-config", str(config)], stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise SystemExit(self.log.read_text())
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def ask(self, query, user="admin", database=None):
        """Sends the query as the user; returns status and body."""
        form = {"q": query} | ({"db": database} if database else {})
        token = base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()
        headers = {"Authorization": f"Basic {token}", "Content-Type": "application/x-www-form-urlencoded"}
        self.connection.request("POST", "/query", urllib.parse.urlencode(form), headers)
        response = self.connection.getresponse()
        return response.status, response.read().decode(errors="replace")

    def must(self, query, user="admin", database=None):
        status, body = self.ask(query, user, database)
        assert status == 200 and '"error"' not in body, (query, status, body)

    def write(self, database, points):
        """Writes points without credentials."""
        self.connection.request("POST", f"/write?db={database}", points)
        response = self.connection.getresponse()
        assert response.status == 204, response.read()
        response.read()

    def set_up(self, grants, databases=("telemetry", "events")):
        """Creates the databases, and users with these grants: `read telemetry` and the like."""
        self.must(f"CREATE USER admin WITH PASSWORD '{PASSWORD}' WITH ALL PRIVILEGES")
        for database in databases:
            self.must(f"CREATE DATABASE {database}")
        for user, held in grants.items():
            self.must(f"CREATE USER \"{user}\" WITH PASSWORD '{PASSWORD}'")
            for database in databases:
                kinds = {kind for kind in ("read", "write") if f"{kind} {database}" in held}
                if kinds:
                    grant = "ALL" if len(kinds) == 2 else kinds.pop().upper()
                    self.must(f"GRANT {grant} ON {database} TO \"{user}\"")

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
