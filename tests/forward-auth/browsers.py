"""CORS responses for a page of another origin, through a real reverse proxy.

    python3 tests/forward-auth/browsers.py target/debug/portcullis nginx
    python3 tests/forward-auth/browsers.py target/debug/portcullis caddy
"""

import sys

from proxies import Database, basic, deployed

ALLOWED, OTHER = "https://dashboard.example.org", "https://example.org"


class EchoesOrigin(Database):
    """Allows each origin, as InfluxDB does."""

    seen = []

    def end_headers(self):
        self.send_header("Access-Control-Allow-Origin", self.headers["Origin"] or "*")
        super().end_headers()

    do_OPTIONS = Database.answer


def check(client, expected, origin, headers=(), method="POST", path="/write?db=default"):
    """Sends it as a page of the origin; returns the methods and headers that the response allows."""
    client.checks += 1
    EchoesOrigin.seen.clear()
    response = client.send(path, [("Origin", origin), *headers], method=method, body=b"cpu value=1\n" if method == "POST" else b"")
    what = f"{method} {path} of {origin}: {response.status} {response.getheaders()}"
    if response.status != expected or (method == "OPTIONS" and EchoesOrigin.seen):
        raise AssertionError(what)
    allowed = response.headers.get_all("Access-Control-Allow-Origin")
    if allowed != ([origin] if origin == ALLOWED else None):
        raise AssertionError(what)
    return response.headers["Access-Control-Allow-Methods"], response.headers["Access-Control-Allow-Headers"]


def main(binary, kind):
    asked = [("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "authorization")]
    with deployed(binary, kind, EchoesOrigin) as deployment:
        client = deployment.client
        for path in ["/write?db=default", "/query", "/anything"]:
            methods, headers = check(client, 204, ALLOWED, asked, "OPTIONS", path)
            if methods != "GET, POST" or "Authorization" not in headers:
                raise AssertionError(f"{methods}, {headers}")
            # Other origins need credentials like every request, and even with them OPTIONS is not allowed.
            check(client, 401, OTHER, asked, "OPTIONS", path)
        check(client, 403, OTHER, [*asked, basic("grafana")], "OPTIONS")

        # The page can read the response, even a refusal.
        for origin in (ALLOWED, OTHER):
            for expected, credentials in [(204, [basic("telegraf")]), (403, [basic("grafana")]), (401, [])]:
                if check(client, expected, origin, credentials) != (None, None):
                    raise AssertionError(f"{expected} of {origin}")
            check(client, 200, origin, method="GET", path="/ping")
        deployment.stop_portcullis()
        for origin in (ALLOWED, OTHER):
            check(client, 503, origin, [basic("telegraf")])
    print(f"browsers through {kind}: {client.checks} checks passed, 0 failed")


if __name__ == "__main__":
    main(*sys.argv[1:])
