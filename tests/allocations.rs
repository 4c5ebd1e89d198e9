//! A cache hit needs no allocation. Alone in its process, whose allocator counts.

use std::sync::Arc;

use axum::body::Body;
use futures_util::FutureExt;
use http::Request;
use portcullis::store::MemoryStore;
use portcullis::{
    Action, Credentials, DatabaseBucket, Engine, NewAuthorization, NewDbrp, Permission, Principal,
    Resource, Setup, SetupDone, Username,
};
use portcullis_testkit::world::{builder, name};
use tower::ServiceExt;

const REQUESTS: usize = 1_000;

async fn engine() -> (Engine, SetupDone) {
    let engine = builder(Arc::new(MemoryStore::new().unwrap())).build().await.unwrap();
    let buckets = ["telemetry", "events", "traces", "spare"].map(name).to_vec();
    let setup = Setup { org: name("acme"), user: name("ada"), buckets };
    let done = engine.setup(setup).await.unwrap();
    (engine, done)
}

fn authenticate(engine: &Engine, credentials: Credentials<'_>) -> Principal {
    let response = engine.authenticate(credentials).now_or_never();
    response.expect("a cache hit is ready at once").unwrap()
}

/// How often memory is allocated during [`REQUESTS`] runs.
fn allocations(mut request: impl FnMut()) -> u64 {
    request();
    let counted = allocation_counter::measure(|| (0..REQUESTS).for_each(|_| request()));
    counted.count_total
}

#[test]
fn the_allocator_counts() {
    let allocate = || drop(std::hint::black_box(Box::new(1)));
    assert_eq!(allocations(allocate), REQUESTS as u64);
}

#[tokio::test]
async fn a_cached_password_and_a_check_allocate_nothing() {
    let (engine, done) = engine().await;
    let org = done.org.id;
    let bucket = Resource::bucket(org, done.buckets[0].id);
    let buckets = done.buckets.iter().map(|bucket| Resource::bucket(org, bucket.id));
    let permissions = buckets.flat_map(|each| [Permission::read(each), Permission::write(each)]);
    let new = NewAuthorization::new(Username::new("telegraf").unwrap(), org, permissions);
    let authorization = engine.create_authorization(new.for_user(done.user.id)).await.unwrap();
    engine.set_password(authorization.id, "s3cret-enough").await.unwrap();
    let credentials = Credentials::password("telegraf", "s3cret-enough");
    engine.authenticate(credentials).await.unwrap();

    let counted = allocations(|| {
        let principal = authenticate(&engine, credentials);
        assert!(principal.check(Action::Write, &bucket).is_allowed());
    });
    assert_eq!(counted, 0);

    // The use was noted by the first login of the interval. Others note nothing, written or not.
    assert!(engine.last_use(authorization.id).await.unwrap().is_none());
    engine.flush_last_uses().await;
    assert!(engine.last_use(authorization.id).await.unwrap().is_some());
    let counted = allocations(|| drop(authenticate(&engine, credentials)));
    assert_eq!(counted, 0);
}

#[tokio::test]
async fn a_cached_api_token_and_a_check_allocate_nothing() {
    let (engine, done) = engine().await;
    let bucket = Resource::bucket(done.org.id, done.buckets[0].id);
    let credentials = Credentials::token(done.secret.expose());
    engine.authenticate(credentials).await.unwrap();
    let counted = allocations(|| {
        let principal = authenticate(&engine, credentials);
        assert!(principal.check(Action::Write, &bucket).is_allowed());
    });
    assert_eq!(counted, 0);

    engine.authenticate_caller(Credentials::token(done.secret.expose())).await.unwrap();
    let counted = allocations(|| {
        let response =
            engine.authenticate_caller(Credentials::token(done.secret.expose())).now_or_never();
        assert!(response.expect("ready at once").is_ok());
    });
    assert_eq!(counted, 0);
}

/// The panels of dashboards.
#[test]
fn what_a_dashboard_query_needs_takes_at_most_ten_allocations() {
    for q in [
        "SELECT mean(\"usage_user\") AS \"user\", mean(\"usage_system\") AS \"system\" FROM \"cpu\" WHERE \
         \"host\" =~ /^web-[0-9]+$/ AND time > now() - 6h GROUP BY time(1m), \"host\" fill(null) ORDER BY time",
        "SELECT non_negative_derivative(mean(\"bytes_recv\"), 1s) FROM \"telemetry\".\"autogen\".\"net\" WHERE \
         (\"host\" = 'a' OR \"host\" = 'b') AND time >= 1000ms AND time <= 2000ms GROUP BY time(10s) fill(none)",
        "SHOW TAG VALUES ON \"telemetry\" FROM \"cpu\" WITH KEY = \"host\" WHERE \"region\" = 'eu'",
    ] {
        let counted = allocations(|| {
            let statements = portcullis_influxql::parse(q, portcullis_influxql::Parameters::NONE);
            assert_eq!(statements.unwrap().len(), 1);
        });
        let each = counted / REQUESTS as u64;
        println!("{each} allocations: {q}");
        assert!(each <= 10, "{each} allocations: {q}");
    }
}

#[tokio::test]
async fn the_cached_bucket_of_a_database_is_found_without_an_allocation() {
    let (engine, done) = engine().await;
    let (org, bucket) = (done.org.id, done.buckets[0].id);
    let new = NewDbrp {
        org,
        database: "metrics".to_owned(),
        retention_policy: "year".to_owned(),
        is_default: true,
        bucket,
    };
    engine.create_dbrp(new).await.unwrap();
    for (database, policy, expected) in [
        ("metrics", None, DatabaseBucket::Mapped(bucket)),
        ("metrics", Some("year"), DatabaseBucket::Mapped(bucket)),
        ("metrics", Some("other"), DatabaseBucket::None),
        ("telemetry", None, DatabaseBucket::Named(bucket)),
        ("telemetry", Some("autogen"), DatabaseBucket::None),
    ] {
        engine.database_bucket(org, database, policy).await.unwrap();
        let counted = allocations(|| {
            let found = engine.database_bucket(org, database, policy).now_or_never();
            assert_eq!(found.expect("a cache hit is ready at once").unwrap(), expected);
        });
        assert_eq!(counted, 0, "{database} {policy:?}");
    }
}

/// A body of one mebibyte takes little more memory than it has bytes, whatever its content.
/// [HTTP-12]
#[test]
fn a_hostile_body_takes_a_small_multiple_of_its_size() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (engine, done) = runtime.block_on(engine());
    let app = portcullis_http::ManagementApi::new(engine).into_router();
    let element = |element: &str| {
        let count = (1_048_576 - 100) / (element.len() + 1);
        vec![element; count].join(",")
    };
    let distinct: Vec<_> = (0..100_000).map(|number| format!("\"{number:x}\":0")).collect();
    for body in [
        format!("[{}]", element("{\"\":0}")),
        format!("{{\"permissions\":[{}]}}", element("{\"\":0}")),
        format!("{{\"permissions\":[{}]}}", element("{\"id\":0}")),
        format!("{{\"permissions\":[{}]}}", element("[]")),
        format!("{{\"x\":[{}]}}", element("{\"a\":{\"b\":0}}")),
        format!("{{\"permissions\":[[{}]]}}", element("0")),
        format!("{{\"token\":[{}]}}", element("{\"token\":\"\"}")),
        format!("{{\"permissions\":[{}]}}", element("{\"resource\":{\"id\":\"x\"}}")),
        format!("{{{}}}", distinct.join(",")),
    ] {
        assert!(body.len() <= 1_048_576 && body.len() > 900_000, "{}", body.len());
        let request = Request::post("/legacy/authorizations");
        let request = request.header("Authorization", format!("Token {}", done.secret.expose()));
        let begun = body.chars().take(40).collect::<String>();
        let request = request.body(Body::from(body)).unwrap();
        let counted = allocation_counter::measure(|| {
            let response = runtime.block_on(app.clone().oneshot(request)).unwrap();
            assert_eq!(response.status(), 400, "{begun}");
        });
        let mebibytes = counted.bytes_max >> 20;
        println!("{begun}…: {mebibytes} MiB");
        assert!(mebibytes <= 10, "{begun}…: {mebibytes} MiB");
    }
}
