//! The contract of every store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use portcullis::store::Store;
use portcullis_testkit::postgres::absent;
use portcullis_testkit::{Capabilities, Fixture, async_trait};

use crate::common::{common_database, options};

/// A schema of its own in a shared database: to create and delete a database takes a second.
pub(crate) struct OnServer(String);

impl OnServer {
    pub(crate) async fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        Self(format!("schema_{}", NUMBER.fetch_add(1, Ordering::Relaxed)))
    }

    async fn open(&self) -> Arc<dyn Store> {
        let database = common_database().await;
        Arc::new(options().schema(self.0.as_str()).open(database.url()).await.unwrap())
    }
}

#[async_trait]
impl Fixture for OnServer {
    async fn store(&self) -> Arc<dyn Store> {
        self.open().await
    }

    async fn reopen(&self) -> Option<Arc<dyn Store>> {
        Some(self.open().await)
    }

    async fn second_handle(&self) -> Option<Arc<dyn Store>> {
        Some(self.open().await)
    }
}

pub(crate) const CAPABILITIES: Capabilities =
    Capabilities { survives_reopen: true, shared_between_handles: true };

portcullis_testkit::conformance! {
    capabilities: CAPABILITIES,
    fresh: async || OnServer::new().await,
    absent: absent(),
}
