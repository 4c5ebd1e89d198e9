"""Requests to a node, and how certain their outcomes are."""

import base64
import http.client
import json
import socket
import time
from dataclasses import dataclass

PREFIX = "/private/legacy/authorizations"

# Longer than any request may take: an operation whose client has given up may still take effect at any
# time, as long as the process lives.
PATIENCE = 90


@dataclass
class Answer:
    """A response, with the times of the monotonic clock that the whole test shares."""

    status: int | None
    body: object
    sent: float
    received: float
    why: str = ""

    @property
    def took(self):
        return self.received - self.sent

    @property
    def outcome(self):
        """The outcome of a change: `acked`, `refused`, `unknown`, or `lingering`, which is unknown and may
        still happen."""
        if self.status is None:
            return self.why
        if 200 <= self.status < 300:
            return "acked"
        if self.status == 500 or (self.status == 503 and "may or may not" in self.message):
            return "unknown"
        return "refused"

    @property
    def is_unavailable(self):
        """Whether the request may be retried, and its outcome is no refusal."""
        return self.status is None or self.status in (429, 500, 503)

    @property
    def message(self):
        return self.body.get("message", "") if isinstance(self.body, dict) else ""


class Connection(http.client.HTTPConnection):
    """Sends head and body at once. A server may respond to a head and close the connection before the body
    arrives; the next request on it would then have an unknown outcome."""

    held = None

    def request(self, *arguments):
        self.held = b""
        super().request(*arguments)
        whole, self.held = self.held, None
        self.send(whole)

    def send(self, data):
        if self.held is None:
            super().send(data)
        else:
            self.held += data


class Client:
    """One connection to a node, opened again when it is lost."""

    def __init__(self, port, token=None):
        self.port, self.token = port, token
        self.connection = None

    def ask(self, method, path, body=None, headers=(), patience=PATIENCE):
        headers = dict(headers)
        if self.token and "Authorization" not in headers:
            headers["Authorization"] = f"Token {self.token}"
        data = None if body is None else json.dumps(body)
        sent = time.monotonic()

        def nothing(why):
            self.close()
            return Answer(None, None, sent, time.monotonic(), why)

        if self.connection is None:
            self.connection = Connection("127.0.0.1", self.port, timeout=patience)
            try:
                self.connection.connect()
                self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError:
                # The request was not sent.
                return nothing("refused")
        try:
            self.connection.request(method, path, data, headers)
            response = self.connection.getresponse()
            text = response.read()
        except TimeoutError:
            return nothing("lingering")
        except (OSError, http.client.HTTPException):
            # The process has ended: its changes have happened by now, or never will.
            return nothing("unknown")
        try:
            parsed = json.loads(text) if text else None
        except ValueError:
            parsed = None
        answer = Answer(response.status, parsed, sent, time.monotonic())
        if response.will_close:
            self.close()
        return answer

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def create(self, org, bucket, name, description):
        permission = {"action": "write", "resource": {"type": "buckets", "id": bucket, "orgID": org}}
        body = {"token": name, "orgID": org, "description": description, "permissions": [permission]}
        return self.ask("POST", PREFIX, body)

    def find(self, name):
        """The authorization with the name: a response whose body is its record, or `None`."""
        answer = self.ask("GET", f"{PREFIX}?token={name}")
        if answer.status == 404:
            answer.status, answer.body = 200, None
        elif answer.status == 200:
            answer.body = answer.body["authorizations"][0]
        return answer

    def all(self):
        """All authorizations, by their ids."""
        answer = self.ask("GET", PREFIX)
        if answer.status == 200 and answer.body is not None:
            answer.body = {record["id"]: record for record in answer.body["authorizations"]}
        elif answer.status == 200:
            answer.status = 503
        return answer

    def login(self, name, password, patience=PATIENCE):
        """Logs in: 204, 401, or a status that is neither."""
        credentials = base64.b64encode(f"{name}:{password}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}"}
        return self.ask("GET", "/forward-auth?check=none", headers=headers, patience=patience)
