"""Writes a point with the PyPI package `influxdb`."""

import sys
from urllib.parse import urlsplit

from influxdb import InfluxDBClient

url, username, password, database = sys.argv[1:]
place = urlsplit(url)
client = InfluxDBClient(place.hostname, place.port, username, password, database, retries=1)
client.write_points([{"measurement": "cpu", "fields": {"value": 1.0}}])
