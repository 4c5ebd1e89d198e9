//! What callers of a store enjoy, on top of what one must implement.

use std::num::NonZeroUsize;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};

use super::codec::Entity;
use super::{
    Batch, Expect, Index, Lookup, Operation, Page, PageRequest, Record, Revision, Store, StoreError,
};
use crate::Id;

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
        let mut tries = 0;
        loop {
            tries += 1;
            let Some((mut entity, expected)) = self.find::<E>(id).await? else {
                return Ok(Modified::Missing);
            };
            change(&mut entity)?;
            let new = revision()?;
            let put = put(&entity, new, Expect::Revision(expected))?;
            let batch: Batch = requirements.iter().cloned().chain([put]).collect();
            match self.commit(batch).await {
                Ok(_) => return Ok(Modified::Done(entity)),
                Err(StoreError::Missing { kind, id: missing })
                    if (kind, missing) == (E::KIND, id) =>
                {
                    return Ok(Modified::Missing);
                }
                Err(error @ StoreError::Indeterminate { .. }) => {
                    // The revision is ours alone: if it is there, the change was made.
                    return match self.find::<E>(id).await {
                        Ok(Some((_, found))) if found == new => Ok(Modified::Done(entity)),
                        _ => Err(error.into()),
                    };
                }
                Err(StoreError::Conflict { .. }) if tries < MODIFY_TRIES => {}
                Err(error) => return Err(error.into()),
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
            let page = self.list(index, request).await;
            let next = page.as_ref().ok().and_then(|page| page.next);
            let next = next.map(|id| PageRequest { after: Some(id), limit: page_size });
            Some((page, next))
        })
        .boxed()
    }
}

impl<S: Store + ?Sized> StoreExt for S {}

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
