//! The engine on PostgreSQL answers as the model does, also when much happens at once.

use portcullis_testkit::postgres::absent;

use crate::conformance::{CAPABILITIES, OnServer};

portcullis_testkit::engine_model! {
    capabilities: CAPABILITIES,
    fresh: async || OnServer::new().await,
    absent: absent(),
}

portcullis_testkit::races! {
    capabilities: CAPABILITIES,
    fresh: async || OnServer::new().await,
    absent: absent(),
}
