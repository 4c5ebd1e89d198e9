"""Writes with the unmodified PyPI package `influxdb-client`, in batches, as commanded on standard input.

Lines in: `write COUNT`, `finish`. Lines out: `retries STATUS`, `lost STATUS`, `done COUNT`.
"""

import sys
import threading

from influxdb_client import InfluxDBClient, Point, WriteOptions

url, username, password, bucket = sys.argv[1:]
lock = threading.Lock()


def tell(what):
    with lock:
        print(what, flush=True)


def lost(_, data, error):
    tell(f"lost {getattr(error, 'status', error)} {data!r}")


def retries(_, data, error):
    tell(f"retries {getattr(error, 'status', error)}")


written = 0
options = WriteOptions(batch_size=5, flush_interval=200, retry_interval=500, max_retries=10)
with InfluxDBClient(url=url, token=f"{username}:{password}", org="-") as client:
    with client.write_api(write_options=options, error_callback=lost, retry_callback=retries) as api:
        for line in sys.stdin:
            if line.strip() == "finish":
                break
            for _ in range(int(line.split()[1])):
                api.write(bucket=bucket, record=Point(username).field("number", written).time(written))
                written += 1
tell(f"done {written}")
