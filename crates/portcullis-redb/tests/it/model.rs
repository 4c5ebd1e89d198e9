//! The engine on redb answers as the model does, also when much happens at once.

use crate::conformance::{CAPABILITIES, OnDisk};

portcullis_testkit::engine_model! {
    capabilities: CAPABILITIES,
    fresh: async || OnDisk::new(),
}

portcullis_testkit::races! {
    capabilities: CAPABILITIES,
    fresh: async || OnDisk::new(),
}
