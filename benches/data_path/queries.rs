//! A query costs what reading its text costs.

use std::convert::Infallible;
use std::hint::black_box;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::FutureExt;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Bytes;
use portcullis::{Permission, Principal, Resource};
use portcullis_http::{QueryPolicy, QueryRequest, V1CredentialLayer};
use portcullis_influxql::{Parameters, parse};
use tower::{Layer, Service, service_fn};

use crate::rounds::{on_this_thread, rounds};
use crate::table::{Row, nanos};
use crate::world::{World, cheap, password, username};

const ROUNDS: usize = 51;
const CALLS: usize = 2_000;

/// A panel of a dashboard: 202 bytes.
const QUERY: &str = "SELECT mean(\"usage_user\") AS \"user\", mean(\"usage_system\") AS \"system\" FROM \
                     \"telemetry\"..\"cpu\" WHERE \"host\" =~ /^web-[0-9]+$/ AND time > now() - 6h GROUP BY \
                     time(1m), \"host\" fill(null) ORDER BY time DESC";

/// What a query of 200 bytes needs is known in 2 µs, of 50 statements in 50 times as long, and of a
/// mebibyte in 50 ms. With a warm login, the decision on a request takes at most 3 µs.
pub(crate) fn queries(table: &mut Vec<Row>) {
    let fifty = [QUERY; 50].join(";");
    let long = format!("SELECT v FROM cpu WHERE {} host = 'x'", "host = 'x' OR ".repeat(70_000));
    assert!(long.len() >= 900_000 && QUERY.len() > 200);
    let needs = |text: &str| {
        let statements = parse(black_box(text), Parameters::NONE).unwrap();
        assert!(!black_box(statements).is_empty());
    };
    let taken = rounds(
        ROUNDS,
        vec![
            Box::new(|| on_this_thread(CALLS, || needs(QUERY))),
            Box::new(|| on_this_thread(CALLS / 50, || needs(&fifty))),
        ],
    );
    let one = taken.median(0);
    let what = format!("what a query of {} bytes needs", QUERY.len());
    table.push(Row::figure(&what, nanos(one), "2 µs", one <= 2_000.0));
    table.push(Row::ratio(
        "what 50 such statements need",
        nanos(taken.median(1)),
        ("50 times one", nanos(50.0 * one)),
        taken.ratio(1, 0) / 50.0,
        1.2,
    ));
    let taken = rounds(5, vec![Box::new(|| on_this_thread(1, || needs(&long)))]);
    let what = format!("what a query of {} KiB needs", long.len() >> 10);
    table.push(Row::figure(&what, nanos(taken.median(0)), "50 ms", taken.median(0) <= 50e6));
    table.push(decision());
}

/// Authentication by the layer, and the decision on the query, without sockets.
fn decision() -> Row {
    const READER: usize = 7;
    let world = World::in_memory(1_000, cheap());
    world.warm_up(&world.requests(1_000));
    let bucket = Resource::bucket(world.setup.org.id, world.setup.buckets[0].id);
    let permissions = vec![Permission::read(bucket)];
    let change = world.engine.set_permissions(world.authorizations[READER].id, permissions);
    world.runtime.block_on(change).unwrap();

    let policy = QueryPolicy::new(world.engine.clone());
    let inner = service_fn(move |request: Request<()>| {
        let policy = policy.clone();
        async move {
            let principal = request.extensions().get::<Principal>().unwrap();
            let query = QueryRequest { q: QUERY, ..QueryRequest::default() };
            let decision = policy.decide(principal, query).await.unwrap();
            assert!(decision.is_allowed(), "{decision:?}");
            Ok::<_, Infallible>(Response::new(Bytes::new()))
        }
    });
    let mut service = V1CredentialLayer::new(world.engine.clone()).layer(inner);
    let credentials = format!("{}:{}", username(READER), password(READER));
    let credentials = format!("Basic {}", BASE64_STANDARD.encode(credentials));
    let credentials = HeaderValue::try_from(credentials).unwrap();
    let request = || {
        let mut request = Request::new(());
        *request.uri_mut() = http::Uri::from_static("/query");
        request.headers_mut().insert(AUTHORIZATION, credentials.clone());
        request
    };
    world.runtime.block_on(service.call(request())).unwrap();
    let taken = rounds(
        ROUNDS,
        vec![Box::new(|| {
            on_this_thread(CALLS, || {
                let response = service.call(request()).now_or_never().unwrap().unwrap();
                assert_eq!(black_box(response).status(), StatusCode::OK);
            })
        })],
    );
    let whole = taken.median(0);
    let what = "warm /query: authentication, parsing and check";
    Row::figure(what, nanos(whole), "3 µs", whole <= 3_000.0)
}
