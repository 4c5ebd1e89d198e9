"""Three PostgreSQL nodes that Patroni makes one database of, and its three etcd nodes."""

import json
import pathlib
import signal
import subprocess
import urllib.error
import urllib.request

from processes import as_postgres, descendants, send, start, wait_until

# As docs/operations.md advises, but for the times, which are short so that a test is.
TTL, LOOP_WAIT, RETRY_TIMEOUT = 6, 1, 3


def programs():
    """Where PostgreSQL is: the newest version that is installed."""
    found = pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb")
    versions = sorted(found, key=lambda path: int(path.parts[-3]))
    if not versions:
        raise FileNotFoundError("no PostgreSQL in /usr/lib/postgresql: apt-get install postgresql")
    return versions[-1].parent


def asks_etcd_by():
    """The API by which Patroni uses etcd. Up to 3.0.2, with API version 3, a primary that was stopped
    overwrites the key of the new leader, and changes that were acknowledged meanwhile are lost
    (patroni/patroni#2689)."""
    shown = subprocess.run(["patroni", "--version"], capture_output=True, text=True, check=True).stdout
    version = tuple(int(part) for part in shown.split()[-1].split(".")[:3])
    return "etcd3" if version >= (3, 0, 3) else "etcd"


class Etcd:
    """Three etcd nodes."""

    def __init__(self, directory, ports):
        self.directory = directory / "etcd"
        self.directory.mkdir()
        nodes = [(f"e{number}", ports.take(), ports.take()) for number in (1, 2, 3)]
        self.hosts = [f"127.0.0.1:{client}" for _, client, _ in nodes]
        cluster = ",".join(f"{name}=http://127.0.0.1:{peer}" for name, _, peer in nodes)
        self.processes = []
        for name, client, peer in nodes:
            client, peer = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
            command = ["etcd", "--name", name, "--data-dir", self.directory / name, "--pre-vote"]
            command += ["--listen-client-urls", client, "--advertise-client-urls", client]
            command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
            command += ["--initial-cluster", cluster, "--logger", "zap"]
            if asks_etcd_by() == "etcd":
                command.append("--enable-v2")
            self.processes.append(start(command, self.directory / f"{name}.log"))
        wait_until("etcd", lambda: all(map(self.is_healthy, self.hosts)), 30)

    def pause(self):
        """Stops all but one, which has no majority."""
        for process in self.processes[1:]:
            process.send_signal(signal.SIGSTOP)

    def go_on(self):
        for process in self.processes[1:]:
            process.send_signal(signal.SIGCONT)

    @staticmethod
    def is_healthy(host):
        return (ask(f"http://{host}/health") or {}).get("health") == "true"


class Node:
    """A PostgreSQL server and its Patroni."""

    def __init__(self, name, directory, ports, etcd):
        self.name = name
        self.directory = directory / name
        self.directory.mkdir()
        self.data = self.directory / "data"
        self.port, self.rest = ports.take(), ports.take()
        self.process = None
        self.stopped = []
        self.prefix = []
        configuration = {
            "scope": "portcullis",
            "name": name,
            "restapi": {"listen": f"127.0.0.1:{self.rest}", "connect_address": f"127.0.0.1:{self.rest}"},
            asks_etcd_by(): {"hosts": etcd.hosts},
            "bootstrap": {
                "dcs": {
                    "ttl": TTL,
                    "loop_wait": LOOP_WAIT,
                    "retry_timeout": RETRY_TIMEOUT,
                    "synchronous_mode": True,
                    "synchronous_mode_strict": True,
                    "postgresql": {
                        "use_pg_rewind": True,
                        # A standby that lost its primary connects to the new one after this time;
                        # during the default of 5 s nothing can be written.
                        "parameters": {"wal_retrieve_retry_interval": "500ms"},
                    },
                },
                "initdb": [{"encoding": "UTF8"}, "no-locale"],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self.port}",
                "connect_address": f"127.0.0.1:{self.port}",
                "data_dir": str(self.data),
                "bin_dir": str(programs()),
                "pgpass": str(self.directory / "pgpass"),
                "authentication": {
                    "superuser": {"username": "postgres", "password": "only-on-loopback"},
                    "replication": {"username": "replicator", "password": "only-on-loopback"},
                },
                "pg_hba": ["host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"],
                "parameters": {
                    "unix_socket_directories": str(self.directory),
                    "shared_buffers": "64MB",
                    "log_line_prefix": "%m [%p] ",
                },
            },
        }
        # YAML is a superset of JSON.
        self.configuration = self.directory / "patroni.yml"
        self.configuration.write_text(json.dumps(configuration, indent=1))

    def start(self):
        self.prefix = self.prefix or as_postgres(self.directory)
        command = [*self.prefix, "patroni", self.configuration]
        self.process = start(command, self.directory / "log", cwd=self.directory)

    def postmaster(self):
        """The pid of PostgreSQL's first process; `None` if it does not run."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n")[0])
            name = pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
        except (OSError, ValueError):
            return None
        return pid if name == "postgres" else None

    def pids(self):
        """Everything that belongs to the node."""
        first = [self.process.pid] if self.process else []
        postmaster = self.postmaster()
        if postmaster is not None:
            first.append(postmaster)
        return list(dict.fromkeys(first + [pid for one in first for pid in descendants(one)]))

    def kill(self):
        """As if the machine were gone."""
        for pid in self.pids():
            send(pid, signal.SIGKILL)
        self.process.wait()
        wait_until(f"the end of {self.name}", lambda: self.postmaster() is None, 30)

    def pause(self):
        """As if a virtual machine were stopped."""
        self.stopped = self.pids()
        for pid in self.stopped:
            send(pid, signal.SIGSTOP)

    def go_on(self):
        for pid in self.stopped:
            send(pid, signal.SIGCONT)
        self.stopped = []

    def crash_postmaster(self):
        """PostgreSQL is killed, Patroni is not."""
        send(self.postmaster(), signal.SIGKILL)

    def stop(self):
        """In good order: Patroni stops PostgreSQL, and hands over before if it leads."""
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def is_primary(self):
        """Whether it reports itself as the primary; Patroni before version 4 says "master"."""
        return self.state().get("role") in ("master", "primary")

    def takes_writes(self):
        """Whether PostgreSQL itself responds, and is no standby."""
        address = f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres connect_timeout=2"
        command = [programs() / "psql", "-AtXq", "-d", address, "-c", "SELECT pg_is_in_recovery()"]
        return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout == "f\n"

    def state(self):
        """Patroni's status of the node."""
        return ask(f"http://127.0.0.1:{self.rest}/patroni") or {}


class Database:
    """The three of them."""

    def __init__(self, directory, ports):
        self.etcd = Etcd(directory, ports)
        self.nodes = [Node(f"n{number}", directory, ports, self.etcd) for number in (1, 2, 3)]
        for node in self.nodes:
            node.start()
        wait_until("the database", self.is_whole, 120)

    def url(self, options):
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"postgres://postgres@{hosts}/postgres?sslmode=disable&target_session_attrs=read-write{options}"

    def members(self):
        """The members of the cluster: role and state by name."""
        for node in self.nodes:
            if node.stopped:
                continue
            cluster = ask(f"http://127.0.0.1:{node.rest}/cluster")
            if cluster:
                return {member["name"]: (member["role"], member["state"]) for member in cluster["members"]}
        return {}

    def leader(self):
        """The node that the cluster and itself report as the primary; `None` if there is none."""
        for name, (role, state) in self.members().items():
            if role == "leader" and state == "running":
                node = next(node for node in self.nodes if node.name == name)
                # The cluster's state of a node that is down may be old.
                if not node.stopped and node.is_primary():
                    return node
        return None

    def primaries(self):
        """The nodes that report themselves as the primary."""
        return [node for node in self.nodes if node.is_primary()]

    def takes_writes(self):
        """Whether one of the nodes does."""
        return any(node.takes_writes() for node in self.nodes)

    def is_whole(self):
        """Whether there are a primary, a synchronous standby and another one, and both follow it."""
        members = self.members()
        if sorted(members.values()) != [(role, "running") for role in ("leader", "replica", "sync_standby")]:
            return False
        leader = self.leader()
        if leader is None:
            return False
        state = leader.state()
        standbys = {one["application_name"] for one in state.get("replication", []) if one["state"] == "streaming"}
        # Each node reports its own timeline.
        lines = {node.state().get("timeline") for node in self.nodes}
        return len(standbys) == 2 and lines == {state.get("timeline")}


def ask(url, seconds=2):
    """JSON from an address, whatever the status; `None` if there is none."""
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        try:
            return json.load(error)
        except ValueError:
            return None
    except (OSError, ValueError):
        return None
