//! Decisions on InfluxQL queries, with permissions on buckets.

use portcullis::{
    Action, Name, NewDbrp, Permission, Principal, Resource, ResourceType, UserId, presets,
};
use portcullis_http::{QueryDecision, QueryPolicy, QueryRequest, StatementKind, UpstreamSemantics};

use crate::support::{Server, name};

const READ: Action = Action::Read;
const WRITE: Action = Action::Write;

/// Two buckets, and one that is a retention policy of the first.
struct World {
    server: Server,
    policy: QueryPolicy,
}

impl World {
    async fn new() -> Self {
        let server = Server::new().await;
        for bucket in ["events", "telemetry/weekly"] {
            server.engine.create_bucket(server.org.id, name(bucket)).await.unwrap();
        }
        let policy = QueryPolicy::new(server.engine.clone());
        Self { server, policy }
    }

    async fn on(&self, action: Action, bucket: &str) -> Permission {
        let org = self.server.org.id;
        let id = self.server.engine.bucket_id(org, bucket).await.unwrap().unwrap();
        Permission::new(action, Resource::bucket(org, id))
    }

    async fn holding(&self, held: &[(Action, &str)]) -> Principal {
        let mut permissions = Vec::new();
        for (action, bucket) in held {
            permissions.push(self.on(*action, bucket).await);
        }
        self.principal(permissions)
    }

    fn principal(&self, permissions: Vec<Permission>) -> Principal {
        Principal::trusted(self.server.org.id, UserId::from_u64(1), permissions)
    }

    async fn decide(&self, principal: &Principal, q: &str) -> QueryDecision {
        let query = QueryRequest { q, db: Some("telemetry"), ..QueryRequest::default() };
        self.policy.decide(principal, query).await.unwrap()
    }

    /// The decisions for credentials with different grants, as a row of a table: `+` for allowed, `-`
    /// for denied.
    async fn row(&self, q: &str) -> String {
        let all = Resource::all(ResourceType::Buckets).in_org(self.server.org.id);
        let instance = Resource::all(ResourceType::Instance);
        let principals = [
            self.holding(&[(READ, "telemetry")]).await,
            self.holding(&[(WRITE, "telemetry")]).await,
            self.holding(&[(READ, "telemetry"), (WRITE, "telemetry")]).await,
            self.holding(&[(READ, "telemetry"), (WRITE, "events")]).await,
            self.holding(&[(READ, "events")]).await,
            self.principal(vec![Permission::read(all)]),
            self.principal(vec![Permission::read(all), Permission::write(all)]),
            self.principal(vec![Permission::read(instance), Permission::write(instance)]),
            self.principal(presets::operator()),
            self.principal(vec![]),
        ];
        let mut row = String::new();
        for principal in &principals {
            row.push(match self.decide(principal, q).await {
                QueryDecision::Allowed(_) => '+',
                QueryDecision::Denied(_) => '-',
                other => panic!("{q}: {other:?}"),
            });
        }
        row
    }
}

/// [QUERY-2]
#[tokio::test]
async fn each_statement_needs_what_it_reads_and_writes() {
    let world = World::new().await;
    for (q, row) in [
        // A permission on the instance covers everything.
        //                     rwbseRAio-
        ("SELECT v FROM cpu", "+-++-++++-"),
        ("SELECT v FROM telemetry.autogen.cpu", "+-++-++++-"),
        ("SELECT v FROM events..cpu", "----+++++-"),
        ("SELECT v FROM cpu, events..cpu", "-----++++-"),
        ("SELECT v FROM nothing..cpu", "----------"),
        ("SELECT v INTO x FROM cpu", "--+---+++-"),
        ("SELECT v INTO events..x FROM cpu", "---+--+++-"),
        ("SHOW MEASUREMENTS", "+-++-++++-"),
        ("SHOW TAG KEYS FROM events..cpu", "-----++++-"),
        ("SHOW SERIES EXACT CARDINALITY ON events", "----+++++-"),
        ("DELETE FROM cpu", "-++---+++-"),
        ("DROP RETENTION POLICY weekly ON events", "---+--+++-"),
        ("DROP MEASUREMENT cpu", "------+++-"),
        ("CREATE DATABASE x", "------+++-"),
        ("DROP DATABASE telemetry", "------+++-"),
        ("SHOW DATABASES", "-----++++-"),
        ("SHOW STATS", "-------+--"),
        ("KILL QUERY 5", "-------+--"),
        ("SHOW USERS", "----------"),
        ("GRANT ALL TO ada", "----------"),
        ("SELECT v FROM cpu; DROP DATABASE telemetry", "------+++-"),
        ("SELECT v FROM cpu; SHOW USERS", "----------"),
        ("", "++++++++++"),
        (
            "CREATE CONTINUOUS QUERY q ON telemetry BEGIN SELECT mean(v) INTO m FROM cpu GROUP BY time(1h) END",
            "--+---+++-",
        ),
    ] {
        assert_eq!(world.row(q).await, row, "{q}");
    }
}

/// [QUERY-1] [QUERY-5]
#[tokio::test]
async fn the_denial_names_the_statement_and_not_whether_there_is_a_bucket() {
    let world = World::new().await;
    let reader = world.holding(&[(READ, "telemetry")]).await;
    for (q, message) in [
        (
            "SHOW MEASUREMENTS; SELECT v FROM events..cpu",
            "not authorized to execute statement 2, SELECT: it needs read of \"events\"",
        ),
        (
            "SELECT v FROM nothing..cpu",
            "not authorized to execute statement 1, SELECT: it needs read of \"nothing\"",
        ),
        (
            "DROP DATABASE telemetry",
            "not authorized to execute statement 1, DROP DATABASE: it needs write to all databases",
        ),
        (
            "SHOW DATABASES",
            "not authorized to execute statement 1, SHOW DATABASES: it needs read of every database",
        ),
        (
            "SHOW USERS",
            "not authorized to execute statement 1, SHOW USERS: users and their permissions are managed by \
             Portcullis, not by queries",
        ),
    ] {
        let QueryDecision::Denied(denial) = world.decide(&reader, q).await else { panic!("{q}") };
        assert_eq!(denial.to_string(), message);
    }
    let decided = world.decide(&reader, "SELECT v").await;
    let QueryDecision::Unreadable(unreadable) = decided else { panic!("{decided:?}") };
    let message = "error parsing query: found EOF, expected FROM at line 1, char 9";
    assert_eq!(unreadable.to_string(), message);
}

/// [QUERY-3] [QUERY-4]
#[tokio::test]
async fn the_request_names_the_database_the_policy_and_parameters() {
    let world = World::new().await;
    let reader = world.holding(&[(READ, "telemetry")]).await;
    let weekly = world.holding(&[(READ, "telemetry/weekly")]).await;
    let request = QueryRequest { q: "SELECT v FROM cpu", ..QueryRequest::default() };
    let database = QueryRequest { db: Some("telemetry"), ..request };
    let v2 = world.policy.clone().upstream(UpstreamSemantics::V2);
    for (query, by_reader, by_weekly, by_reader_v2) in [
        (request, false, false, false),
        (QueryRequest { db: Some(""), ..request }, false, false, false),
        (database, true, false, true),
        (QueryRequest { rp: Some(""), ..database }, true, false, true),
        // There is a bucket for the policy, which counts alone.
        (QueryRequest { rp: Some("weekly"), ..database }, false, true, false),
        (QueryRequest { q: "SELECT v FROM weekly.cpu", ..database }, false, true, false),
        (QueryRequest { q: "SELECT v FROM telemetry.weekly.cpu", ..request }, false, true, false),
        // There is none: the database covers it, or nothing does.
        (QueryRequest { rp: Some("daily"), ..database }, true, false, false),
        (QueryRequest { q: "SELECT v FROM telemetry.daily.cpu", ..request }, true, false, false),
        // It could be the policy `weekly` or a database of that name.
        (
            QueryRequest { db: Some("telemetry/weekly"), rp: Some("x"), ..request },
            false,
            false,
            false,
        ),
        (
            QueryRequest {
                q: "SELECT v FROM $d..cpu",
                params: Some(r#"{"d":{"ident":"telemetry"}}"#),
                ..request
            },
            true,
            false,
            true,
        ),
    ] {
        let allowed = async |policy: &QueryPolicy, principal| {
            policy.decide(principal, query).await.unwrap().is_allowed()
        };
        assert_eq!(allowed(&world.policy, &reader).await, by_reader, "{query:?}");
        assert_eq!(allowed(&world.policy, &weekly).await, by_weekly, "{query:?}");
        assert_eq!(allowed(&v2, &reader).await, by_reader_v2, "{query:?}");
    }
    let broken = QueryRequest { params: Some("[]"), ..database };
    let decided = world.policy.decide(&reader, broken).await.unwrap();
    assert!(matches!(decided, QueryDecision::Unreadable(_)), "{decided:?}");
}

#[tokio::test]
async fn a_mapping_leads_to_its_bucket() {
    let world = World::new().await;
    let map = async |database: &str, policy: &str, bucket: &str| {
        let bucket = world.on(READ, bucket).await.resource.id.unwrap().into();
        let new = NewDbrp {
            org: world.server.org.id,
            database: database.to_owned(),
            retention_policy: policy.to_owned(),
            is_default: false,
            bucket,
        };
        world.server.engine.create_dbrp(new).await.unwrap();
    };
    map("metrics", "raw", "events").await;
    map("metrics", "weekly", "telemetry/weekly").await;
    let events = world.holding(&[(READ, "events")]).await;
    let weekly = world.holding(&[(READ, "telemetry/weekly")]).await;
    for (q, by_events, by_weekly) in [
        ("SELECT v FROM metrics..cpu", true, false),
        ("SELECT v FROM metrics.raw.cpu", true, false),
        ("SELECT v FROM metrics.weekly.cpu", false, true),
        ("SHOW TAG KEYS ON metrics", true, false),
        ("SELECT v FROM telemetry..cpu", false, false),
    ] {
        assert_eq!(world.decide(&events, q).await.is_allowed(), by_events, "{q}");
        assert_eq!(world.decide(&weekly, q).await.is_allowed(), by_weekly, "{q}");
    }
    let telemetry = world.holding(&[(WRITE, "telemetry")]).await;
    for (principal, databases) in [
        (&events, &["events", "metrics"][..]),
        (&weekly, &["metrics", "telemetry"]),
        (&telemetry, &["telemetry"]),
    ] {
        assert_eq!(world.policy.databases(principal).await.unwrap(), databases);
    }
}

#[tokio::test]
async fn an_allowed_query_has_its_statements_with_the_buckets_that_they_use() {
    let world = World::new().await;
    let client =
        world.holding(&[(READ, "telemetry"), (WRITE, "events"), (READ, "telemetry/weekly")]).await;
    let q = "SELECT v INTO events..x FROM cpu, weekly.cpu; SHOW TAG KEYS ;";
    let QueryDecision::Allowed(statements) = world.decide(&client, q).await else { panic!("{q}") };
    let org = world.server.org.id;
    let mut ids = Vec::new();
    for bucket in ["telemetry", "events", "telemetry/weekly"] {
        ids.push(world.server.engine.bucket_id(org, bucket).await.unwrap().unwrap());
    }
    let [select, show] = &statements[..] else { panic!("{statements:?}") };
    assert_eq!(select.kind(), StatementKind::Select);
    assert_eq!(select.text(), "SELECT v INTO events..x FROM cpu, weekly.cpu");
    assert_eq!(select.buckets(), [(WRITE, ids[1]), (READ, ids[0]), (READ, ids[2])]);
    assert_eq!(show.kind(), StatementKind::ShowTagKeys);
    assert_eq!(show.buckets(), [(READ, ids[0])]);
    let QueryDecision::Allowed(none) = world.decide(&client, " ; ").await else { panic!() };
    assert!(none.is_empty());
}

#[tokio::test]
async fn names_of_databases_are_for_credentials_that_hold_them_where_the_response_is_filtered() {
    let world = World::new().await;
    let filtered = world.policy.clone().filters_databases(true);
    let writer = world.holding(&[(WRITE, "telemetry")]).await;
    let query = QueryRequest { q: "SHOW DATABASES", ..QueryRequest::default() };
    assert!(filtered.decide(&writer, query).await.unwrap().is_allowed());
    assert_eq!(filtered.databases(&writer).await.unwrap(), ["telemetry"]);
}

#[tokio::test]
async fn a_bucket_of_another_org_is_none() {
    let world = World::new().await;
    let other = world.server.engine.create_org(Name::new("other").unwrap()).await.unwrap();
    let telemetry = world.on(READ, "telemetry").await;
    let stranger = Principal::trusted(other.id, UserId::from_u64(1), [telemetry]);
    let denied = world.decide(&stranger, "SELECT v FROM cpu").await;
    assert!(matches!(denied, QueryDecision::Denied(_)), "{denied:?}");
}

/// [SET-3]
#[tokio::test]
async fn a_directory_that_cannot_be_read_is_an_error_and_no_decision() {
    let server = Server::new().await;
    server.store.close().await.unwrap();
    let reader = Principal::trusted(server.org.id, UserId::from_u64(1), presets::operator());
    let query =
        QueryRequest { q: "SELECT v FROM cpu", db: Some("telemetry"), ..QueryRequest::default() };
    let error = QueryPolicy::new(server.engine.clone()).decide(&reader, query).await;
    assert!(error.is_err(), "{error:?}");
}
