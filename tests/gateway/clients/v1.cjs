// Writes, reads or lists with the npm package `influx`: URL USERNAME PASSWORD DATABASE ACTION.

const { InfluxDB } = require("influx");

const [url, username, password, database, action] = process.argv.slice(2);
const { hostname: host, port } = new URL(url);
const influx = new InfluxDB({ host, port: Number(port), username, password, database });
const actions = {
  write: () => influx.writePoints([{ measurement: "from_npm", fields: { value: 1 } }]),
  read: () => influx.query(["SELECT * FROM seed", "SHOW MEASUREMENTS"]),
  databases: async () => (await influx.getDatabaseNames()).sort().join(" "),
  drop: () => influx.dropDatabase(database),
};
actions[action]().then((result) => console.log(typeof result === "string" ? result : JSON.stringify(result ?? "")));
