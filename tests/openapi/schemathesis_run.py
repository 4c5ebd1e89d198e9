"""schemathesis sends a server what it derives from docs/openapi.json, valid and invalid, and checks every response
against the document.

    target/ci-venv/bin/python tests/openapi/schemathesis_run.py target/debug/portcullis [--examples N] [--seed N]

Which checks are narrowed, and why, is in schemathesis.toml and hooks.py. It needs the packages in requirements.txt.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "clients"))

from server import running


def fill(server):
    """Creates what operations can find. Returns the ids, by kind."""

    def call(method, path, body=None):
        request = urllib.request.Request(server.url + path, method=method)
        request.add_header("Authorization", f"Token {server.token}")
        request.data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(request) as response:
            return json.load(response)

    org = call("GET", "/api/v2/orgs")["orgs"][0]["id"]
    user = call("GET", "/api/v2/me")["id"]
    bucket = call("GET", "/api/v2/buckets")["buckets"][0]["id"]
    resource = {"type": "buckets", "id": bucket, "orgID": org}
    authorization = {"token": "telegraf", "orgID": org, "permissions": [{"action": "write", "resource": resource}]}
    authorization = call("POST", "/legacy/authorizations", authorization)["id"]
    mapping = {"orgID": org, "bucketID": bucket, "database": "telemetry", "retention_policy": "year"}
    mapping = call("POST", "/api/v2/dbrps", mapping)["id"]
    token = call("GET", "/api/v2/authorizations")["authorizations"][0]["id"]
    return {
        "tokens": token, "orgs": org, "users": user, "buckets": bucket, "authorizations": authorization,
        "dbrps": mapping,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--examples", type=int, default=25, help="requests of each kind for each operation")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, running(arguments.binary, "--throttle", "off") as server:
        world = fill(server)
        here = pathlib.Path(__file__).resolve().parent
        environment = {
            **os.environ,
            "PORTCULLIS_WORLD": json.dumps(world),
            "PYTHONPATH": str(here),
            "SCHEMATHESIS_HOOKS": "hooks",
        }
        command = [
            pathlib.Path(sys.executable).with_name("schemathesis"), "--config-file", here / "schemathesis.toml", "run",
            ROOT / "docs/openapi.json", "--url", server.url, "--header", f"Authorization: Token {server.token}",
            "--seed", str(arguments.seed), "--max-examples", str(arguments.examples),
            "--generation-database", "none", "--no-color",
        ]
        # Its cache is in the directory in which it runs.
        status = subprocess.run(command, cwd=directory, env=environment).returncode
    sys.exit(status)


if __name__ == "__main__":
    main()
