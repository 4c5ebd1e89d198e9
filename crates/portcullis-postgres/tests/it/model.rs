//! The engine on PostgreSQL agrees with the model, also under concurrency.

use portcullis_testkit::Harness;
use portcullis_testkit::engine_model::{Settings, compare};
use portcullis_testkit::postgres::absent;

use crate::conformance::{CAPABILITIES, OnServer};

/// These take half a minute: each change waits for the disk, without a group commit to share that
/// wait. `PROPTEST_CASES` sets another number.
const RUNS: u32 = 20;

#[test]
fn the_engine_agrees_with_the_model() {
    if let Some(reason) = absent() {
        eprintln!("SKIPPED, nothing was tested: {reason}");
        return;
    }
    let settings = match std::env::var_os("PROPTEST_CASES") {
        Some(_) => Settings::from_env(),
        None => Settings::from_env().with_runs(RUNS),
    };
    let regressions = concat!(env!("CARGO_MANIFEST_DIR"), "/proptest-regressions/engine_model.txt");
    let harness = Harness::new(CAPABILITIES, async || OnServer::new().await);
    match compare(&harness, &settings.with_regressions(regressions)) {
        Ok(report) => eprintln!("engine model: {report}"),
        Err(disagreement) => panic!("{disagreement}"),
    }
}

portcullis_testkit::races! {
    capabilities: CAPABILITIES,
    fresh: async || OnServer::new().await,
    absent: absent(),
}
