"""A running `portcullis serve` for the client scripts: a new store, a free port, a token."""

import contextlib
import pathlib
import re
import signal
import subprocess
import tempfile
from dataclasses import dataclass


@dataclass
class Server:
    url: str
    token: str
    store: str
    log: pathlib.Path
    pid: int
    gateway: str | None = None


@contextlib.contextmanager
def running(binary, *arguments, directory=None):
    """Starts the server on a store of its own, and ends it with SIGTERM, which must be clean.

    In a directory of an earlier server, it opens that server's store.
    """
    binary = pathlib.Path(binary).resolve()
    store = ["--store", "sqlite:portcullis.db", "--listen", "127.0.0.1:0"]
    given = contextlib.nullcontext(directory)
    with tempfile.TemporaryDirectory() if directory is None else given as directory:
        log = pathlib.Path(directory, "serve.log")
        process = subprocess.Popen(
            [binary, "serve", *store, *arguments],
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=log.open("w"),
            text=True,
        )
        try:
            token, url, gateway = None, None, None
            while url is None or gateway is None and "--upstream" in arguments:
                line = process.stdout.readline()
                if not line:
                    status = process.wait()
                    raise RuntimeError(f"the server ended early with {status}: {log.read_text()}")
                if written := re.fullmatch(r"operator token written to (.+)\n", line):
                    token = pathlib.Path(directory, written[1]).read_text().strip()
                if listening := re.fullmatch(r"listening on (https?://\S+)\n", line):
                    url = listening[1]
                if listening := re.fullmatch(r"gateway on (https?://\S+)\n", line):
                    gateway = listening[1]
            yield Server(url, token, f"sqlite:{directory}/portcullis.db", log, process.pid, gateway)
            process.send_signal(signal.SIGTERM)
            status = process.wait(timeout=30)
            if status != 0:
                raise RuntimeError(f"the server ended with {status} after SIGTERM")
        finally:
            process.kill()
            process.wait()
