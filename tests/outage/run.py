"""Real clients write through an outage, behind a real proxy, and every point arrives.

    target/ci-venv/bin/python tests/outage/run.py target/debug/portcullis nginx
    target/ci-venv/bin/python tests/outage/run.py target/debug/portcullis caddy

It needs PostgreSQL, Python with `influxdb-client` and Node with `influx` and `@influxdata/influxdb-client`,
below --npm. The configuration of the proxy is the one in docs/forward-auth. Three unmodified clients
write points; the store is stopped until each of them has failed twice, and started again; then
`portcullis serve` is killed, and started again. Ends with 1 if a client gave up a point, or if one did
not arrive at the stub of a database.
"""

import collections
import http.server
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

from deployment import BUCKET, deployed, main
from processes import wait_until
from proxies import SECRET

HERE = pathlib.Path(__file__).parent
WRITERS = {
    "influxdb-client (Python)": [sys.executable, HERE / "python_writer.py"],
    "@influxdata/influxdb-client": ["node", HERE / "javascript_writer.cjs"],
    "influx (npm)": ["node", HERE / "javascript_v1_writer.cjs"],
}


class Points(http.server.BaseHTTPRequestHandler):
    """A database that counts how often it got each point."""

    protocol_version = "HTTP/1.1"
    seen = collections.Counter()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        for line in body.splitlines():
            name, number = re.fullmatch(r"(\S+) number=(\d+)i? \d+", line).groups()
            self.seen[name, int(number)] += 1
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


class Writer:
    """A client in a process of its own, which reports retries and losses."""

    def __init__(self, name, command, username, url, npm, directory):
        self.name, self.username, self.written = name, username, 0
        self.reported = collections.Counter()
        environment = {**os.environ, "NODE_PATH": str(npm / "node_modules")}
        self.process = subprocess.Popen(
            [*command, url, username, SECRET, BUCKET], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=(directory / f"{username}.log").open("w"),
        )
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            self.reported[line.strip()] += 1

    def count(self, what):
        return sum(count for line, count in list(self.reported.items()) if line.startswith(what))

    def say(self, what):
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()

    def write(self, count):
        self.say(f"write {count}")
        self.written += count

    def missing(self):
        return {number for number in range(self.written) if (self.username, number) not in Points.seen}

    def finish(self):
        self.say("finish")
        self.process.wait(60)
        return self.reported[f"done {self.written}"] == 1 and self.process.returncode == 0


class SomethingIsLost(Exception):
    """A client gave up a point."""


class Outage:
    """The clients, and the outages of their servers."""

    def __init__(self, writers):
        self.writers = writers

    def all_in(self):
        for writer in self.writers:
            if writer.count("lost"):
                raise SomethingIsLost(f"{writer.name} gave up: {dict(writer.reported)}")
        return not any(writer.missing() for writer in self.writers)

    def write(self, count):
        for writer in self.writers:
            writer.write(count)

    def wait(self):
        begin = time.monotonic()
        wait_until("all points", self.all_in, 60)
        return time.monotonic() - begin

    def through(self, what, stop, start):
        """Writes, stops it, writes on until each client has failed twice, starts it."""
        self.write(20)
        self.wait()
        before = {writer: writer.count("retries") for writer in self.writers}
        begin = time.monotonic()
        stop()

        # Cache hits need no store until their entries are stale.
        def each_has_failed():
            self.all_in()
            waiting = [writer for writer in self.writers if writer.count("retries") < before[writer] + 2]
            for writer in waiting:
                writer.write(1)
            return not waiting

        wait_until("each client to fail", each_has_failed, 60, pause=0.25)
        self.write(20)
        seconds = time.monotonic() - begin
        start()
        print(f"  {what} down for {seconds:.1f} s; all points were in {self.wait():.1f} s later", flush=True)


def work(arguments, directory):
    begin = time.monotonic()
    usernames = [f"writer-{number}" for number in range(len(WRITERS))]
    credentials = {username: ["--write-bucket", BUCKET] for username in usernames}
    print(f"through {arguments.proxy}", flush=True)
    with deployed(arguments, directory, credentials, Points) as deployment:
        store, server = deployment.store, deployment.server
        url = f"http://{deployment.address}"
        npm = arguments.npm.resolve()
        writers = [
            Writer(name, command, username, url, npm, directory)
            for username, (name, command) in zip(usernames, WRITERS.items(), strict=True)
        ]
        outage = Outage(writers)
        wrong = []
        try:
            outage.through("PostgreSQL", store.stop, store.start)
            outage.through("portcullis", server.kill, deployment.start_server)
        except Exception as error:  # noqa: BLE001
            wrong.append(f"{type(error).__name__}: {error}")
        for writer in writers:
            finished = not wrong and writer.finish()
            lost, repeated = len(writer.missing()), sum(
                count - 1 for (name, _), count in Points.seen.items() if name == writer.username
            )
            retries = ", ".join(f"{line} ({count})" for line, count in sorted(writer.reported.items()) if line.startswith("retries"))
            print(f"  {writer.name:<28} written {writer.written}, lost {lost}, repeated {repeated}; {retries}")
            if lost or not finished:
                wrong.append(f"{writer.name}: lost {lost}: {dict(writer.reported)}")
        for writer in writers:
            writer.process.kill()
            writer.process.wait()
    print(f"  {time.monotonic() - begin:.1f} s")
    print("\n".join(wrong) or f"outage: {len(writers)} passed, 0 failed", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    main(work)
