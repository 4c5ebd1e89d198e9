//! The engine on SQLite answers as the model does.

use crate::conformance::{CAPABILITIES, OnDisk};

portcullis_testkit::engine_model! {
    capabilities: CAPABILITIES,
    fresh: async || OnDisk::new(),
}
