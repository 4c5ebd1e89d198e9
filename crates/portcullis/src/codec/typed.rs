//! Typed access to a store: entities in place of records.

use std::num::NonZeroUsize;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};

use super::Entity;
use crate::Id;
use crate::store::{
    Batch, Expect, Index, Kind, Lookup, Operation, Page, PageRequest, Record, Revision, Store,
    StoreError,
};

/// Typed and streaming access to any [`Store`].
#[async_trait]
pub trait StoreExt: Store {
    /// Returns the entity with the id, and its revision.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`], and those of [`Store::get`].
    async fn find<E: Entity>(&self, id: Id) -> Result<Option<(E, Revision)>, StoreError> {
        decode(self.get(Lookup::Id(E::KIND, id)).await?)
    }

    /// Returns the entity with the unique key, and its revision.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`], and those of [`Store::get`].
    async fn find_by_key<E: Entity>(&self, key: &str) -> Result<Option<(E, Revision)>, StoreError> {
        decode(self.get(Lookup::UniqueKey(E::KIND, key)).await?)
    }

    /// Commits the batch, and resolves an ambiguous commit: it reads a record that the batch changes.
    /// Revisions are unique, so if the record has the revision of the batch, the batch was committed.
    ///
    /// # Errors
    ///
    /// Those of [`Store::commit`]; [`StoreError::Indeterminate`] when the record does not have the
    /// revision, or cannot be read: the commit may still take effect.
    async fn commit_resolving(&self, batch: Batch) -> Result<(), StoreError> {
        let check = CommitCheck::of(&batch);
        match (self.commit(batch).await, check) {
            (Ok(_), _) => Ok(()),
            (Err(error @ StoreError::Indeterminate { .. }), Some(check)) => {
                let found = self.get(Lookup::Id(check.kind, check.id)).await;
                match found.map(|record| record.map(|record| record.revision)) {
                    Ok(revision) if revision == check.revision => Ok(()),
                    _ => Err(error),
                }
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Reads the entity with the id, changes it, and puts it back. Retries after a concurrent change,
    /// each time with a revision from `revision`. Returns the changed entity, or `None` if it does not
    /// exist or was deleted concurrently.
    ///
    /// If `change` fails, nothing is written. The `requirements` precede the put in the same commit.
    /// An ambiguous commit is [resolved](StoreExt::commit_resolving).
    ///
    /// # Errors
    ///
    /// Those of `change` and `revision`; [`StoreError::Conflict`] after [`MODIFY_TRIES`] tries; [`StoreError::Corrupt`]; those of [`Store::commit`].
    async fn modify<E, X, F, R>(
        &self,
        id: Id,
        change: F,
        requirements: &[Operation],
        revision: R,
    ) -> Result<Option<E>, X>
    where
        E: Entity,
        X: From<StoreError> + Send,
        F: FnMut(&mut E) -> Result<(), X> + Send,
        R: FnMut() -> Result<Revision, X> + Send,
    {
        match self.find::<E>(id).await? {
            Some((current, read)) => {
                self.modify_from(current, read, change, requirements, revision).await
            }
            None => Ok(None),
        }
    }

    /// Modifies as [`StoreExt::modify`] does, beginning with what was read already: `current`, at
    /// the revision `read`.
    ///
    /// # Errors
    ///
    /// Those of [`StoreExt::modify`].
    async fn modify_from<E, X, F, R>(
        &self,
        current: E,
        read: Revision,
        mut change: F,
        requirements: &[Operation],
        revision: R,
    ) -> Result<Option<E>, X>
    where
        E: Entity,
        X: From<StoreError> + Send,
        F: FnMut(&mut E) -> Result<(), X> + Send,
        R: FnMut() -> Result<Revision, X> + Send,
    {
        let change = |entity: &mut E, _| change(entity);
        let changed = modify_versioned(self, (current, read), change, requirements, revision).await;
        Ok(changed?.map(|(entity, _)| entity))
    }

    /// Streams the pages of an index from the beginning.
    ///
    /// # Errors
    ///
    /// Those of [`Store::list`]; the stream ends after one.
    fn pages(&self, index: Index, page_size: NonZeroUsize) -> BoxStream<'_, PageResult> {
        let first = Some(PageRequest { after: None, limit: page_size });
        stream::unfold(first, move |request| async move {
            let request = request?;
            if request.after.is_some() {
                // Other tasks run in between, however many pages are ready.
                tokio::task::yield_now().await;
            }
            let page = self.list(index, request).await;
            let next = page.as_ref().ok().and_then(|page| page.next);
            let next = next.map(|id| PageRequest { after: Some(id), limit: page_size });
            Some((page, next))
        })
        .boxed()
    }
}

impl<S: Store + ?Sized> StoreExt for S {}

/// Modifies as [`StoreExt::modify_from`] does. `change` receives also the revision that it replaces, before
/// each try: what it refuses is not written over. Returns the changed entity with its new revision.
pub(crate) async fn modify_versioned<S, E, X, F, R>(
    store: &S,
    (mut entity, mut replaced): (E, Revision),
    mut change: F,
    requirements: &[Operation],
    mut revision: R,
) -> Result<Option<(E, Revision)>, X>
where
    S: Store + ?Sized,
    E: Entity,
    X: From<StoreError> + Send,
    F: FnMut(&mut E, Revision) -> Result<(), X> + Send,
    R: FnMut() -> Result<Revision, X> + Send,
{
    let id = entity.id();
    let mut tries = 0;
    loop {
        tries += 1;
        change(&mut entity, replaced)?;
        let new = revision()?;
        let put = put(&entity, new, Expect::Revision(replaced))?;
        let batch: Batch = requirements.iter().cloned().chain([put]).collect();
        match store.commit_resolving(batch).await {
            Ok(()) => return Ok(Some((entity, new))),
            Err(StoreError::Missing { kind, id: missing }) if (kind, missing) == (E::KIND, id) => {
                return Ok(None);
            }
            Err(StoreError::Conflict { .. }) if tries < MODIFY_TRIES => {}
            Err(error) => return Err(error.into()),
        }
        match store.find::<E>(id).await? {
            Some(found) => (entity, replaced) = found,
            None => return Ok(None),
        }
    }
}

/// How to find out whether a batch was committed.
struct CommitCheck {
    kind: Kind,
    id: Id,
    /// The revision of the record after the commit; `None` if the commit deletes it.
    revision: Option<Revision>,
}

impl CommitCheck {
    /// Checks a record that the batch puts, or else one that it deletes. `None` if it changes nothing.
    fn of(batch: &Batch) -> Option<Self> {
        let mut deleted = None;
        for operation in batch.operations() {
            match operation {
                Operation::Put { record, .. } => {
                    let revision = Some(record.revision);
                    return Some(Self { kind: record.kind, id: record.id, revision });
                }
                Operation::Delete { kind, id, .. } => {
                    deleted = Some(Self { kind: *kind, id: *id, revision: None });
                }
                Operation::Require { .. } => {}
            }
        }
        deleted
    }
}

type PageResult = Result<Page, StoreError>;

/// The most tries of [`StoreExt::modify`].
pub const MODIFY_TRIES: u32 = 64;

/// Makes the operation that puts the entity.
pub(crate) fn put<E: Entity>(
    entity: &E,
    revision: Revision,
    expect: Expect,
) -> Result<Operation, StoreError> {
    let record = entity.to_record(revision)?;
    Ok(Operation::Put { record, grants: entity.grants(), expect })
}

fn decode<E: Entity>(record: Option<Record>) -> Result<Option<(E, Revision)>, StoreError> {
    record.map(|record| Ok((E::from_record(&record)?, record.revision))).transpose()
}
