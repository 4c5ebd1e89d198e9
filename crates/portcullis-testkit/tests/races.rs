//! Races of engines on a memory store.

use std::sync::Arc;

use portcullis::store::MemoryStore;
use portcullis_testkit::Capabilities;

portcullis_testkit::races! {
    capabilities: Capabilities { survives_reopen: false, shared_between_handles: false },
    fresh: async || Arc::new(MemoryStore::new().expect("a random incarnation")),
}
