//! The store of an engine, which forgets what it has changed.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Changes, Trust};
use crate::Id;
use crate::metrics::StoreMetrics;
use crate::store::{
    Batch, BoxStream, Change, Index, Kind, Lookup, Operation, Page, PageRequest, Position, Record,
    Store, StoreError,
};

/// Passes everything on, measures how long it takes, and calls into question what a commit may have
/// changed before it answers. Takes note of whether reads and changes succeed.
pub(crate) struct ForgettingStore {
    store: Arc<dyn Store>,
    trust: Arc<Trust>,
    changes: Arc<Changes>,
    metrics: StoreMetrics,
    read_only: bool,
}

impl ForgettingStore {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        trust: Arc<Trust>,
        changes: Arc<Changes>,
        metrics: StoreMetrics,
    ) -> Self {
        Self { store, trust, changes, metrics, read_only: false }
    }

    /// Refuses every commit, or none.
    pub(crate) fn read_only(self, read_only: bool) -> Self {
        Self { read_only, ..self }
    }

    fn read<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        match &answer {
            Ok(_) => self.trust.store_answered(),
            Err(StoreError::Unavailable { .. }) => self.trust.store_failed(),
            Err(_) => {}
        }
        answer
    }
}

impl fmt::Debug for ForgettingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.store, f)
    }
}

/// From so many on, most of everything is forgotten anyway.
const MANY: usize = 16_384;

/// Forgets the records when it is dropped: after the answer, whatever it is, and also when nobody
/// waits for one any more.
struct WhenAnswered<'a> {
    trust: &'a Trust,
    records: Vec<(Kind, Id)>,
}

impl Drop for WhenAnswered<'_> {
    fn drop(&mut self) {
        if self.records.len() > MANY {
            return self.trust.forget_everything();
        }
        for (kind, id) in self.records.drain(..) {
            self.trust.forget(kind, id);
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for ForgettingStore {
    async fn get(&self, lookup: Lookup<'_>) -> Result<Option<Record>, StoreError> {
        self.read(self.metrics.measure(&self.metrics.get, self.store.get(lookup)).await)
    }

    async fn list(&self, index: Index, page: PageRequest) -> Result<Page, StoreError> {
        self.read(self.metrics.measure(&self.metrics.list, self.store.list(index, page)).await)
    }

    async fn commit(&self, batch: Batch) -> Result<Position, StoreError> {
        if self.read_only {
            return Err(StoreError::ReadOnly);
        }
        let changed = batch.operations().iter().filter_map(|operation| match operation {
            Operation::Put { record, .. } => Some((record.kind, record.id)),
            Operation::Delete { kind, id, .. } => Some((*kind, *id)),
            Operation::Require { .. } => None,
        });
        let _forget = WhenAnswered { trust: &self.trust, records: changed.collect() };
        let outcome = self.metrics.measure(&self.metrics.commit, self.store.commit(batch)).await;
        self.changes.note(&outcome);
        outcome
    }

    async fn position(&self) -> Result<Position, StoreError> {
        self.store.position().await
    }

    async fn watch(
        &self,
        after: Position,
    ) -> Result<BoxStream<'static, Result<Change, StoreError>>, StoreError> {
        self.store.watch(after).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}
