#!/usr/bin/env python3
"""Authentication's share of a warm request, beside InfluxDB 1.6.

Servers on loopback serve `GET /query?q=SHOW+DATABASES`: InfluxDB with and without authentication, and
hosts on axum with and without a `V1CredentialLayer` around their router. `wrk` sends requests to each on
16 connections that it keeps; the figure is the CPU time of the server's process per request.
With and without authentication take turns of a fiftieth of a second, on one core: a machine that shares
its host and is a tenth slower in the next second would otherwise hide a difference of a hundredth, and
two at once would slow each other through the CPU's caches. `wrk` has another core, because moving a
server between cores costs more than authentication, and varies. Medians of all rounds go into a table,
and into target/bench-results/influxdb.json.

Needs Debian's `influxdb` (its server alone, not as a service) and `wrk`, and our `v1_host`:

    cargo build --release -p portcullis-benches --bin v1_host
"""

import argparse
import base64
import copy
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benches" / "shared"))

import results  # noqa: E402
from results import row  # noqa: E402

USER, PASSWORD = "telegraf", "s3cret-of-telegraf"
BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
CONNECTIONS = 16
# One for the servers and one for `wrk`; the same one if there are no more.
CORES = sorted(os.sched_getaffinity(0))
# For how many seconds one server runs while the other is stopped.
SLICE = 0.02

CONFIG = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{dir}/meta"
[data]
  dir = "{dir}/data"
  wal-dir = "{dir}/wal"
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false
  auth-enabled = {auth}
"""

PRODUCTS = ("Portcullis", "InfluxDB")


def on_core(core):
    """Keeps a process that is being started on the core."""
    return lambda: os.sched_setaffinity(0, {core})


class Server:
    """A process, its address, and what it has used of the processors."""

    def __init__(self, command, address=None, **options):
        self.process = subprocess.Popen(command, preexec_fn=on_core(CORES[0]), **options)
        self.address = address

    def cpu(self):
        """Seconds of CPU time of all its threads."""
        # What clock_getcpuclockid(3) says for a process: nanoseconds, where /proc has hundredths.
        return time.clock_gettime(~self.process.pid << 3 | 2)

    def url(self, query, who=None):
        parameters = dict(query)
        if who == "u and p":
            parameters |= {"u": USER, "p": PASSWORD}
        return f"http://{self.address}/query?" + urllib.parse.urlencode(parameters)

    def ask(self, query, who=None, method="GET"):
        request = urllib.request.Request(self.url(query, who), method=method)
        if who == "Basic":
            request.add_header("Authorization", BASIC)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        # One that is paused would not end.
        self.go_on()
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def influxd(program, directory, auth):
    directory.mkdir()
    port = free_port()
    config = directory / "influxdb.conf"
    config.write_text(
        CONFIG.format(rpc=free_port(), port=port, dir=directory, auth=str(auth).lower())
    )
    with open(directory / "log", "wb") as log:
        server = Server(
            [program, "-config", str(config)], f"127.0.0.1:{port}", stdout=log, stderr=log
        )
    try:
        until = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
                break
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > until or server.process.poll() is not None:
                    sys.exit("influxd does not start:\n" + (directory / "log").read_text())
                time.sleep(0.1)
        # The first user can be created without credentials, and has to be an administrator.
        server.ask(
            {"q": f"CREATE USER {USER} WITH PASSWORD '{PASSWORD}' WITH ALL PRIVILEGES"},
            method="POST",
        )
        server.ask({"q": "CREATE DATABASE telemetry"}, "u and p", method="POST")
    except BaseException:
        server.stop()
        raise
    return server


def v1_host(program):
    """The host, by its address with authentication and by the one without."""
    protected = Server([program], stdout=subprocess.PIPE, text=True)
    protected.address = protected.process.stdout.readline().strip()
    unprotected = copy.copy(protected)
    unprotected.address = protected.process.stdout.readline().strip()
    if not unprotected.address:
        sys.exit(f"{program} does not start")
    return protected, unprotected


def burst(wrk, servers, who, seconds):
    """Loads all the servers in turns, for `seconds` together; returns microseconds of CPU time per
    request, for each of them."""
    command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s"]
    if who == "Basic":
        command += ["-H", f"Authorization: {BASIC}"]
    before = [server.cpu() for server in servers]
    for server in servers:
        server.pause()
    loads = [
        subprocess.Popen(
            [*command, server.url({"q": "SHOW DATABASES"}, who)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            preexec_fn=on_core(CORES[-1]),
        )
        for server in servers
    ]
    while any(load.poll() is None for load in loads):
        for server in servers:
            server.go_on()
            time.sleep(SLICE)
            server.pause()
    for server in servers:
        server.go_on()
    outputs = [load.communicate()[0] for load in loads]
    # The last requests are served, though `wrk` no longer counts them.
    time.sleep(SLICE)
    for server in servers:
        if server.process.poll() is not None:
            sys.exit(f"{server.address} has ended by itself")
    used = [server.cpu() - begun for server, begun in zip(servers, before)]
    for server, load, output in zip(servers, loads, outputs):
        if load.returncode or "Non-2xx" in output or "Socket errors" in output:
            sys.exit(f"{server.address} refuses:\n{output}")
    requests = [int(re.search(r"(\d+) requests in", output)[1]) for output in outputs]
    return [seconds * 1e6 / count for seconds, count in zip(used, requests)]


def measure(arguments, places, directory):
    """The cost of a request in each round, with authentication and without it."""
    servers = []
    try:
        for auth in (True, False):
            place = directory / ("with" if auth else "without")
            servers.append(influxd(places["influxd"], place, auth))
        influxdb = list(servers)
        hosts = []
        for _ in range(2):
            hosts.append(v1_host(places["v1_host"]))
            servers.append(hosts[-1][0])

        def pair(product, number):
            """The server with authentication and the one without: hosts change places in every round,
            since two processes of one program differ by more than authentication costs."""
            if product == "InfluxDB":
                return influxdb
            return [hosts[number % 2][0], hosts[(number + 1) % 2][1]]

        turns = [(product, who) for who in ("Basic", "u and p") for product in PRODUCTS]
        for product, who in turns:
            for number in range(2):
                burst(places["wrk"], pair(product, number), who, 1)
        taken = {turn: [] for turn in turns}
        for number in range(arguments.rounds):
            # Each round begins with another one, and two of four rounds begin with the other of a pair.
            step = -1 if number // 2 % 2 else 1
            for turn in range(len(turns)):
                product, who = turns[(turn + number) % len(turns)]
                protected, unprotected = burst(
                    places["wrk"], pair(product, number)[::step], who, arguments.seconds
                )[::step]
                taken[product, who].append((protected, unprotected))
                print(
                    f"round {number + 1} of {arguments.rounds}, {product}, {who}: "
                    f"{protected:.2f} µs with authentication, {unprotected:.2f} µs without",
                    file=sys.stderr,
                )
        return taken
    finally:
        for server in servers:
            server.stop()


def table(taken):
    """The rows: both whole figures, then the difference, for each form of credentials."""
    def whole(product, who, which):
        return statistics.median(costs[which] for costs in taken[product, who])

    def part(product, who):
        parts = [protected - unprotected for protected, unprotected in taken[product, who]]
        # The mean of each two rounds, between which the hosts change places.
        return statistics.median(map(statistics.mean, zip(parts[::2], parts[1::2])))

    rows = []
    for who in ("Basic", "u and p"):
        for which, title in ((0, "with authentication"), (1, "without")):
            ours, theirs = (whole(product, who, which) for product in PRODUCTS)
            rows.append(row(
                f"warm request {title}, {who}, CPU of the whole server", f"{ours:.1f} µs",
                "InfluxDB", f"{theirs:.1f} µs", ours / theirs,
            ))
        ours, theirs = (part(product, who) for product in PRODUCTS)
        rows.append(row(
            f"authentication's part of a warm request, {who}, CPU", f"{ours:.2f} µs",
            "InfluxDB", f"{theirs:.2f} µs", ours / theirs if theirs > 0 else None,
            "at most 1 µs", ours <= 1,
        ))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=16, help="how many, a multiple of four (16)")
    parser.add_argument("--seconds", type=int, default=1, help="how long each pair is under load (1)")
    parser.add_argument("--influxd", default="influxd", help="InfluxDB's server")
    parser.add_argument("--wrk", default="wrk", help="the load generator")
    built = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/v1_host"
    parser.add_argument("--v1-host", default=str(built), help="our server")
    arguments = parser.parse_args()
    places = {name: shutil.which(getattr(arguments, name)) for name in ("influxd", "wrk", "v1_host")}
    if arguments.rounds < 4 or arguments.rounds % 4:
        parser.error("--rounds must be a multiple of four, in which each server has had each place")
    missing = [name for name, place in places.items() if not place]
    if missing:
        print(__doc__)
        sys.exit(f"not found: {', '.join(missing)}")

    # SIGTERM ends the servers as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    began = results.begin()
    with tempfile.TemporaryDirectory(prefix="portcullis-influxdb-") as directory:
        taken = measure(arguments, places, pathlib.Path(directory))
    rows = table(taken)
    results.save(
        "influxdb", rows, began, peer=results.said(places["influxd"], "version"),
        setup=f"{arguments.rounds} rounds of {arguments.seconds} s, {CONNECTIONS} connections",
    )


if __name__ == "__main__":
    main()
