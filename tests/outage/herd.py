"""Agents with right passwords that all write at once, right after the start of `portcullis serve`.

    python3 tests/outage/herd.py target/release/portcullis
    python3 tests/outage/herd.py target/release/portcullis --attack

Each agent has a name and an address of its own, and writes once. After 503 or 429 it retries when
`Retry-After` is over, as agents do. Ends with 1 if an agent ever got 401 or 403, or if it took longer
than --ratio (1.3) times the hashes alone until all were admitted: agents x hash / cores, where the hash
is timed in the same run, before and after, with all cores busy. There are two rounds: on a store without
any login of an agent, and after a restart of the server.

With --attack the owner of a name logs in from a new address with the right password, while 200 other
addresses guess at that name, 50 times a second together. Ends with 1 if the owner is not admitted after
--patience seconds. There are two rounds as well: an owner that never logged in, and one that has, from
another address, before a restart.

The requests are those of a proxy at 127.0.0.1, which sends the address in `X-Forwarded-For`.
"""

import argparse
import asyncio
import base64
import collections
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "clients"))

from server import running  # noqa: E402

SECRET = "s3cret-enough"
PROXY = ["--trusted-proxy", "127.0.0.1"]


def basic(username, password=SECRET):
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def source(number):
    return f"10.1.{number // 250}.{number % 250 + 1}"


class Asker:
    """Requests `/forward-auth` on a connection of its own, as a proxy does for a client."""

    def __init__(self, address, address_of_client):
        self.address, self.client = address, address_of_client
        self.reader = self.writer = None

    async def ask(self, username, password=SECRET):
        """Returns the status and `Retry-After` in seconds, or `None`."""
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(*self.address)
        self.writer.write(
            "GET /forward-auth HTTP/1.1\r\nHost: portcullis\r\nX-Original-URI: /write?db=default\r\n"
            f"X-Forwarded-For: {self.client}\r\nAuthorization: {basic(username, password)}\r\n\r\n".encode()
        )
        try:
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            self.close()
            return 0, None
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        fields = {name.lower(): value for name, value in fields.items()}
        await self.reader.readexactly(int(fields.get("content-length", 0)))
        later = fields.get("retry-after")
        return int(head[9:12]), None if later is None else int(later)

    def close(self):
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


def populate(binary, store, names):
    """Gives each name the same password, which is hashed once, and imports the credentials."""

    def run(*arguments, **options):
        command = [binary, *arguments, "--store", store]
        environment = {**os.environ, "PORTCULLIS_PASSWORD": SECRET}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, **options)
        if done.returncode != 0:
            raise AssertionError(f"{arguments}: {done.stderr}")
        return done.stdout

    owner = ["--org", "default", "--user", "admin", "--write-bucket", "default"]
    run("auth", "create", *owner, "pattern")
    lines = [json.loads(line) for line in run("export").splitlines()]
    pattern = next(line for line in lines if line.get("token") == "pattern")
    records = [
        json.dumps({**pattern, "id": f"{0xa000000000000000 + number:016x}", "token": name})
        for number, name in enumerate(names)
    ]
    run("import", "-", input="\n".join(records))


def address_of(server):
    host, port = server.url.removeprefix("http://").split(":")
    return host, int(port)


async def time_of_a_hash(address, names, cores):
    """Seconds for one cold login, with all cores busy."""
    names, times = list(names), []

    async def one_after_another(number):
        asker = Asker(address, source(number))
        while names:
            begin = time.perf_counter()
            status, _ = await asker.ask(names.pop())
            times.append(time.perf_counter() - begin)
            if status != 204:
                raise AssertionError(f"an agent alone got {status}")
        asker.close()

    await asyncio.gather(*(one_after_another(number) for number in range(cores)))
    return statistics.median(times)


async def herd(address, names, patience):
    """All at once; returns the statuses, and after how many seconds each was admitted."""
    statuses, times = collections.Counter(), []
    begin = time.perf_counter()

    async def agent(number, name):
        asker = Asker(address, source(number))
        while time.perf_counter() - begin < patience:
            status, later = await asker.ask(name)
            statuses[status] += 1
            if status == 204:
                times.append(time.perf_counter() - begin)
                break
            # A client that is refused for good gives up. This one retries all the same, to measure when
            # it would be admitted.
            await asyncio.sleep(1 if later is None else later)
        asker.close()

    await asyncio.gather(*(agent(number, name) for number, name in enumerate(names)))
    return statuses, sorted(times)


def measure_herd(binary, arguments):
    cores, wrong = len(os.sched_getaffinity(0)), []
    names = [f"agent-{number}" for number in range(arguments.agents)]
    probes = [f"probe-{number}" for number in range(30 * cores)]

    def timed(server):
        group = [probes.pop() for _ in range(10 * cores)]
        return asyncio.run(time_of_a_hash(address_of(server), group, cores))

    def round_of(what, server, before):
        statuses, times = asyncio.run(herd(address_of(server), names, arguments.patience))
        after = timed(server)
        hash_time = (before + after) / 2
        at_best = len(names) * hash_time / cores
        ratio = times[-1] / at_best if len(times) == len(names) else float("inf")
        print(f"\n{what}: {len(names)} agents, {cores} cores")
        print(f"  hash, all cores busy    {before * 1e3:.1f} ms before, {after * 1e3:.1f} ms after")
        print(f"  agents x hash / cores   {at_best:.2f} s")
        for status, count in sorted(statuses.items()):
            print(f"  status {status}              {count}")
        if times:
            median = times[len(times) // 2]
            print(f"  admitted: {len(times)}, half after {median:.2f} s, all after {times[-1]:.2f} s, ratio {ratio:.2f}")
        if set(statuses) - {204, 429, 503}:
            wrong.append(f"{what}: agents with right passwords were refused: {dict(statuses)}")
        if ratio > arguments.ratio:
            wrong.append(f"{what}: it took {ratio:.2f} times the hashes alone, more than {arguments.ratio}")
        return after

    with tempfile.TemporaryDirectory() as directory:
        with running(binary, *PROXY, directory=directory) as server:
            populate(binary, server.store, [*names, *probes])
            before = timed(server)
        with running(binary, *PROXY, directory=directory) as server:
            before = round_of("first start", server, before)
        with running(binary, *PROXY, directory=directory) as server:
            round_of("restart", server, before)
    return wrong


async def guess(address, sources, rate, until, statuses):
    """Guesses `rate` times a second, from each source in turn, whatever the responses are."""
    askers = [Asker(address, f"192.0.2.{number}") for number in range(1, sources + 1)]
    busy = set()

    async def once(asker, number):
        try:
            status, _ = await asker.ask("owner", f"guess {number}")
            statuses[status] += 1
        except OSError:
            asker.close()
            statuses[0] += 1
        busy.discard(asker)

    begin, number, tasks = time.perf_counter(), 0, set()
    while not until.is_set():
        asker = askers[number % sources]
        if asker not in busy:
            busy.add(asker)
            task = asyncio.create_task(once(asker, number))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        number += 1
        await asyncio.sleep(max(0, begin + number / rate - time.perf_counter()))
    for task in tasks:
        task.cancel()
    for asker in askers:
        asker.close()


async def owner_under_attack(address, arguments):
    """Returns the guesses' statuses, the owner's, and after how many seconds it was admitted."""
    guesses, owner, until = collections.Counter(), collections.Counter(), asyncio.Event()
    attack = asyncio.create_task(guess(address, arguments.sources, arguments.rate, until, guesses))
    # As long as every source needs to have guessed twice.
    while sum(guesses.values()) < 2 * arguments.sources and not attack.done():
        await asyncio.sleep(0.1)
    before = collections.Counter(guesses)
    begin, took = time.perf_counter(), None
    asker = Asker(address, "198.51.100.1")
    while took is None and time.perf_counter() - begin < arguments.patience:
        status, later = await asker.ask("owner")
        owner[status] += 1
        if status == 204:
            took = time.perf_counter() - begin
        else:
            await asyncio.sleep(min(1 if later is None else later, arguments.patience))
    until.set()
    await attack
    return before, guesses, owner, took


def measure_attack(binary, arguments):
    wrong = []

    def round_of(what, server):
        before, guesses, owner, took = asyncio.run(owner_under_attack(address_of(server), arguments))
        print(f"\n{what}: {arguments.sources} sources, {arguments.rate} guesses a second")
        print(f"  guesses until the owner came   {dict(before)}")
        print(f"  guesses in all                 {dict(guesses)}")
        print(f"  statuses of the owner          {dict(owner)}")
        print(f"  locked out for                 {'all the time' if took is None else f'{took:.1f} s'}")
        if 204 in guesses:
            wrong.append(f"{what}: a guess was admitted")
        if took is None:
            wrong.append(f"{what}: the owner was locked out for {arguments.patience} s")

    with tempfile.TemporaryDirectory() as directory:
        with running(binary, *PROXY, directory=directory) as server:
            populate(binary, server.store, ["owner"])
        with running(binary, *PROXY, directory=directory) as server:
            round_of("an owner that never logged in", server)
            status, _ = asyncio.run(Asker(address_of(server), source(0)).ask("owner"))
            print(f"  from yet another address       {status}")
    with tempfile.TemporaryDirectory() as directory:
        with running(binary, *PROXY, directory=directory) as server:
            populate(binary, server.store, ["owner"])
            status, _ = asyncio.run(Asker(address_of(server), source(0)).ask("owner"))
            if status != 204:
                raise AssertionError(f"the owner got {status}")
        with running(binary, *PROXY, directory=directory) as server:
            round_of("an owner that has logged in elsewhere, after a restart", server)
            status, _ = asyncio.run(Asker(address_of(server), source(0)).ask("owner"))
            print(f"  from where it logged in before {status}")
            if status != 204:
                wrong.append(f"the owner got {status} at the address of its login before the restart")
    return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("--agents", type=int, default=300)
    parser.add_argument("--ratio", type=float, default=1.3, help="where other work goes on, more than 1.3")
    parser.add_argument("--attack", action="store_true")
    parser.add_argument("--sources", type=int, default=200, help="1 to 254")
    parser.add_argument("--rate", type=int, default=50, help="guesses a second of all sources together")
    parser.add_argument("--patience", type=int, default=120, help="seconds until it gives up")
    arguments = parser.parse_args()
    measure = measure_attack if arguments.attack else measure_herd
    wrong = measure(arguments.binary.resolve(), arguments)
    print("\n" + ("\n".join(wrong) or "herd: 2 passed, 0 failed"))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
