"""Clients of all nodes: owners of credentials, writers, logins, and tries of revoked passwords."""

import heapq
import itertools
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from client import PREFIX
from ledger import Record
from servers import POOL_SIZE

# How many credentials one owner has at a time, and how many are never changed.
MOST_OWNED = 8
WARM_ONES = 8
OWNERS, WATCHERS = 2, 2

# Pauses, in seconds: the machine is small, and a password that is new or wrong costs it a hash.
OWNER, WRITER, WARM, AGAIN = 0.5, 0.02, 0.025, 0.1


class Load:
    """All clients, each with a thread."""

    def __init__(self, servers, ledger, seed):
        self.servers, self.ledger = servers, ledger
        self.random = random.Random(seed)
        self.ending = threading.Event()
        self.names = itertools.count()
        self.threads, self.broken = [], []
        self.samples = {server.name: [] for server in servers.all}
        self.delays, self.checked = [], []
        self.watches = {server.name: Watches() for server in servers.all}
        self.warm = [self.new_record(f"warm-{number}") for number in range(WARM_ONES)]
        for record in self.warm:
            if self.set(record, self.clients(), password=True) is None:
                raise AssertionError(f"cannot set a password: {ledger.wrong}")
            self.login_everywhere(record, self.clients())
        # The nodes receive these changes as events, and revalidate their entries.
        time.sleep(0.5)

    def start(self):
        for number in range(OWNERS):
            self.begin(self.own, random.Random(self.random.random()))
        for server in self.servers.all:
            self.begin(self.write, server, random.Random(self.random.random()))
            self.begin(self.login_warm, server)
            self.begin(self.login_any, server, random.Random(self.random.random()))
            for _ in range(WATCHERS):
                self.begin(self.watch, server, random.Random(self.random.random()))

    def begin(self, work, *arguments):
        def run():
            try:
                work(*arguments)
            except Exception as error:
                self.broken.append(error)
                raise

        thread = threading.Thread(target=run, daemon=True)
        self.threads.append(thread)
        thread.start()

    def end(self):
        """Lets every client finish, the checks that are still due included."""
        self.ending.set()
        for thread in self.threads:
            thread.join()
        for error in self.broken:
            self.ledger.says(f"a client broke: {error!r}")

    def clients(self):
        return [(server.name, server.client(self.servers.token)) for server in self.servers.all]

    # Changes.

    def new_record(self, name):
        """A new record, on a database that is whole."""
        [(server, client), *_] = self.clients()
        record = self.ledger.record(name)
        change = record.begins(exists=True, description="new")
        answer = client.create(self.servers.org, self.servers.bucket, name, "new")
        if self.ledger.ends(change, answer, server) != "acked":
            raise AssertionError(f"cannot create {name}: {answer}")
        record.id = answer.body["id"]
        return record

    def set(self, record, clients, **what):
        """Changes a record, on any node, until that is acknowledged. Returns the response, or `None` if
        the test ends or the outcome stays unknown."""
        doubtful = False
        while not self.ending.is_set():
            server, client = self.random.choice(clients)
            if "password" in what:
                what["password"] = f"secret-{next(self.names)}-of-{record.name}"
            change = record.begins(**what)
            answer = self.request(client, record.id, what)
            if answer.status == 404 and what == {"exists": False} and doubtful:
                # An earlier try of this client has deleted it.
                answer.status = 204
            outcome = self.ledger.ends(change, answer, server)
            if outcome == "acked":
                return answer
            if outcome == "lingering":
                return None
            if not answer.is_unavailable:
                self.ledger.says(f"{server}: {what} on {record.name} got {answer}")
                return None
            doubtful |= outcome == "unknown"
            self.ending.wait(AGAIN)
        return None

    @staticmethod
    def request(client, identity, what):
        path = f"{PREFIX}/{identity}"
        if what == {"exists": False}:
            return client.ask("DELETE", path)
        if "password" in what:
            return client.ask("POST", f"{path}/password", {"password": what["password"]})
        if "active" in what:
            return client.ask("PATCH", path, {"status": "active" if what["active"] else "inactive"})
        return client.ask("PATCH", path, what)

    def race(self, clients, racers):
        """Creates the same name on all nodes at once; returns the winner's record, if there is one."""
        name = f"name-{next(self.names)}"
        begin = time.monotonic()

        def attempt(number):
            _, client = clients[number]
            description = f"{name} by {number}"
            return description, client.create(self.servers.org, self.servers.bucket, name, description)

        attempts = list(racers.map(attempt, range(len(clients))))
        for (_, answer), (server, _) in zip(attempts, clients):
            self.ledger.count(f"changes {answer.outcome}")
            if answer.outcome == "acked":
                self.ledger.acked_at.append((answer.received, server))
        while not self.ending.is_set():
            server, client = self.random.choice(clients)
            found = client.find(name)
            if found.status == 200:
                break
            self.ending.wait(AGAIN)
        else:
            self.ledger.races.append((name, attempts))
            return None
        self.ledger.race(name, attempts, [found.body] if found.body else [])
        if found.body is None:
            self.ledger.races.append((name, attempts))
            return None
        record = Record(name, found.body["id"])
        change = record.begins(exists=True, description=found.body["description"])
        change.begin = begin
        # Requests that are still running have lost: the name is taken.
        change.end, change.outcome = found.received, "acked"
        with self.ledger.lock:
            self.ledger.records.append(record)
        return record

    def cached_everywhere(self, number):
        """New credentials, which every node has in its cache."""
        clients, records = self.clients(), []
        for _ in range(number):
            record = self.new_record(f"cached-{next(self.names)}")
            self.set(record, clients, password=True)
            self.login_everywhere(record, clients)
            records.append(record)
        return records

    def revoke_behind(self, server, records, wake):
        """Disables credentials while one node is stopped, and sends it logins as soon as it must refuse them,
        so that these are the first requests that it handles when it continues."""
        others = [one for one in self.clients() if one[0] != server.name]
        for record in records:
            self.set(record, others, active=False)
        time.sleep(self.ledger.max_staleness)

        def login(record):
            password = record.passwords()[-1]
            answer = server.client().login(record.name, password)
            self.ledger.login(record, password, answer, server.name)
            self.ledger.count("logins at a stopped node")

        with ThreadPoolExecutor(len(records)) as logins:
            answers = [logins.submit(login, record) for record in records]
            time.sleep(AGAIN)
            wake()
            for answer in answers:
                answer.result()

    # Threads.

    def own(self, random):
        """Creates credentials, changes their passwords, disables and enables them, deletes them."""
        clients, owned, asleep = self.clients(), [], {}
        with ThreadPoolExecutor(len(clients)) as racers:
            while not self.ending.wait(OWNER):
                if len(owned) < MOST_OWNED and (len(owned) < 2 or random.random() < 0.3):
                    record = self.race(clients, racers)
                    if record is not None and self.set(record, clients, password=True):
                        owned.append(record)
                        self.login_everywhere(record, clients)
                    continue
                record = random.choice(owned)
                password = record.passwords()[-1]
                if record in asleep:
                    # Not before the watchers of every node have tried it.
                    if time.monotonic() > asleep[record] + 2 * self.ledger.max_staleness:
                        del asleep[record]
                        if not self.set(record, clients, active=True):
                            owned.remove(record)
                    continue
                what = random.choice([{"password": True}, {"password": True}, {"active": False}, {"exists": False}])
                answer = self.set(record, clients, **what)
                if answer is None:
                    owned.remove(record)
                    continue
                self.has_revoked(record, password, answer.received)
                if "active" in what:
                    asleep[record] = answer.received
                elif "exists" in what:
                    owned.remove(record)
                else:
                    self.login_everywhere(record, clients)

    def login_everywhere(self, record, clients):
        """Logs in on every node, so that each has it in its cache."""
        for server, client in clients:
            password = record.passwords()[-1]
            self.ledger.login(record, password, client.login(record.name, password), server)

    def has_revoked(self, record, password, at):
        self.ledger.count("passwords revoked")
        for watches in self.watches.values():
            watches.add(at, record, password, at, 0)

    def write(self, server, random):
        """Changes descriptions on one node, and reads them on all."""
        clients = self.clients()
        [own] = [one for one in clients if one[0] == server.name]
        record = self.new_record(f"written-on-{server.name}")
        while not self.ending.wait(WRITER):
            if self.set(record, [own], description=str(next(self.names))) is None:
                continue
            if random.random() < 0.2:
                other, client = random.choice(clients)
                answer = client.ask("GET", f"{PREFIX}/{record.id}")
                if answer.status in (200, 404):
                    shown = answer.body if answer.status == 200 else None
                    self.ledger.seen(record, shown, answer, other)

    def crowd(self, until):
        """Reads on as many connections as each node has to the database, at least once."""

        def read(server, random):
            client = server.client(self.servers.token)
            while True:
                record = random.choice(self.ledger.records)
                answer = client.ask("GET", f"{PREFIX}/{record.id}")
                if answer.status in (200, 404):
                    shown = answer.body if answer.status == 200 else None
                    self.ledger.seen(record, shown, answer, server.name)
                if until():
                    return client.close()

        crowd = [server for server in self.servers.all for _ in range(2 * POOL_SIZE)]
        with ThreadPoolExecutor(len(crowd)) as readers:
            list(readers.map(read, crowd, [random.Random(self.random.random()) for _ in crowd]))

    def login_warm(self, server):
        """Logs in with passwords that are never changed, and records the results."""
        client = server.client()
        for record in itertools.cycle(self.warm):
            if self.ending.wait(WARM):
                return
            password = record.passwords()[-1]
            answer = client.login(record.name, password)
            self.ledger.login(record, password, answer, server.name)
            self.samples[server.name].append((answer.sent, answer.received, answer.status, record.name))

    def login_any(self, server, random):
        """Logs in with any present or former password."""
        client = server.client()
        while not self.ending.wait(OWNER):
            records = [record for record in self.ledger.records[-50:] if record.passwords()]
            if records:
                record = random.choice(records)
                password = random.choice(record.passwords()[-2:])
                self.ledger.login(record, password, client.login(record.name, password), server.name)

    def watch(self, server, random):
        """Tries revoked passwords: at once and until they are refused, when they must be, and some of them
        later."""
        client, watches = server.client(), self.watches[server.name]
        while (next_one := watches.take(self.ending)) is not None:
            record, password, revoked_at, round = next_one
            answer = client.login(record.name, password)
            self.ledger.login(record, password, answer, server.name)
            if answer.status == 401 and round == 0:
                self.delays.append(answer.received - revoked_at)
                again = max(revoked_at + self.ledger.max_staleness, answer.received)
                watches.add(again, record, password, revoked_at, 1)
            elif answer.status in (204, 401) and answer.sent >= revoked_at + self.ledger.max_staleness:
                if round == 1:
                    self.ledger.count("revocations checked")
                    self.checked.append(revoked_at)
                if random.random() < 0.3:
                    watches.add(answer.received + 8 * random.random(), record, password, revoked_at, 2)
            else:
                watches.add(answer.received + AGAIN, record, password, revoked_at, round)


class Watches:
    """The passwords to try, by time, on one node."""

    def __init__(self):
        self.heap, self.number = [], itertools.count()
        self.changed = threading.Condition()

    def add(self, due, *what):
        with self.changed:
            heapq.heappush(self.heap, (due, next(self.number), what))
            self.changed.notify()

    def take(self, ending):
        """The next one that is due; `None` when the test ends and none is left."""
        with self.changed:
            while True:
                pause = self.heap[0][0] - time.monotonic() if self.heap else 0.2
                if self.heap and pause <= 0:
                    return heapq.heappop(self.heap)[2]
                if ending.is_set() and not self.heap:
                    return None
                self.changed.wait(min(pause, 0.2))
