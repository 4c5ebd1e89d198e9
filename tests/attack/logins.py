"""Logins with right passwords that need a hash, while other requests keep the hash pool busy.

    python3 tests/attack/logins.py target/release/portcullis

Three crowds, one after the other: sixteen addresses that guess at new usernames all the time, sixteen
connections on which one API token sets the password of its own credential all the time, and an address
that presents wrong API tokens and a right one. Ends with 1 if a right password or token is refused, with
or without `Retry-After`.
"""

import argparse
import asyncio
import json
import pathlib
import statistics
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "outage"))

from herd import Asker, address_of, populate, source  # noqa: E402
from server import running  # noqa: E402

AGENTS = 100
CROWD = 16


async def while_busy(crowd, right):
    """Runs the crowd until the right logins are done; returns the crowd's statuses too."""
    statuses, until = {}, asyncio.Event()
    tasks = [asyncio.create_task(crowd(number, until, statuses)) for number in range(CROWD)]
    # Each member of the crowd has had a response before the right logins begin.
    while sum(statuses.values()) < CROWD:
        await asyncio.sleep(0.05)
    try:
        return await right(), statuses
    finally:
        until.set()
        await asyncio.gather(*tasks, return_exceptions=True)


def logins(address, names):
    async def one_after_another():
        statuses, times = {}, []
        for number, name in enumerate(names):
            asker = Asker(address, f"198.51.100.{number % 250 + 1}")
            begin = time.perf_counter()
            status, _ = await asker.ask(name)
            times.append(time.perf_counter() - begin)
            statuses[status] = statuses.get(status, 0) + 1
            asker.close()
        return statuses, times

    return one_after_another


def guesses(address):
    async def crowd(number, until, statuses):
        asker, count = Asker(address, f"203.0.113.{number + 1}"), 0
        while not until.is_set():
            status, _ = await asker.ask(f"name-{number}-{count}", "guess")
            statuses[status] = statuses.get(status, 0) + 1
            count += 1
        asker.close()

    return crowd


def new_passwords(address, token, credential):
    body = json.dumps({"password": "the-same-password"})
    request = (
        f"POST /private/legacy/authorizations/{credential}/password HTTP/1.1\r\nHost: portcullis\r\n"
        f"Authorization: Token {token}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()

    async def crowd(number, until, statuses):
        reader, writer = await asyncio.open_connection(*address)
        while not until.is_set():
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = [line.split(": ")[1] for line in head.lower().split("\r\n") if line.startswith("content-length")]
            await reader.readexactly(int(length[0]) if length else 0)
            statuses[int(head[9:12])] = statuses.get(int(head[9:12]), 0) + 1
        writer.close()

    return crowd


def report(what, statuses, times, of_crowd, wrong):
    times.sort()
    print(f"\n{what}")
    print(f"  statuses of the crowd   {dict(sorted(of_crowd.items()))}")
    print(f"  of right logins         {dict(sorted(statuses.items()))}")
    print(f"  median, slowest         {statistics.median(times) * 1e3:.0f} ms, {times[-1] * 1e3:.0f} ms")
    if set(statuses) - {200, 204}:
        wrong.append(f"{what}: right logins got {statuses}")


def ask(server, path, token, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, data, {"Authorization": f"Token {token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.status, answer.read()


def wrong_tokens(server, address, wrong):
    """From one address: wrong tokens until they are throttled, then the right one."""

    async def until_throttled():
        statuses, asker = {}, Asker(address, source(0))
        for number in range(150):
            status, _ = await asker.ask("", f"wrong-{number}")
            statuses[status] = statuses.get(status, 0) + 1
        asker.close()
        return statuses

    of_wrong = asyncio.run(until_throttled())
    statuses, times = {}, []
    for _ in range(20):
        begin = time.perf_counter()
        status, _ = asyncio.run(Asker(address, source(0)).ask("no-such-name", server.token))
        times.append(time.perf_counter() - begin)
        statuses[status] = statuses.get(status, 0) + 1
    report("one address with wrong tokens, and the right one from there", statuses, times, of_wrong, wrong)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=pathlib.Path)
    binary, wrong = parser.parse_args().binary.resolve(), []
    names = [f"agent-{number}" for number in range(2 * AGENTS)]
    with tempfile.TemporaryDirectory() as directory:
        with running(binary, "--trusted-proxy", "127.0.0.1", directory=directory) as server:
            token = server.token
            populate(binary, server.store, names)
        with running(binary, "--trusted-proxy", "127.0.0.1", directory=directory) as server:
            server.token, address = token, address_of(server)
            (statuses, times), of_crowd = asyncio.run(
                while_busy(guesses(address), logins(address, names[:AGENTS]))
            )
            report(f"{CROWD} addresses that guess at new names", statuses, times, of_crowd, wrong)

            _, found = ask(server, "/private/legacy/authorizations?token=pattern", token)
            credential = json.loads(found)["authorizations"][0]["id"]
            (statuses, times), of_crowd = asyncio.run(
                while_busy(new_passwords(address, token, credential), logins(address, names[AGENTS:]))
            )
            report(f"a token that sets a password on {CROWD} connections", statuses, times, of_crowd, wrong)
            wrong_tokens(server, address, wrong)
    print("\n" + ("\n".join(wrong) or "logins: 3 passed, 0 failed"))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
