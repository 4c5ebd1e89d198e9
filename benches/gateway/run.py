#!/usr/bin/env python3
"""The gateway beside nginx with `auth_request`, before an upstream that responds with 204.

Each serves `POST /write` of a point with valid credentials, of which the login is cached: `direct` is the
upstream, `gateway` is `portcullis serve --upstream`, `nginx` is the documented configuration of forward-auth
with `portcullis serve`. `wrk` sends requests on 16 connections that it keeps, and on one. They take turns;
medians of all rounds go into docs/performance.md by `benches/run`: requests a second, the CPU
time of all server processes per request, and the time of half of the requests on one connection.

Needs Debian's `nginx-light` and `wrk`, and `cargo build --release -p portcullis-server`.
"""

import argparse
import contextlib
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "gateway"), str(ROOT / "benches" / "shared")]

import results  # noqa: E402
from deployment import DATABASE, PASSWORD, gateway  # noqa: E402
from proxies import CLIENTS, DATABASE as UPSTREAM, PORTCULLIS, configured, free_port  # noqa: E402

# At least this many times the requests of nginx, and at most this many microseconds more than without a gateway.
THROUGHPUT = 1.4
ADDED = 80
SCRIPT = """
wrk.method = "POST"
wrk.body = "cpu,host=a value=1 1000000000\\n"
wrk.headers["Authorization"] = "Token both:%s"
""" % PASSWORD


class Process:
    def __init__(self, pid):
        self.pid = pid

    def cpu(self):
        """Seconds of CPU time of it and its children."""
        pids = [self.pid, *map(int, subprocess.run(["pgrep", "-P", str(self.pid)], capture_output=True,
                                                   text=True).stdout.split())]
        return sum(time.clock_gettime(~pid << 3 | 2) for pid in pids)


@contextlib.contextmanager
def nginx(directory, name, http):
    """nginx with one worker."""
    paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    temporary = "\n".join(f"{path}_temp_path {directory}/{name}-{path};" for path in paths)
    conf = pathlib.Path(directory, f"{name}.conf")
    conf.write_text(f"daemon off; worker_processes 1; pid {directory}/{name}.pid;\n"
                    f"error_log {directory}/{name}.error crit;\nevents {{ worker_connections 1024; }}\n"
                    f"http {{ {temporary}\naccess_log off;\nkeepalive_requests 100000000;\n{http} }}\n")
    process = subprocess.Popen(["nginx", "-c", str(conf)], stderr=subprocess.DEVNULL)
    try:
        yield Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def measure(address, processes, connections, seconds, script):
    """Requests a second, CPU microseconds per request, and the median time of a request in microseconds."""
    before = sum(process.cpu() for process in processes)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script,
               f"http://{address}/write?db={DATABASE}"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = sum(process.cpu() for process in processes) - before
    if "Non-2xx" in shown or "Socket errors" in shown:
        raise SystemExit(f"{address}: {shown}")
    count = int(re.search(r"(\d+) requests in", shown)[1])
    median, unit = re.search(r"50%\s+([0-9.]+)(us|ms|s)\b", shown).groups()
    return {
        "rate": float(re.search(r"Requests/sec:\s+([0-9.]+)", shown)[1]),
        "cpu": used / count * 1e6,
        "p50": float(median) * {"us": 1, "ms": 1e3, "s": 1e6}[unit],
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "target" / "release" / "portcullis")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=2)
    options = parser.parse_args()
    began = results.begin()
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as around:
        script = pathlib.Path(directory, "write.lua")
        script.write_text(SCRIPT)
        database = f"127.0.0.1:{free_port()}"
        upstream = around.enter_context(
            nginx(directory, "upstream", f"server {{ listen {database}; return 204; }}"))
        running = around.enter_context(gateway(options.binary, f"http://{database}", directory,
                                               "--trusted-proxy", "127.0.0.1"))
        proxied = f"127.0.0.1:{free_port()}"
        addresses = {CLIENTS: proxied, PORTCULLIS: running.url.removeprefix("http://"), UPSTREAM: database}
        front = around.enter_context(
            nginx(directory, "front", configured("nginx.conf", addresses, directory, "15s")))
        time.sleep(0.5)
        ours = Process(running.pid)
        contenders = {
            "direct": (database, [upstream]),
            "gateway": (running.gateway.removeprefix("http://"), [upstream, ours]),
            "nginx": (proxied, [upstream, ours, front]),
        }
        taken = {name: {1: [], 16: []} for name in contenders}
        for connections in (16, 1):
            for number in range(options.rounds + 1):
                for name, (address, processes) in contenders.items():
                    result = measure(address, processes, connections, options.seconds, script)
                    # The first round warms up.
                    if number:
                        taken[name][connections].append(result)

    def median(name, connections, figure):
        return statistics.median(result[figure] for result in taken[name][connections])

    rows = []
    for name in ("direct", "nginx"):
        peer = {"direct": "no gateway", "nginx": "nginx with auth_request"}[name]
        for connections, figure, title, form in (
            (16, "rate", "requests a second, 16 connections", "{:,.0f}"),
            (16, "cpu", "CPU of all processes for a request, 16 connections", "{:.1f} µs"),
            (1, "p50", "half of the requests on one connection", "{:.0f} µs"),
        ):
            ours, theirs = median("gateway", connections, figure), median(name, connections, figure)
            ratio = ours / theirs
            target, reached = "", None
            if (name, figure) == ("nginx", "rate"):
                target, reached = f"at least {THROUGHPUT}", ratio >= THROUGHPUT
            if (name, figure) == ("direct", "p50"):
                target, reached = f"at most {ADDED} µs more", ours - theirs <= ADDED
            rows.append(results.row(f"gateway, {title}", form.format(ours), peer, form.format(theirs), ratio,
                                    target, reached))
    results.save("gateway", rows, began, peer=results.said("sh", "-c", "nginx -v 2>&1"),
                 setup=f"{options.rounds} rounds of {options.seconds} s, an upstream that responds with 204")
    return 0


if __name__ == "__main__":
    sys.exit(main())
