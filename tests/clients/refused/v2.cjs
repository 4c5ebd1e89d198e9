// Writes a point with the npm package `@influxdata/influxdb-client`.

const { InfluxDB } = require("@influxdata/influxdb-client");

const [url, username, password, database] = process.argv.slice(2);
const client = new InfluxDB({ url, token: `${username}:${password}`, writeOptions: { maxRetries: 0 } });
const api = client.getWriteApi("-", database);
api.writeRecord("cpu value=1");
api.close();
