"""Writes, reads or lists with the PyPI package `influxdb`: URL USERNAME PASSWORD DATABASE ACTION."""

import sys
from urllib.parse import urlsplit

from influxdb import InfluxDBClient

url, username, password, database, action = sys.argv[1:]
place = urlsplit(url)
client = InfluxDBClient(place.hostname, place.port, username, password, database, retries=1)
match action:
    case "write":
        client.write_points([{"measurement": "from_python", "fields": {"value": 1.0}}])
    case "read":
        print(list(client.query("SELECT * FROM seed WHERE host = $host", bind_params={"host": "a"}, epoch="ms")))
        print(list(client.query("SELECT * FROM seed", method="POST")))
    case "databases":
        print(*sorted(row["name"] for row in client.get_list_database()))
    case "drop":
        client.drop_database(database)
