//! The engine over this store, which fails at every call in turn.

use portcullis_testkit::{Harness, faults};

use crate::conformance::{CAPABILITIES, OnDisk};

#[test]
fn every_call_fails_in_every_way() {
    let harness = Harness::new(CAPABILITIES, async || OnDisk::new());
    portcullis_testkit::run(&harness, faults::every_call_fails_in_every_way);
}
