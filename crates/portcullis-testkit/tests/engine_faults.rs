//! The engine on a memory store, with a failure at every call in turn.

use std::sync::Arc;

use portcullis::store::MemoryStore;
use portcullis_testkit::{Capabilities, Harness, faults};

#[test]
fn every_call_fails_in_every_way() {
    let none = Capabilities { survives_reopen: false, shared_between_handles: false };
    let harness = Harness::new(none, async || Arc::new(MemoryStore::new().unwrap()));
    portcullis_testkit::run(&harness, faults::every_call_fails_in_every_way);
}
