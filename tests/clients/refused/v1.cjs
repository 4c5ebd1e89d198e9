// Writes a point with the npm package `influx`.

const { InfluxDB } = require("influx");

const [url, username, password, database] = process.argv.slice(2);
const { hostname: host, port } = new URL(url);
const influx = new InfluxDB({ host, port: Number(port), username, password, database });
influx.writePoints([{ measurement: "cpu", fields: { value: 1 } }]);
