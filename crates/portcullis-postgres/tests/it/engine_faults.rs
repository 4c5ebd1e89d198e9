//! The engine on this store, with a failure at every call in turn.

use portcullis_testkit::postgres::absent;
use portcullis_testkit::{Harness, faults};

use crate::conformance::{CAPABILITIES, OnServer};

#[test]
fn every_call_fails_in_every_way() {
    let harness = Harness::new(CAPABILITIES, async || OnServer::new().await).absent(absent());
    portcullis_testkit::run(&harness, faults::every_call_fails_in_every_way);
}
