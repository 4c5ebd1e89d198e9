//! The contract that every store fulfils.

use std::sync::Arc;

use portcullis::store::Store;
use portcullis_testkit::postgres::{Database, absent};
use portcullis_testkit::{Capabilities, Fixture, async_trait};

use crate::common::{database, open};

pub(crate) struct OnServer(Database);

impl OnServer {
    pub(crate) async fn new() -> Self {
        Self(database().await)
    }

    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(open(&self.0).await)
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
