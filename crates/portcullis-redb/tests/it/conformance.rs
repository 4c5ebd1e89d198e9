//! The contract that every store fulfils.

use std::sync::Arc;

use portcullis::store::Store;
use portcullis_redb::RedbStore;
use portcullis_testkit::{Capabilities, Fixture, async_trait};
use tempfile::TempDir;

pub(crate) struct OnDisk(TempDir);

impl OnDisk {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> Arc<dyn Store> {
        Arc::new(RedbStore::open(self.0.path().join("portcullis.redb")).unwrap())
    }
}

#[async_trait]
impl Fixture for OnDisk {
    async fn store(&self) -> Arc<dyn Store> {
        self.open()
    }

    async fn reopen(&self) -> Option<Arc<dyn Store>> {
        Some(self.open())
    }
}

pub(crate) const CAPABILITIES: Capabilities =
    Capabilities { survives_reopen: true, shared_between_handles: false };

portcullis_testkit::conformance! {
    capabilities: CAPABILITIES,
    fresh: async || OnDisk::new(),
}
