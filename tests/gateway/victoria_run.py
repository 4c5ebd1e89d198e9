"""The gateway before a real VictoriaMetrics: points are written to the database of a bucket, and to no other.

    python3 tests/gateway/victoria_run.py target/debug/portcullis
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

from deployment import DATABASE, PASSWORD, gateway

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "forward-auth"))

from proxies import free_port  # noqa: E402


class Victoria:
    """A server of one's own; `victoria-metrics` of Debian."""

    def __init__(self, binary, directory):
        self.url = f"http://127.0.0.1:{free_port()}"
        command = [binary, f"-storageDataPath={directory}/data", "-httpListenAddr=" + self.url.removeprefix("http://")]
        self.log = pathlib.Path(directory, "victoria.log")
        self.process = subprocess.Popen(command, stderr=self.log.open("w"), stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.get("/health")
                return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise SystemExit(self.log.read_text())

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=30) as response:
            return response.read().decode()

    def series(self):
        """What is stored: the labels of each series, in order."""
        self.get("/internal/force_flush")
        lines = self.get("/api/v1/export?" + urllib.parse.urlencode({"match": '{__name__!=""}'})).splitlines()
        return sorted((json.loads(line)["metric"] for line in lines), key=str)

    def wait_for(self, names):
        """Waits until there are series of these names; returns what is stored."""
        deadline = time.monotonic() + 60
        while True:
            stored = self.series()
            if [series["__name__"] for series in stored] == names:
                return stored
            assert time.monotonic() < deadline, stored

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


def send(url, target, user, body=b"cpu,host=a value=1"):
    request = urllib.request.Request(url + target, data=body, headers={"Authorization": f"Token {user}:{PASSWORD}"})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("portcullis")
    parser.add_argument("--victoria", default="victoria-metrics")
    options = parser.parse_args()
    checks = 0
    with tempfile.TemporaryDirectory() as directory:
        victoria = Victoria(options.victoria, directory)
        try:
            with gateway(options.portcullis, victoria.url, directory) as running:
                for status, target, user in [
                    (403, f"/write?db={DATABASE}", "reader"),
                    (403, "/write?db=hidden", "writer"),
                    (403, "/api/v2/write?bucket=hidden&org=x", "writer"),
                    (400, f"/write?db={DATABASE}&extra_label=db=hidden", "writer"),
                    (400, f"/write?db={DATABASE}&db=hidden", "writer"),
                    (400, f"/write?db={DATABASE}&extra_filters[]=x", "writer"),
                    (404, "/api/v1/import?extra_label=db=hidden", "writer"),
                    (404, "/api/v1/query?query=cpu_value", "both"),
                    (404, "/api/v1/admin/tsdb/delete_series?match[]=cpu_value", "both"),
                ]:
                    checks += 1
                    found = send(running.gateway, target, user)
                    assert found == status, (target, user, found)
                assert victoria.series() == [], victoria.series()
                assert send(running.gateway, f"/write?db={DATABASE}", "writer") == 204
                stored = victoria.wait_for(["cpu_value"])
                assert stored == [{"__name__": "cpu_value", "db": DATABASE, "host": "a"}], stored
                assert send(running.gateway, f"/api/v2/write?bucket={DATABASE}&org=x", "writer", b"mem value=1") == 204
                victoria.wait_for(["cpu_value", "mem_value"])
                checks += 3
        finally:
            victoria.stop()
    print(f"before VictoriaMetrics: {checks} checks passed")


if __name__ == "__main__":
    main()
