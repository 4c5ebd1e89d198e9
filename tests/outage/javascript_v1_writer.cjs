// Writes with the unmodified npm package `influx`, as commanded on standard input. Lines in and out are
// those of python_writer.py.
//
// The package leaves retries to its caller. This one does as callers do: it does not retry after 4xx,
// which is final.

const { createInterface } = require("node:readline");
const { setTimeout: sleep } = require("node:timers/promises");
const { InfluxDB } = require("influx");

const [url, username, password, database] = process.argv.slice(2);
const { hostname: host, port } = new URL(url);
const influx = new InfluxDB({ host, port: Number(port), username, password, database });
let written = 0;
let writing = Promise.resolve();

async function write(points) {
  for (;;) {
    try {
      return await influx.writePoints(points);
    } catch (error) {
      const status = error.res?.statusCode;
      if (status >= 400 && status < 500 && status !== 429) {
        return console.log(`lost ${status} ${points.length}`);
      }
      console.log(`retries ${error.message}`);
      await sleep(250);
    }
  }
}

async function main() {
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === "finish") break;
    const points = [];
    for (let count = Number(line.split(" ")[1]); count > 0; count--) {
      points.push({ measurement: username, fields: { number: written }, timestamp: String(written) });
      written++;
    }
    writing = writing.then(() => write(points));
  }
  await writing;
  console.log(`done ${written}`);
  process.exit(0);
}

main().catch((error) => {
  console.log(`lost ${error}`);
  process.exit(1);
});
