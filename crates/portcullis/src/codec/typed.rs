//! What callers of a store enjoy, on top of what one must implement.

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
    /// Returns what has the id, with its revision.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`], and those of [`Store::get`].
    async fn find<E: Entity>(&self, id: Id) -> Result<Option<(E, Revision)>, StoreError> {
        decode(self.get(Lookup::Id(E::KIND, id)).await?)
    }

    /// Returns what has the unique key, with its revision.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`], and those of [`Store::get`].
    async fn find_by_key<E: Entity>(&self, key: &str) -> Result<Option<(E, Revision)>, StoreError> {
        decode(self.get(Lookup::UniqueKey(E::KIND, key)).await?)
    }

    /// Commits the batch. When nobody knows whether it was committed, looks for what it puts: the
    /// revision is this batch's alone, so if it is there, so is all the rest.
    ///
    /// # Errors
    ///
    /// Those of [`Store::commit`]; [`StoreError::Indeterminate`] when what it puts is not there, or
    /// cannot be read, and may still come.
    async fn commit_resolving(&self, batch: Batch) -> Result<(), StoreError> {
        let witness = Witness::of(&batch);
        match (self.commit(batch).await, witness) {
            (Ok(_), _) => Ok(()),
            (Err(error @ StoreError::Indeterminate { .. }), Some(witness)) => {
                let found = self.get(Lookup::Id(witness.kind, witness.id)).await;
                match found.map(|record| record.map(|record| record.revision)) {
                    Ok(revision) if revision == witness.revision => Ok(()),
                    _ => Err(error),
                }
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Reads what has the id, changes it, puts it back, and starts over while others change it at
    /// the same time. The revision for each try comes from `revision`.
    ///
    /// `change` may refuse: nothing is written then. The `requirements` go into the same commit
    /// before the change. A commit of which nobody knows whether it
    /// happened is looked up by its revision.
    ///
    /// # Errors
    ///
    /// What `change` or `revision` refuses with; [`StoreError::Conflict`] after
    /// [`MODIFY_TRIES`] tries; [`StoreError::Corrupt`]; those of [`Store::commit`].
    async fn modify<E, X, F, R>(
        &self,
        id: Id,
        change: F,
        requirements: &[Operation],
        revision: R,
    ) -> Result<Modified<E>, X>
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
            None => Ok(Modified::Missing),
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
        mut revision: R,
    ) -> Result<Modified<E>, X>
    where
        E: Entity,
        X: From<StoreError> + Send,
        F: FnMut(&mut E) -> Result<(), X> + Send,
        R: FnMut() -> Result<Revision, X> + Send,
    {
        let id = current.id();
        let (mut entity, mut expected) = (current, read);
        let mut tries = 0;
        loop {
            tries += 1;
            change(&mut entity)?;
            let new = revision()?;
            let put = put(&entity, new, Expect::Revision(expected))?;
            let batch: Batch = requirements.iter().cloned().chain([put]).collect();
            match self.commit_resolving(batch).await {
                Ok(()) => return Ok(Modified::Done(entity)),
                Err(StoreError::Missing { kind, id: missing })
                    if (kind, missing) == (E::KIND, id) =>
                {
                    return Ok(Modified::Missing);
                }
                Err(StoreError::Conflict { .. }) if tries < MODIFY_TRIES => {}
                Err(error) => return Err(error.into()),
            }
            match self.find::<E>(id).await? {
                Some(found) => (entity, expected) = found,
                None => return Ok(Modified::Missing),
            }
        }
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
                // However many pages are ready at once, others go on.
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

/// What tells that a batch was committed.
struct Witness {
    kind: Kind,
    id: Id,
    /// The revision that is there then; none if the record is gone.
    revision: Option<Revision>,
}

impl Witness {
    /// A record that is put, or else one that is deleted; there is none if nothing is changed.
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

/// How often [`StoreExt::modify`] starts over before it gives up.
pub const MODIFY_TRIES: u32 = 64;

/// What became of a [`StoreExt::modify`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Modified<E> {
    /// It was changed, and is this now.
    Done(E),
    /// There is none, or it was deleted meanwhile.
    Missing,
}

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
