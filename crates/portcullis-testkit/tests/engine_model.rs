//! The engine on a memory store agrees with the model.

use std::sync::Arc;

use portcullis::store::MemoryStore;
use portcullis_testkit::Capabilities;

portcullis_testkit::engine_model! {
    capabilities: Capabilities { survives_reopen: false, shared_between_handles: false },
    fresh: async || Arc::new(MemoryStore::new().expect("a random incarnation")),
}
