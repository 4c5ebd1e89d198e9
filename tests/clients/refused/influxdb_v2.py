"""Writes a point with the PyPI package `influxdb-client`."""

import sys

from influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS

url, username, password, database = sys.argv[1:]
with InfluxDBClient(url, f"{username}:{password}", org="-", retries=False) as client:
    client.write_api(write_options=SYNCHRONOUS).write(database, record="cpu value=1")
