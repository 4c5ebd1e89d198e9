"""How long it takes until a credential that was disabled on one node is refused on the others."""

import json
import random
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from client import PREFIX

# Between tries on the other nodes.
TRY = 0.004

# Connections for changes that go on meanwhile.
WRITERS = 12


def measure(servers, times, rate):
    """Disables a credential `times` times, beside `rate` other changes a second; returns the delay of each
    other node, and the real number of changes a second."""
    first, *others = servers.all
    client = first.client(servers.token)
    name, password = f"revoked-at-{rate}", "secret-that-is-revoked"
    record = change(client.create(servers.org, servers.bucket, name, "to be disabled")).body["id"]
    change(client.ask("POST", f"{PREFIX}/{record}/password", {"password": password}))
    with Writers(servers, rate) as writers, ThreadPoolExecutor(len(others)) as tries:
        clients = [other.client() for other in others]
        delays = []
        for _ in range(times):
            for other in clients:
                until_it_is(other, name, password, 204)
            # Not in step with the polls of the nodes.
            time.sleep(random.random() / 5)
            refused = [tries.submit(until_it_is, other, name, password, 401) for other in clients]
            at = change(client.ask("PATCH", f"{PREFIX}/{record}", {"status": "inactive"})).received
            delays += [max(one.result() - at, 0) for one in refused]
            change(client.ask("PATCH", f"{PREFIX}/{record}", {"status": "active"}))
        return sorted(delays), writers.rate()


def change(answer):
    if answer.outcome != "acked":
        raise AssertionError(f"nothing fails here, and yet: {answer}")
    return answer


def until_it_is(client, name, password, status):
    """Logs in until the status is this; returns when it was received."""
    until = time.monotonic() + 30
    while (answer := client.login(name, password)).status != status:
        if time.monotonic() > until:
            raise AssertionError(f"waited for {status}, and got {answer}")
        time.sleep(TRY)
    return answer.received


class Writers:
    """Changes descriptions on all nodes, over connections that cost the test little."""

    def __init__(self, servers, rate):
        self.servers, self.pause = servers, WRITERS / rate if rate else None
        self.ending = threading.Event()
        self.done, self.begin = [0] * WRITERS, time.monotonic()
        self.threads = []

    def __enter__(self):
        for number in range(WRITERS if self.pause else 0):
            server = self.servers.all[number % len(self.servers.all)]
            client = server.client(self.servers.token)
            answer = client.create(self.servers.org, self.servers.bucket, f"changed-{number}-{self.begin}", "")
            path = f"{PREFIX}/{change(answer).body['id']}"
            self.threads.append(threading.Thread(target=self.write, args=(number, server.port, path), daemon=True))
        self.begin = time.monotonic()
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        for thread in self.threads:
            thread.join()

    def rate(self):
        return sum(self.done) / (time.monotonic() - self.begin)

    def write(self, number, port, path):
        due = time.monotonic()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not self.ending.is_set():
                self.done[number] += 1
                body = json.dumps({"description": str(self.done[number])})
                connection.sendall(
                    f"PATCH {path} HTTP/1.1\r\nHost: node\r\nAuthorization: Token {self.servers.token}\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
                )
                answer = connection.recv(1 << 16)
                if not answer.startswith(b"HTTP/1.1 200 "):
                    raise AssertionError(answer)
                head, _, text = answer.partition(b"\r\n\r\n")
                left = int(re.search(rb"(?i)content-length: (\d+)", head)[1]) - len(text)
                while left > 0:
                    left -= len(connection.recv(left))
                due = max(due + self.pause, time.monotonic() - 1)
                self.ending.wait(max(due - time.monotonic(), 0))


def report(servers, times):
    for rate in (0, 1000):
        delays, really = measure(servers, times, rate)
        quantile = [delays[int(len(delays) * share)] * 1e3 for share in (0.5, 0.99)] + [delays[-1] * 1e3]
        shown = " / ".join(f"{one:.0f} ms" for one in quantile)
        print(f"disabled on A, refused on B and C after {shown} (p50 / p99 / most of {len(delays)}) at {really:.0f} changes/s")
