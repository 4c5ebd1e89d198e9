//! A list of 100,000 authorizations is streamed: memory stays flat. Alone in its process, whose memory
//! is counted.

use std::fmt::Write as _;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use peak_alloc::PeakAlloc;
use portcullis::snapshot::{Snapshot, SnapshotRecord};
use portcullis::store::{Batch, Entity, Expect, Operation, Revision};
use portcullis::{Engine, Name, Setup};
use portcullis_sqlite::SqliteStore;
use tower::ServiceExt;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const AUTHORIZATIONS: usize = 100_000;

/// How much the list may add to what is in use, in bytes.
const MAX_GROWTH: usize = 8 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_100_000_is_streamed_in_flat_memory() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path().join("large.db")).unwrap();
    let engine = Engine::builder(store).build().await.unwrap();
    let name = |text| Name::new(text).unwrap();
    let setup = Setup { org: name("acme"), user: name("ada"), buckets: vec![name("telemetry")] };
    let done = engine.setup(setup).await.unwrap();
    fill(&engine, &done).await;

    let app = portcullis_http::ManagementApi::new(engine.clone()).into_router();
    let token = format!("Token {}", done.secret.expose());
    let request = Request::get("/legacy/authorizations").header("Authorization", token);
    let request = request.body(Body::empty()).unwrap();

    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let mut body = app.oneshot(request).await.unwrap().into_body();
    let (mut found, mut bytes) = (0, 0);
    while let Some(frame) = body.frame().await {
        let part = frame.unwrap().into_data().unwrap();
        bytes += part.len();
        found += String::from_utf8_lossy(&part).matches("\"token\": ").count();
    }
    let growth = MEMORY.peak_usage().saturating_sub(before);
    assert_eq!(found, AUTHORIZATIONS);
    println!("{bytes} bytes were streamed with {growth} bytes of memory at the most");
    assert!(growth < MAX_GROWTH, "memory grew by {growth} bytes for a list of {bytes}");
    engine.store().close().await.unwrap();
}

/// Puts the authorizations directly into the store; the engine would take one commit for each.
async fn fill(engine: &Engine, done: &portcullis::SetupDone) {
    for chunk in 0..AUTHORIZATIONS / 1_000 {
        let mut lines = String::new();
        for i in 0..1_000 {
            let number = chunk * 1_000 + i + 1;
            writeln!(
                lines,
                r#"{{"type":"authorization","id":"{number:016x}","token":"name-{number}","orgID":"{}","userID":"{}","permissions":[{{"action":"write","resource":{{"type":"buckets","id":"{}","orgID":"{}"}}}}]}}"#,
                done.org.id, done.user.id, done.buckets[0].id, done.org.id
            )
            .unwrap();
        }
        let snapshot = Snapshot::read(lines.as_bytes()).unwrap();
        let puts = snapshot.records().map(|record| {
            let SnapshotRecord::Authorization(authorization) = record else { panic!("{record:?}") };
            Operation::Put {
                record: authorization.to_record(Revision::from_u128(1)).unwrap(),
                grants: authorization.grants(),
                expect: Expect::Absent,
            }
        });
        engine.store().commit(puts.collect::<Batch>()).await.unwrap();
    }
}
