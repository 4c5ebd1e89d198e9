// Manages a server with the npm package `@influxdata/influxdb-client-apis`: apis.cjs URL TOKEN

const { InfluxDB, HttpError } = require("@influxdata/influxdb-client");
const {
  AuthorizationsAPI, BucketsAPI, DbrpsAPI, MeAPI, OrgsAPI, SetupAPI, UsersAPI,
} = require("@influxdata/influxdb-client-apis");

const [url, token] = process.argv.slice(2);
const influx = new InfluxDB({ url, token });
let checks = 0;

function check(condition, what) {
  checks += 1;
  if (!condition) throw new Error(`not as expected: ${JSON.stringify(what)}`);
}

async function refused(status, message, call) {
  try {
    await call();
  } catch (error) {
    check(error instanceof HttpError && error.statusCode === status, [status, error.statusCode, error.body]);
    check(error.json.message === message, [message, error.body]);
    return;
  }
  throw new Error(`not refused with ${status} ${message}`);
}

async function run() {
  const orgs = new OrgsAPI(influx);
  const users = new UsersAPI(influx);
  const buckets = new BucketsAPI(influx);
  const authorizations = new AuthorizationsAPI(influx);
  const dbrps = new DbrpsAPI(influx);

  // Setup: the server has set itself up.
  const setup = new SetupAPI(new InfluxDB({ url }));
  check((await setup.getSetup()).allowed === false, "setup");
  await refused(422, "onboarding has already been completed", () =>
    setup.postSetup({ body: { username: "eve", org: "evil", bucket: "b", password: "not-kept" } }));

  // Orgs and users.
  let org = await orgs.postOrgs({ body: { name: "globex", description: "not kept" } });
  check(org.status === "active", org);
  org = await orgs.patchOrgsID({ orgID: org.id, body: { name: "initech" } });
  check(org.name === "initech", org);
  check((await orgs.getOrgs({ org: "initech" })).orgs[0].id === org.id, "by name");
  check((await orgs.getOrgsID({ orgID: org.id })).name === "initech", "by id");
  let user = await users.postUsers({ body: { name: "bob" } });
  user = await users.patchUsersID({ userID: user.id, body: { name: "bob", status: "inactive" } });
  check(user.status === "inactive", user);
  user = await users.patchUsersID({ userID: user.id, body: { name: "robert", status: "active" } });
  check((await users.getUsers({ name: "robert" })).users[0].id === user.id, "by name");
  check((await users.getUsersID({ userID: user.id })).status === "active", "by id");
  await refused(422, "user with name robert already exists", () => users.postUsers({ body: { name: "robert" } }));
  try {
    await users.postUsersIDPassword({ userID: user.id, body: { password: "s3cret-enough" } });
    check(false, "a password of a user");
  } catch (error) {
    check(error.statusCode === 400 && error.json.message.startsWith("users have no passwords here"), error.body);
  }

  // Buckets.
  let bucket = await buckets.postBuckets({
    body: { orgID: org.id, name: "events", retentionRules: [{ type: "expire", everySeconds: 3600 }] },
  });
  check(bucket.orgID === org.id && bucket.retentionRules.length === 0, bucket);
  bucket = await buckets.patchBucketsID({ bucketID: bucket.id, body: { name: "logs", retentionRules: [] } });
  check(bucket.name === "logs", bucket);
  check((await buckets.getBuckets({ orgID: org.id })).buckets[0].id === bucket.id, "by org");
  check((await buckets.getBucketsID({ bucketID: bucket.id })).name === "logs", "by id");

  // API tokens.
  const resource = { type: "buckets", id: bucket.id, orgID: org.id };
  const created = await authorizations.postAuthorizations({
    body: { orgID: org.id, userID: user.id, description: "agents", permissions: [{ action: "write", resource }] },
  });
  check(created.token && created.user === "robert" && created.org === "initech", created);
  check((await new MeAPI(new InfluxDB({ url, token: created.token })).getMe()).name === "robert", "me");
  const list = await authorizations.getAuthorizations({ userID: user.id });
  check(list.authorizations.length === 1 && list.authorizations[0].token === undefined, list);
  check((await authorizations.getAuthorizations({ org: "initech" })).authorizations.length === 1, "by org");
  const off = await authorizations.patchAuthorizationsID({ authID: created.id, body: { status: "inactive" } });
  check(off.status === "inactive" && off.description === "agents", off);
  await refused(401, "token is inactive", () => new MeAPI(new InfluxDB({ url, token: created.token })).getMe());
  check((await authorizations.getAuthorizationsID({ authID: created.id })).status === "inactive", "by id");

  // DBRP mappings.
  const mapping = await dbrps.postDBRP({
    body: { orgID: org.id, bucketID: bucket.id, database: "db", retention_policy: "rp", default: true },
  });
  check((await dbrps.getDBRPs({ orgID: org.id, db: "db" })).content.length === 1, "mappings");
  const renamed = await dbrps.patchDBRPID({
    dbrpID: mapping.id, orgID: org.id, body: { retention_policy: "year", default: true },
  });
  check(renamed.content.retention_policy === "year", renamed);
  check((await dbrps.getDBRPsID({ dbrpID: mapping.id, orgID: org.id })).content.default, "mapping");

  // Deletions.
  await dbrps.deleteDBRPID({ dbrpID: mapping.id, orgID: org.id });
  await authorizations.deleteAuthorizationsID({ authID: created.id });
  await refused(404, "authorization not found", () => authorizations.getAuthorizationsID({ authID: created.id }));
  await buckets.deleteBucketsID({ bucketID: bucket.id });
  await refused(404, "bucket not found", () => buckets.getBucketsID({ bucketID: bucket.id }));
  await users.deleteUsersID({ userID: user.id });
  await refused(404, "user not found", () => users.getUsersID({ userID: user.id }));
  await orgs.deleteOrgsID({ orgID: org.id });
  await refused(404, "organization not found", () => orgs.getOrgsID({ orgID: org.id }));
}

run().then(
  () => console.log(`@influxdata/influxdb-client-apis: ${checks} checks passed, 0 failed`),
  (error) => {
    console.error(error);
    process.exitCode = 1;
  },
);
