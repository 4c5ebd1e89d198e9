# Writes a point with the gem `influxdb`.

require "influxdb"

url, username, password, database = ARGV
client = InfluxDB::Client.new database, url: url, username: username, password: password, retry: false
client.write_point "cpu", values: { value: 1 }
