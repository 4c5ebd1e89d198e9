//! The engine on SQLite responds as the model does, also under concurrency.

use crate::conformance::{CAPABILITIES, OnDisk};

portcullis_testkit::engine_model! {
    capabilities: CAPABILITIES,
    fresh: async || OnDisk::new(),
}

portcullis_testkit::races! {
    capabilities: CAPABILITIES,
    fresh: async || OnDisk::new(),
}
