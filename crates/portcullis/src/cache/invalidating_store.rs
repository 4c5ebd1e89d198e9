//! The store of an engine: it invalidates what it changes.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::{CommitHealth, Freshness};
use crate::Id;
use crate::metrics::StoreMetrics;
use crate::store::{
    Batch, BoxStream, Change, Index, Kind, Lookup, Lookups, Operation, Page, PageRequest, Position,
    Record, Store, StoreError,
};

/// Forwards every call, measures it, and records whether reads and commits succeed. A commit
/// invalidates what it may have changed before it returns.
pub(crate) struct InvalidatingStore {
    store: Arc<dyn Store>,
    freshness: Arc<Freshness>,
    commit_health: Arc<CommitHealth>,
    metrics: StoreMetrics,
    read_only: bool,
}

impl InvalidatingStore {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        freshness: Arc<Freshness>,
        commit_health: Arc<CommitHealth>,
        metrics: StoreMetrics,
    ) -> Self {
        Self { store, freshness, commit_health, metrics, read_only: false }
    }

    /// Sets whether every commit is refused.
    pub(crate) fn read_only(self, read_only: bool) -> Self {
        Self { read_only, ..self }
    }

    fn record_read<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        match &result {
            Ok(_) => self.freshness.store_succeeded(),
            Err(StoreError::Unavailable { .. }) => self.freshness.store_failed(),
            Err(_) => {}
        }
        result
    }
}

impl fmt::Debug for InvalidatingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.store, f)
    }
}

/// From so many records on, most epoch slots are invalidated anyway.
const INVALIDATE_ALL_FROM: usize = 16_384;

/// Invalidates the records when it is dropped: after the commit, whatever its outcome, and also when
/// the commit is dropped.
struct InvalidateOnDrop<'a> {
    freshness: &'a Freshness,
    records: Vec<(Kind, Id)>,
}

impl Drop for InvalidateOnDrop<'_> {
    fn drop(&mut self) {
        if self.records.len() > INVALIDATE_ALL_FROM {
            return self.freshness.invalidate_all();
        }
        for (kind, id) in self.records.drain(..) {
            self.freshness.invalidate(kind, id);
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for InvalidatingStore {
    async fn get(&self, lookup: Lookup<'_>) -> Result<Option<Record>, StoreError> {
        self.record_read(self.metrics.measure(&self.metrics.get, self.store.get(lookup)).await)
    }

    async fn get_many(&self, lookups: Lookups<'_>) -> Result<Vec<Option<Record>>, StoreError> {
        let measured = self.metrics.measure(&self.metrics.get_many, self.store.get_many(lookups));
        self.record_read(measured.await)
    }

    async fn list(&self, index: Index, page: PageRequest) -> Result<Page, StoreError> {
        self.record_read(
            self.metrics.measure(&self.metrics.list, self.store.list(index, page)).await,
        )
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
        let _invalidate =
            InvalidateOnDrop { freshness: &self.freshness, records: changed.collect() };
        let outcome = self.metrics.measure(&self.metrics.commit, self.store.commit(batch)).await;
        self.commit_health.record(&outcome);
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
