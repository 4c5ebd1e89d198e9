"""Requests of a proxy, byte by byte: a stub of a database, and a relay in front of Portcullis."""

import socket
import socketserver
import threading
from dataclasses import dataclass, field


@dataclass
class Message:
    """A request as received: nothing is joined, renamed or left out."""

    method: str
    target: str
    fields: list = field(default_factory=list)
    body: bytes = b""
    trailers: list = field(default_factory=list)

    def all(self, name):
        """The values of all fields that some server could read as this one."""
        return [value for other, value in self.fields if plain(other) == plain(name)]

    def exactly(self, name):
        """The values of the fields with this name, in any case."""
        return [value for other, value in self.fields if other.lower() == name.lower()]


def plain(name):
    """A name as the loosest of servers reads it."""
    return name.strip().lower().replace("_", "-")


def read(source):
    """Reads one request; `None` at the end of the connection."""
    line = source.readline()
    if not line.strip():
        return None
    method, target, _ = line.decode("latin-1").split(" ", 2)
    message = Message(method, target, read_fields(source))
    if message.exactly("Transfer-Encoding"):
        while size := int(source.readline().split(b";")[0], 16):
            message.body += source.read(size)
            source.readline()
        message.trailers = read_fields(source)
    elif lengths := message.exactly("Content-Length"):
        message.body = source.read(int(lengths[0]))
    return message


def read_fields(source):
    fields = []
    while line := source.readline().strip(b"\r\n"):
        name, _, value = line.decode("latin-1").partition(":")
        fields.append((name, value.strip()))
    return fields


class Recorder(socketserver.ThreadingTCPServer):
    """Records each request, and responds with 204, or 200 to `/ping`."""

    daemon_threads, block_on_close, allow_reuse_address = True, False, True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Connection)
        self.seen = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self):
        return f"127.0.0.1:{self.server_address[1]}"

    def answer(self, message):
        status = "200 OK" if message.target.startswith("/ping") else "204 No Content"
        return f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()

    class Connection(socketserver.StreamRequestHandler):
        def handle(self):
            try:
                while message := read(self.rfile):
                    self.server.seen.append(message)
                    self.wfile.write(self.server.answer(message))
            except ConnectionError:
                pass


class Relay(Recorder):
    """Records each request to Portcullis, and forwards it; the responses have no long bodies."""

    def __init__(self, address):
        host, port = address.split(":")
        self.behind = (host, int(port))
        super().__init__()

    def answer(self, message):
        head = f"{message.method} {message.target} HTTP/1.1\r\n"
        fields = [(name, value) for name, value in message.fields if plain(name) != "connection"]
        head += "".join(f"{name}: {value}\r\n" for name, value in fields)
        with socket.create_connection(self.behind, timeout=30) as connection:
            connection.sendall(f"{head}Connection: close\r\n\r\n".encode("latin-1") + message.body)
            answer = b""
            while more := connection.recv(65_536):
                answer += more
        # Portcullis ends this connection, not the one with the proxy.
        head, _, body = answer.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
        return b"\r\n".join(lines) + b"\r\n\r\n" + body
