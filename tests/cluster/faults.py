"""The faults of the cluster, and how long it takes until every client is served again."""

import threading
import time
from collections import Counter
from dataclasses import dataclass

from load import WARM
from processes import wait_until

# The limit of every wait. It is no promise: it ends a test that would never end.
LONG = 60

# With stale-if-error a read has a timeout of a second, and of 50 ms once one has timed out, but of a second again
# once a second (docs/spec/outage.md). A login ends with the first read
# that times out. So this is how long no login may be admitted, the pause between two included, and a
# second for a machine that has three databases on it.
LONGEST_IN_GRACE = 1 + WARM + 1


class Outage:
    """Measures from when on there was no primary, and until when there certainly was none."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.begin = self.end = None
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def begins(self, kill):
        """Kills the primary."""
        if self.cluster.stale_if_error:
            self.cluster.ledger.stale_periods.append((time.monotonic(), None))
        kill()
        self.begin = self.end = time.monotonic()
        self.thread.start()
        return self

    def watch(self):
        while not self.is_over.is_set():
            asked = time.monotonic()
            if self.cluster.database.takes_writes():
                return
            self.end = asked
            self.is_over.wait(0.05)

    def ends(self):
        """Waits until every server has found the next one."""
        self.cluster.written_again()
        self.is_over.set()
        self.thread.join()
        if self.cluster.stale_if_error:
            begin, _ = self.cluster.ledger.stale_periods[-1]
            self.cluster.ledger.stale_periods[-1] = (begin, time.monotonic())
        return self


class SomethingIsWrong(Exception):
    """The ledger has found a violation, and the test ends."""


class Cluster:
    """The database, the servers on it, and the load on them."""

    def __init__(self, database, servers, ledger, load, random, stale_if_error):
        self.database, self.servers = database, servers
        self.ledger, self.load, self.random = ledger, load, random
        self.stale_if_error = stale_if_error

    def wait_until(self, what, condition):
        """Waits for a condition, unless there is a violation already."""
        def condition_or_wrong():
            if self.ledger.wrong:
                raise SomethingIsWrong
            return condition()

        return wait_until(what, condition_or_wrong, LONG)

    def leader(self):
        return self.wait_until("a primary", self.database.leader)

    def written_again(self, servers=None):
        """Waits until each of the servers has acknowledged a change that was requested since."""
        since = time.monotonic()
        names = {server.name for server in servers or self.servers.all}

        def acked():
            # The pause of a writer is short: the later acknowledgements belong to later requests.
            return names <= {name for at, name in self.ledger.acked_at[-500:] if at > since}

        self.wait_until(f"changes on {names}", acked)

    def revoked_again(self):
        """Waits until a password that was revoked since has been tried after `max_staleness`."""
        since = time.monotonic()
        self.wait_until("revocations", lambda: any(at > since for at in self.load.checked[-50:]))

    def whole_again(self):
        self.wait_until("the database", self.database.is_whole)
        self.wait_until("the servers", self.servers.are_ready)
        self.written_again()
        since = time.monotonic()
        for server in self.servers.all:
            samples = self.load.samples[server.name]

            def admitted():
                lately = samples[-len(self.load.warm) :]
                is_admitted = [status == 204 and sent > since for sent, _, status, _ in lately]
                return is_admitted.count(True) == len(self.load.warm)

            self.wait_until(f"logins on {server.name}", admitted)


def kill_primary(cluster):
    """The machine of the primary is lost, and starts again later."""
    node = cluster.leader()
    outage = Outage(cluster).begins(node.kill).ends()
    node.start()
    return outage


def pause_primary(cluster):
    """The primary is stopped until there is another one, and continues as if it still were one."""
    node = cluster.leader()
    # Fills the pools with connections to it, which are used when it continues.
    cluster.load.crowd(until=lambda: True)
    node.pause()
    cluster.written_again()
    cluster.revoked_again()
    node.go_on()
    until = time.monotonic() + LONG
    follows = lambda: node.state().get("role") == "replica" or time.monotonic() > until
    cluster.load.crowd(until=lambda: cluster.ledger.wrong or follows())


def crash_postmaster(cluster):
    """PostgreSQL is killed on the primary, its Patroni is not."""
    return Outage(cluster).begins(cluster.leader().crash_postmaster).ends()


def kill_server(cluster):
    """A server is killed, and starts again."""
    server = cluster.random.choice(cluster.servers.all)
    server.kill()
    cluster.written_again([other for other in cluster.servers.all if other is not server])
    server.start()


def pause_server(cluster):
    """A server is stopped, and continues with an old cache."""
    server = cluster.random.choice(cluster.servers.all)
    records = cluster.load.cached_everywhere(4)
    server.pause()
    cluster.load.revoke_behind(server, records, wake=server.go_on)


def lose_etcd(cluster):
    """etcd has no majority, so that the primary becomes a standby, until it has one again."""
    cluster.leader()
    cluster.database.etcd.pause()
    cluster.wait_until("there to be no primary", lambda: not cluster.database.primaries())
    cluster.database.etcd.go_on()


def restart_everything(cluster):
    """Servers and database are restarted, one after the other, the primary last."""
    for server in cluster.servers.all:
        server.stop()
        server.start()
        cluster.wait_until("the servers", cluster.servers.are_ready)
    leader = cluster.leader()
    for node in sorted(cluster.database.nodes, key=lambda node: node is leader):
        node.stop()
        cluster.written_again()
        node.start()
        cluster.wait_until("the database", cluster.database.is_whole)


KINDS = {
    "kill -9 of the primary": kill_primary,
    "pause of the primary": pause_primary,
    "crash of the postmaster": crash_postmaster,
    "kill -9 of a server": kill_server,
    "pause of a server": pause_server,
    "loss of etcd": lose_etcd,
    "restart of everything": restart_everything,
}


@dataclass
class Outcome:
    """The cost of one fault."""

    kind: str
    took: float
    outage: float | None
    in_outage: int
    writes: float
    writes_worst: float
    warm: float
    unavailable: int
    slowest: float
    acked: int
    unknown: int

    HEAD = (
        f"{'fault':<26}{'whole after':>12}{'no primary for':>16}{'let in then':>13}{'no write for':>14}{'on one node':>13}"
        f"{'no warm login':>16}{'unavailable':>13}{'slowest':>9}{'acked':>8}{'unknown':>9}"
    )

    def __str__(self):
        outage = "" if self.outage is None else f"{self.outage:.1f} s"
        return (
            f"{self.kind:<26}{self.took:>10.1f} s{outage:>16}{self.in_outage:>13}{self.writes:>12.1f} s{self.writes_worst:>11.1f} s"
            f"{self.warm:>14.1f} s{self.unavailable:>13}{self.slowest:>7.1f} s{self.acked:>8}{self.unknown:>9}"
        )


def suffer(cluster, kind):
    """Injects the fault, waits until it is over, and returns its cost."""
    cluster.whole_again()
    counts, begin = dict(cluster.ledger.counts), time.monotonic()
    outage = KINDS[kind](cluster)
    cluster.whole_again()
    end = time.monotonic()

    def more(*outcomes):
        now = cluster.ledger.counts
        return sum(now.get(f"changes {one}", 0) - counts.get(f"changes {one}", 0) for one in outcomes)

    acked = [(at, name) for at, name in cluster.ledger.acked_at if begin <= at <= end]
    servers = [server.name for server in cluster.servers.all]
    samples = {name: [one for one in cluster.load.samples[name] if begin <= one[1] <= end] for name in servers}
    failed = [one for name in servers for one in samples[name] if one[2] != 204]
    return Outcome(
        kind=kind,
        took=end - begin,
        outage=outage.end - outage.begin if outage else None,
        in_outage=in_outage(cluster, outage, samples, end) if outage else 0,
        writes=longest_gap(begin, [at for at, _ in acked], end),
        writes_worst=max(longest_gap(begin, [at for at, name in acked if name == one], end) for one in servers),
        warm=max(longest_gap(begin, [one[1] for one in samples[name] if one[2] == 204], end) for name in servers),
        unavailable=len(failed),
        slowest=max((one[1] - one[0] for name in servers for one in samples[name]), default=0),
        acked=more("acked"),
        unknown=more("unknown", "lingering"),
    )


def in_outage(cluster, outage, samples, end):
    """Checks the warm logins while there was no primary, and until the fault was over; returns how many
    were admitted later than `max_staleness` after its end."""
    ledger = cluster.ledger
    since, total = outage.begin + ledger.max_staleness, 0
    for name, all_of_it in samples.items():
        then = [status for sent, received, status, _ in all_of_it if sent > since and received <= outage.end]
        admitted, unavailable = then.count(204), then.count(503)
        total += admitted
        if admitted + unavailable < len(then):
            ledger.says(f"{name}: warm logins got {set(then)} without a primary")
        is_long = outage.end - since > LONGEST_IN_GRACE
        if cluster.stale_if_error:
            admitted_at = [at for _, at, status, _ in all_of_it if status == 204 and at >= outage.begin]
            gap = longest_gap(outage.begin, admitted_at, end)
            if gap > LONGEST_IN_GRACE:
                ledger.says(f"{name}: no login was admitted for {gap:.2f} s, in spite of stale-if-error")
            refused = Counter(who for *_, status, who in all_of_it if status != 204)
            for who, often in sorted(refused.items()):
                print(f"  {name} did not admit {who} {often} times")
            # One may share an epoch slot with a record that was changed just then, once in hundreds of faults.
            if len(refused) > 1:
                ledger.says(f"{name}: {len(refused)} credentials were not admitted, in spite of stale-if-error")
            if is_long and not admitted:
                ledger.says(f"{name}: no login was admitted while there was no primary")
        elif admitted:
            ledger.says(f"{name}: {admitted} were admitted later than {ledger.max_staleness} s after the primary was gone")
        elif is_long and not unavailable:
            ledger.says(f"{name}: it never responded that it is unavailable")
    return total


def longest_gap(begin, times, end):
    times = [begin, *sorted(times), end]
    return max(later - earlier for earlier, later in zip(times, times[1:]))
