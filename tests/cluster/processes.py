"""Processes that end with the script, however it ends, and ports that no other process takes."""

import ctypes
import os
import pathlib
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


class TakesTooLong(Exception):
    """A condition did not come true in time."""


def wait_until(what, condition, seconds, pause=0.05):
    """Waits until the condition returns something true, and returns that."""
    until = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise TakesTooLong(f"waited {seconds} s for {what}")
        time.sleep(pause)


def under_guard(work):
    """Does the work in a child, with a directory of its own; ends with the child's status.

    PostgreSQL detaches itself from its parent, and the work may be killed. So this process adopts
    orphans, and kills every descendant once the work is over.
    """
    directory = pathlib.Path(tempfile.mkdtemp(prefix="portcullis-cluster-"))
    # PostgreSQL's user needs to traverse it if this one is root.
    directory.chmod(0o711)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    guard = os.getpid()
    worker = os.fork()
    if worker == 0:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        status = 1
        try:
            if os.getppid() == guard:
                status = work(directory)
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
        sys.stdout.flush()
        os._exit(status)

    def end(number, _):
        sys.exit(128 + number)

    status = 1
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, end)
        while True:
            pid, ended = os.wait()
            if pid == worker:
                status = os.waitstatus_to_exitcode(ended)
                break
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        kill_descendants()
        if "PORTCULLIS_CLUSTER_KEEP" not in os.environ:
            shutil.rmtree(directory, ignore_errors=True)
        else:
            print(f"logs and data are kept in {directory}", file=sys.stderr)
    sys.exit(status if status >= 0 else 1)


def kill_descendants():
    """Kills all descendants of this process until there are none."""
    while True:
        left = descendants(os.getpid())
        for pid in left:
            send(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0] != 0:
                pass
        except ChildProcessError:
            if not left:
                return
        time.sleep(0.02)


def descendants(ancestor):
    """The pids of all descendants of a process."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, look_at = [], [ancestor]
    while look_at:
        more = children.get(look_at.pop(), [])
        found += more
        look_at += more
    return found


def send(pid, number):
    """Sends a signal to a process, which may be gone by now."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def as_postgres(directory):
    """The prefix of a command that must not run as root; makes that user the owner of the directory."""
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam("postgres")
    directory.chmod(0o755)
    for path in [directory, *directory.rglob("*")]:
        os.chown(path, user.pw_uid, user.pw_gid)
    return ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups"]


def start(command, log, **options):
    """Starts a process whose output goes to the end of a log."""
    with log.open("a") as output:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **options
        )


class Ports:
    """Free ports on the loopback address, below the range of outgoing connections: a node that is down
    must find its port free when it starts again."""

    def __init__(self):
        self.next = random.SystemRandom().randrange(12_000, 30_000)

    def take(self):
        while True:
            self.next = 12_000 if self.next >= 32_000 else self.next + 1
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", self.next))
                except OSError:
                    continue
                return self.next
