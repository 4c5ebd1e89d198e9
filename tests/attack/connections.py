"""Crowds of connections that never finish a request, at a real `portcullis serve`.

    python3 tests/attack/connections.py target/release/portcullis
    python3 tests/attack/connections.py target/debug/portcullis --short

Each connection of a crowd is opened again when it was closed. Meanwhile probes request `/health` on new
connections, and a client with a password requests `/forward-auth` on one that it keeps, and opens
another one if that was closed. Ends with 1 if a probe or a request of that client got no response, or
waited longer than `MOST` seconds for it. Loopback addresses stand for sources.
"""

import argparse
import asyncio
import base64
import json
import multiprocessing
import os
import pathlib
import resource
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "clients"))

from server import running  # noqa: E402

# The promise is that a crowd locks no other client out. A slow machine on which the crowd runs as well
# still responds within this; a client that is locked out waits for ever.
MOST = 5
PATIENCE = 30
NAME, PASSWORD = "telegraf", "s3cret-enough"

UNVERIFIED = ssl.create_default_context()
UNVERIFIED.check_hostname = False
UNVERIFIED.verify_mode = ssl.CERT_NONE


async def half_head(reader, writer, _token):
    writer.write(b"GET / HT")
    await reader.read(1)


async def silent(reader, _writer, _token):
    await reader.read(1)


async def half_handshake(reader, writer, _token):
    writer.write(b"\x16\x03\x01\x02\x00\x01")
    await reader.read(1)


async def slow_body(reader, writer, token):
    writer.write(
        b"POST /legacy/authorizations HTTP/1.1\r\nHost: attacked\r\n"
        b"Content-Type: application/json\r\nContent-Length: 100000\r\n"
        b"Authorization: Token " + token.encode() + b"\r\n\r\n{"
    )
    read = asyncio.ensure_future(reader.read(1))
    while not read.done():
        await asyncio.wait([read], timeout=1)
        writer.write(b" ")
    read.result()


async def unread_answers(reader, writer, _token):
    writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: attacked\r\n\r\n" * 50)
    writer.transport.pause_reading()
    # While reading is paused, only a write detects that the connection was closed.
    while not writer.is_closing():
        await asyncio.sleep(0.1)
        writer.write(b"\r\n")


# What each connection does, over TLS or not, and from how many sources.
CROWDS = {
    "half heads": (half_head, False, 1),
    "half heads, 64 sources": (half_head, False, 64),
    "half heads over TLS": (half_head, True, 1),
    "half handshakes": (half_handshake, None, 1),
    "silent connections": (silent, False, 1),
    "slow bodies of a token without rights": (slow_body, False, 1),
    "answers that are not read": (unread_answers, False, 1),
}


async def member(address, crowd, number, token, until, counts):
    act, tls, sources = CROWDS[crowd]
    source = f"127.0.1.{number % sources + 1}" if sources > 1 else "127.0.0.1"
    while (left := until - time.monotonic()) > 0:
        connection = writer = None
        try:
            async with asyncio.timeout(left):
                connection = socket.socket()
                # The system's buffer is small, so that it does not read for the client.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.setblocking(False)
                connection.bind((source, 0))
                await asyncio.get_running_loop().sock_connect(connection, address)
                reader, writer = await asyncio.open_connection(
                    sock=connection,
                    ssl=UNVERIFIED if tls else None,
                    server_hostname="localhost" if tls else None,
                )
                counts["opened"] += 1
                await act(reader, writer, token)
        except (OSError, TimeoutError):
            await asyncio.sleep(0.01)
        finally:
            if writer is not None:
                writer.transport.abort()
            elif connection is not None:
                connection.close()


def flood(address, crowd, size, token, seconds, sender):
    async def all_of_them():
        counts = {"opened": 0}
        until = time.monotonic() + seconds
        await asyncio.gather(
            *(member(address, crowd, n, token, until, counts) for n in range(size))
        )
        return counts["opened"]

    sender.send(asyncio.run(all_of_them()))


class Client:
    """Sends requests on a connection of its own, which it keeps until `close`."""

    def __init__(self, address, tls):
        self.address, self.tls = address, UNVERIFIED if tls else None
        self.writer, self.opened = None, 0

    async def ask(self, path, headers=""):
        """Returns the status and the time. A request on a closed connection is sent again on a new one."""
        begin = time.monotonic()
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    if self.writer is None:
                        opening = asyncio.open_connection(*self.address, ssl=self.tls)
                        self.reader, self.writer = await opening
                        self.opened += 1
                    self.writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
                    head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
                    length = head.partition(b"content-length: ")[2].split(b"\r\n")[0]
                    await self.reader.readexactly(int(length or 0))
                    return head[9:12].decode(), time.monotonic() - begin
                except (OSError, asyncio.IncompleteReadError):
                    self.close()

    def close(self):
        if self.writer is not None:
            self.writer.transport.abort()
            self.writer = None


async def ask_until(until, every, ask, expected):
    """Returns the times, with `None` for each unexpected response."""
    times = []
    while time.monotonic() < until:
        try:
            status, took = await ask()
            times.append(took if status == expected else None)
        except (TimeoutError, OSError):
            times.append(None)
        await asyncio.sleep(every)
    return times


async def watch(address, tls, seconds):
    until = time.monotonic() + seconds
    kept = Client(address, tls)
    basic = base64.b64encode(f"{NAME}:{PASSWORD}".encode()).decode()
    headers = f"Authorization: Basic {basic}\r\nX-Original-URI: /write?db=default\r\n"

    async def probe():
        client = Client(address, tls)
        try:
            return await client.ask("/health")
        finally:
            client.close()

    probes, warm = await asyncio.gather(
        ask_until(until, 0.2, probe, "200"),
        ask_until(until, 1, lambda: kept.ask("/forward-auth", headers), "204"),
    )
    return probes, warm, kept.opened


def shown(times):
    answered = [took for took in times if took is not None]
    text = f"{len(answered)} of {len(times)} answered"
    if answered:
        text += f", median {statistics.median(answered):.3f} s, most {max(answered):.3f} s"
    return text


def command(binary, store, *arguments):
    environment = {**os.environ, "PORTCULLIS_PASSWORD": PASSWORD}
    done = subprocess.run(
        [binary, *arguments, "--json", "--store", store],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout)


def token_without_rights(binary, server):
    of = ["--org", "default", "--user", "admin"]
    right = ["--permission", "read:tasks"]
    return command(binary, server.store, "token", "create", *of, *right)["token"]


def certificate(directory):
    files = [f"{directory}/cert.pem", f"{directory}/key.pem"]
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    make += ["-nodes", "-subj", "/CN=localhost", "-out", files[0], "-keyout", files[1]]
    subprocess.run(make, check=True, capture_output=True)
    return ["--tls-cert", files[0], "--tls-key", files[1]]


def under(crowd, binary, size, seconds):
    """Sends the crowd to a server of its own; returns whether all other requests were served."""
    with tempfile.TemporaryDirectory() as directory:
        tls = CROWDS[crowd][1] is not False
        arguments = certificate(directory) if tls else []
        with running(binary, *arguments, directory=directory) as server:
            host, port = server.url.split("://")[1].split(":")
            address = host, int(port)
            of = ["--org", "default", "--user", "admin", NAME]
            command(binary, server.store, "auth", "create", *of, "--write-bucket", "default")
            token = token_without_rights(binary, server)
            receiver, sender = multiprocessing.Pipe(duplex=False)
            arguments = (address, crowd, size, token, seconds, sender)
            attacker = multiprocessing.Process(target=flood, args=arguments)
            attacker.start()
            time.sleep(1)
            probes, warm, opened = asyncio.run(watch(address, tls, seconds - 2))
            others = receiver.recv()
            attacker.join()
    ok = all(took is not None and took <= MOST for took in probes + warm)
    print(f"{crowd}: {size} connections, {seconds} s, opened {others} times")
    print(f"  /health on new connections   {shown(probes)}")
    print(f"  a client that is logged in   {shown(warm)}, on {opened} connections")
    if not ok:
        print("  WRONG")
    return ok


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("binary")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--crowd", choices=CROWDS, action="append", default=[])
    parser.add_argument("--size", type=int, action="append", default=[])
    parser.add_argument("--seconds", type=int)
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sizes = arguments.size or ([600] if arguments.short else [600, 1500])
    seconds = arguments.seconds or (6 if arguments.short else 32)
    held = [
        under(crowd, arguments.binary, size, seconds)
        for crowd in arguments.crowd or CROWDS
        for size in sizes
    ]
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
