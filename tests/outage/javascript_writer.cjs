// Writes with the unmodified npm package `@influxdata/influxdb-client`, in batches, as commanded on
// standard input. Lines in and out are those of python_writer.py.

const { createInterface } = require("node:readline");
const { InfluxDB, Point } = require("@influxdata/influxdb-client");

const [url, username, password, bucket] = process.argv.slice(2);

const options = {
  batchSize: 5,
  flushInterval: 200,
  maxRetries: 10,
  minRetryDelay: 500,
  // Called for each try that failed; the client decides whether there will be another.
  writeFailed: (error, lines, attempt) => {
    console.log(`${retriable(error) && attempt <= 10 ? "retries" : "lost"} ${error.statusCode ?? error.code} ${lines.length}`);
  },
};

function retriable(error) {
  return error.statusCode === undefined || error.statusCode === 429 || error.statusCode >= 500;
}

// The client's own log would mix with these lines.
const { setLogger } = require("@influxdata/influxdb-client");
setLogger({ error() {}, warn() {} });

const api = new InfluxDB({ url, token: `${username}:${password}` }).getWriteApi("-", bucket, "ns", options);
let written = 0;

async function main() {
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === "finish") break;
    for (let count = Number(line.split(" ")[1]); count > 0; count--) {
      api.writePoint(new Point(username).intField("number", written).timestamp(String(written)));
      written++;
    }
  }
  await api.close();
  console.log(`done ${written}`);
  process.exit(0);
}

main().catch((error) => {
  console.log(`lost ${error}`);
  process.exit(1);
});
