//! The engine over this store, which fails at every call in turn.

use portcullis_testkit::{Capabilities, Harness, faults};

use crate::conformance::OnDisk;

#[test]
fn every_call_fails_in_every_way() {
    let capabilities = Capabilities { survives_reopen: true, shared_between_handles: false };
    let harness = Harness::new(capabilities, async || OnDisk(tempfile::tempdir().unwrap()));
    portcullis_testkit::run(&harness, faults::every_call_fails_in_every_way);
}
