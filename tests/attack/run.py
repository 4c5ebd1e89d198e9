"""Guesses passwords of a real `portcullis serve` over 64 connections, beside a client with a right one.

    python tests/attack/run.py target/release/portcullis
    python tests/attack/run.py target/debug/portcullis --short

Ends with 1 if the good client was ever refused or got slow, if memory grew, or if the owner of the
attacked name could not log in from another address after the attack and a restart of the server.
Loopback addresses stand for sources.

Not shown: a login during the attack, with the attacked name, from an address without a login history.
It has to wait like the guesses.
"""

import argparse
import asyncio
import base64
import collections
import http.client
import json
import multiprocessing
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "clients"))

from server import running  # noqa: E402

OWNER, SECRET = "telegraf", "s3cret-enough"
CONNECTIONS = 64
ATTACKER, GOOD, CLEAN = "127.0.0.1", "127.0.0.2", "127.0.0.3"

# The promises: cache hits do not wait for hashes (one takes 30 ms), guesses keep no memory, and the
# owner does not stay locked out. The bounds are generous: the attack runs on the same machine.
MOST_P99 = 0.5
MOST_GROWTH = 64 << 20
MOST_WAIT = 10

ATTACKS = {
    "one name, one source": (lambda number: OWNER, lambda connection: ATTACKER),
    "many names, one source": (lambda number: f"guess-{number}", lambda connection: ATTACKER),
    "many names, 64 sources": (
        lambda number: f"guess-{number}",
        lambda connection: f"127.0.1.{connection + 1}",
    ),
}


def basic(username, password):
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


async def guess(address, attack, connection, until, outcomes):
    """Guesses on one connection, and on another one when it is closed."""
    name, source = ATTACKS[attack]
    number = connection
    while time.monotonic() < until:
        try:
            reader, writer = await asyncio.open_connection(*address, local_addr=(source(connection), 0))
            while time.monotonic() < until:
                number += CONNECTIONS
                writer.write(
                    "GET /forward-auth HTTP/1.1\r\nHost: attacked\r\n"
                    "X-Original-URI: /write?db=default\r\n"
                    f"Authorization: {basic(name(number), f'guess {number}')}\r\n\r\n".encode()
                )
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                later = b"retry-after" in head.lower()
                outcomes[head[9:12].decode() + (" with Retry-After" if later else "")] += 1
        except (OSError, asyncio.IncompleteReadError):
            outcomes["no answer"] += 1
            await asyncio.sleep(0.01)


def flood(address, attack, seconds, sender):
    async def all_of_them():
        outcomes = collections.Counter()
        until = time.monotonic() + seconds
        tasks = [guess(address, attack, c, until, outcomes) for c in range(CONNECTIONS)]
        await asyncio.wait_for(asyncio.gather(*tasks), seconds + 60)
        return outcomes

    sender.send(asyncio.run(all_of_them()))


class Client:
    """Requests `/forward-auth` from an address of its own, on a connection that it keeps."""

    def __init__(self, address, source):
        self.connection = http.client.HTTPConnection(*address, timeout=60, source_address=(source, 0))

    def ask(self):
        headers = {"Authorization": basic(OWNER, SECRET), "X-Original-URI": "/write?db=default"}
        begin = time.perf_counter()
        self.connection.request("GET", "/forward-auth", headers=headers)
        response = self.connection.getresponse()
        response.read()
        return response.status, time.perf_counter() - begin

    def ask_for(self, seconds):
        """Sends some hundred requests a second; returns the statuses other than 204, and all times."""
        refused, times = [], []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            status, took = self.ask()
            times.append(took)
            if status != 204:
                refused.append(status)
            time.sleep(0.002)
        return refused, sorted(times)


def quantile(times, share):
    return times[min(int(len(times) * share), len(times) - 1)]


def shown(times):
    return " / ".join(f"{quantile(times, share) * 1e3:.2f} ms" for share in (0.5, 0.99))


def resident(pid, what):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"{what}:\s+(\d+) kB", status)[1]) << 10


def metrics(server):
    found = re.search(r"metrics on (http://\S+/metrics)", server.log.read_text())
    text = urllib.request.urlopen(found[1], timeout=60).read().decode()
    values = {}
    throttled = 'logins_total{result="refused",reason="throttled"}'
    for name in ["hashes_total", 'logins_total{result="busy"}', throttled]:
        line = re.search(rf"^portcullis_{re.escape(name)} (\S+)$", text, re.MULTILINE)
        values[name] = int(float(line[1])) if line else 0
    return values


def create_owner(binary, store):
    command = [binary, "auth", "create", "--org", "default", "--user", "admin", OWNER]
    command += ["--write-bucket", "default", "--json", "--store", store]
    environment = {**os.environ, "PORTCULLIS_PASSWORD": SECRET}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    json.loads(done.stdout)


def address_of(server):
    host, port = server.url.removeprefix("http://").split(":")
    return host, int(port)


def time_to_login(server, source):
    """Seconds until the owner, without a cache entry, is admitted; `None` if not within `MOST_WAIT`."""
    begin = time.monotonic()
    while time.monotonic() - begin < MOST_WAIT:
        if Client(address_of(server), source).ask()[0] == 204:
            return time.monotonic() - begin
        time.sleep(0.1)
    return None


def under(attack, binary, seconds):
    """Attacks a server of its own; returns what is wrong."""
    wrong = []
    print(f"\n{attack}, {CONNECTIONS} connections, {seconds} s")

    def tell(what, value, ok=True):
        print(f"  {what:<52} {value}{'' if ok else '   WRONG'}")
        if not ok:
            wrong.append(f"{attack}: {what}: {value}")

    with tempfile.TemporaryDirectory() as directory:
        with running(binary, "--metrics-listen", "127.0.0.1:0", directory=directory) as server:
            create_owner(binary, server.store)
            client = Client(address_of(server), GOOD)
            status, took = client.ask()
            tell("the good client's first login", f"{took * 1e3:.0f} ms", status == 204)
            _, idle = client.ask_for(max(seconds / 3, 2))
            before, counted = resident(server.pid, "VmRSS"), metrics(server)

            receiver, sender = multiprocessing.Pipe(duplex=False)
            arguments = (address_of(server), attack, seconds, sender)
            attacker = multiprocessing.Process(target=flood, args=arguments)
            attacker.start()
            refused, times = client.ask_for(seconds - 0.5)
            outcomes = receiver.recv()
            attacker.join()

            tell("p50 / p99 of the good client, idle", shown(idle))
            tell("p50 / p99 of the good client, under attack", shown(times), quantile(times, 0.99) <= MOST_P99)
            tell("requests of the good client, and refused of them", f"{len(times)}, {len(refused)}", not refused)
            for outcome, count in sorted(outcomes.items()):
                tell(f"guesses that got {outcome}", count, not outcome.startswith("2"))
            for name, value in metrics(server).items():
                tell(name, value - counted[name])
            after, peak = resident(server.pid, "VmRSS"), resident(server.pid, "VmHWM")
            sizes = f"{before >> 20} / {after >> 20} / {peak >> 20} MiB"
            tell("memory before / after / at the most", sizes, peak - before <= MOST_GROWTH)
        with running(binary, directory=directory) as server:
            took = time_to_login(server, CLEAN)
            value = "never" if took is None else f"{took * 1e3:.0f} ms"
            tell("the owner logs in after a restart, elsewhere", value, took is not None)
    return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("--short", action="store_true", help="5 s for each attack, and not 30 s")
    arguments = parser.parse_args()
    seconds = 5 if arguments.short else 30
    wrong = [what for attack in ATTACKS for what in under(attack, arguments.binary.resolve(), seconds)]
    print("\n" + ("\n".join(wrong) if wrong else "attacks: the good client was served throughout"))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
