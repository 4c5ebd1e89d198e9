//! Decisions on queries that were recorded from InfluxDB 1.6.7.

use portcullis::store::MemoryStore;
use portcullis::{Action, Engine, Name, Permission, Principal, Resource, UserId};
use portcullis_http::{QueryDecision, QueryPolicy, QueryRequest};
use serde_json::{Value, json};

use crate::vectors::{Report, cases, read};

/// The users, in the order of the columns, with their grants.
async fn users(engine: &Engine) -> Vec<Principal> {
    let org = engine.create_org(Name::new("acme").unwrap()).await.unwrap().id;
    for bucket in ["telemetry", "events"] {
        engine.create_bucket(org, Name::new(bucket).unwrap()).await.unwrap();
    }
    let mut users = Vec::new();
    for user in read("influxql_decisions.json")["users"].as_array().unwrap() {
        let mut permissions = Vec::new();
        for grant in user[1].as_array().unwrap() {
            let (action, bucket) = grant.as_str().unwrap().split_once(' ').unwrap();
            let action: Action = action.parse().unwrap();
            let bucket = engine.bucket_id(org, bucket).await.unwrap().unwrap();
            permissions.push(Permission::new(action, Resource::bucket(org, bucket)));
        }
        users.push(Principal::trusted(org, UserId::from_u64(1), permissions));
    }
    users
}

/// A column for each user: `+` for allowed, `-` for refused; or `unparsable`.
async fn decide(policy: &QueryPolicy, users: &[Principal], case: &Value) -> String {
    let q = case["q"].as_str().unwrap();
    let query = QueryRequest { q, db: case["db"].as_str(), ..QueryRequest::default() };
    let mut columns = String::new();
    for user in users {
        columns.push(match policy.decide(user, query).await.unwrap() {
            QueryDecision::Allowed(_) => '+',
            QueryDecision::Denied(_) => '-',
            QueryDecision::Unreadable(_) => return "unparsable".to_owned(),
            other => panic!("{other:?}"),
        });
    }
    columns
}

#[tokio::test]
async fn influxql_decisions() {
    let engine = Engine::builder(MemoryStore::new().unwrap()).build().await.unwrap();
    let users = users(&engine).await;
    // InfluxDB filters its response to `SHOW DATABASES`.
    let policy = QueryPolicy::new(engine).filters_databases(true);
    let mut report = Report::default();
    for case in cases("influxql_decisions.json") {
        let expected = case.get("expected").unwrap_or(&case["influxdb"]);
        let decided = json!(decide(&policy, &users, &case).await);
        let outcome = match decided == *expected {
            true => Ok(()),
            false => Err(format!("{decided}, not {expected}")),
        };
        report.add(&case, outcome);
    }
    report.finish("influxql_decisions");
}

#[test]
fn nothing_that_influxdb_refuses_is_allowed() {
    for case in cases("influxql_decisions.json") {
        let Some(expected) = case["expected"].as_str() else { continue };
        let influxdb = case["influxdb"].as_str().unwrap();
        assert!(case["why"].is_string(), "{case}");
        let laxer = influxdb.chars().zip(expected.chars()).any(|columns| columns == ('-', '+'));
        assert!(!laxer && influxdb.len() == expected.len(), "{case}");
    }
}
