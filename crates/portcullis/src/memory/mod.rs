//! Records in memory: the reference store, for tests and for hosts without persistence.

mod sorted;
mod table;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::store::{
    Batch, Change, Duplicate, Expect, Index, Kind, Lookup, Lookups, Operation, Page, PageRequest,
    Position, Record, Store, StoreError,
};
use crate::toolkit::Feed;
use crate::{GrantKey, Id, RandomUnavailable, SystemRandom};
use table::{Row, Table};

/// The most records of a page, which stays in the processor's cache until it is decoded.
const MAX_PAGE: usize = 128;

/// A store in memory. Its records are dropped with it.
///
/// Among a million authorizations with a few permissions each, one takes less than 700 bytes,
/// indexes included: bodies have a compact encoding, which reads share.
///
/// [`watch`](Store::watch) needs a runtime with its time driver enabled.
pub struct MemoryStore {
    tables: RwLock<Tables>,
    feed: Arc<Feed>,
}

#[derive(Default)]
struct Tables {
    of: BTreeMap<Kind, Table>,
    closed: bool,
}

impl MemoryStore {
    /// An empty store.
    ///
    /// # Errors
    ///
    /// [`RandomUnavailable`] when there is no randomness for its incarnation.
    pub fn new() -> Result<Self, RandomUnavailable> {
        let incarnation = Position::new_incarnation(&SystemRandom)?;
        Ok(Self { tables: RwLock::default(), feed: Feed::single_process(incarnation) })
    }

    fn read(&self) -> Result<RwLockReadGuard<'_, Tables>, StoreError> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        if tables.closed { Err(StoreError::closed()) } else { Ok(tables) }
    }

    fn write(&self) -> Result<RwLockWriteGuard<'_, Tables>, StoreError> {
        let tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        if tables.closed { Err(StoreError::closed()) } else { Ok(tables) }
    }
}

/// Ends the streams of watchers.
impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.feed.close();
    }
}

/// Records hold hashes and keys digests, so neither is shown.
impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("feed", &self.feed).finish_non_exhaustive()
    }
}

impl Tables {
    fn get(&self, lookup: Lookup<'_>) -> Option<Record> {
        let (Lookup::Id(kind, _) | Lookup::UniqueKey(kind, _)) = lookup;
        let table = self.of.get(&kind)?;
        let row = match lookup {
            Lookup::Id(_, id) => table.by_id(id),
            Lookup::UniqueKey(_, key) => table.by_unique_key(key),
        };
        row.map(|row| row.record(kind))
    }

    fn row(&self, kind: Kind, id: Id) -> Option<&Row> {
        self.of.get(&kind)?.by_id(id)
    }

    fn replace(&mut self, kind: Kind, id: Id, new: Stored) -> Stored {
        self.of.entry(kind).or_default().replace(kind, id, new)
    }

    /// Applies one operation, and returns the record that it replaced.
    fn apply(&mut self, operation: Operation) -> Result<Option<Replaced>, StoreError> {
        match operation {
            Operation::Put { record, grants, expect } => {
                let (kind, id) = (record.kind, record.id);
                match (expect, self.row(kind, id)) {
                    (Expect::Absent, None) => {}
                    (Expect::Absent, Some(_)) => {
                        return Err(StoreError::AlreadyExists {
                            kind,
                            id,
                            duplicate: Duplicate::Id,
                        });
                    }
                    (Expect::Revision(_), None) => return Err(StoreError::Missing { kind, id }),
                    (Expect::Revision(expected), Some(row)) => {
                        if row.revision() != expected {
                            return Err(StoreError::Conflict { kind, id });
                        }
                    }
                }
                let table = self.of.get(&kind);
                let holder = table.and_then(|table| table.holder_of(&record.unique_key));
                if holder.is_some_and(|holder| holder != id) {
                    return Err(StoreError::AlreadyExists {
                        kind,
                        id,
                        duplicate: Duplicate::UniqueKey,
                    });
                }
                let old = self.replace(kind, id, Some((record, grants)));
                Ok(Some(Replaced { kind, id, old }))
            }
            Operation::Delete { kind, id, expect } => match self.row(kind, id) {
                None => Err(StoreError::Missing { kind, id }),
                Some(row) if row.revision() != expect => Err(StoreError::Conflict { kind, id }),
                Some(_) => {
                    let old = self.replace(kind, id, None);
                    Ok(Some(Replaced { kind, id, old }))
                }
            },
            Operation::Require { kind, id } => match self.row(kind, id) {
                Some(_) => Ok(None),
                None => Err(StoreError::Missing { kind, id }),
            },
        }
    }

    /// Applies all operations, or undoes those that succeeded.
    fn apply_all(&mut self, operations: Vec<Operation>) -> Result<Vec<Replaced>, StoreError> {
        let mut done = Vec::new();
        for operation in operations {
            match self.apply(operation) {
                Ok(replaced) => done.extend(replaced),
                Err(error) => {
                    for Replaced { kind, id, old } in done.into_iter().rev() {
                        self.replace(kind, id, old);
                    }
                    return Err(error);
                }
            }
        }
        Ok(done)
    }
}

/// A record and its grant keys, if there is one.
type Stored = Option<(Record, Vec<GrantKey>)>;

struct Replaced {
    kind: Kind,
    id: Id,
    old: Stored,
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, lookup: Lookup<'_>) -> Result<Option<Record>, StoreError> {
        Ok(self.read()?.get(lookup))
    }

    async fn get_many(&self, lookups: Lookups<'_>) -> Result<Vec<Option<Record>>, StoreError> {
        let tables = self.read()?;
        Ok(lookups.iter().map(|lookup| tables.get(lookup)).collect())
    }

    async fn list(&self, index: Index, page: PageRequest) -> Result<Page, StoreError> {
        let tables = self.read()?;
        // No record has the id 0, so a list from the beginning begins after it.
        let after = page.after.unwrap_or(Id::from_u64(0));
        let table = tables.of.get(&index.kind());
        let limit = page.limit.get().min(MAX_PAGE);
        Ok(table.map(|table| table.page(index, after, limit)).unwrap_or_default())
    }

    async fn commit(&self, batch: Batch) -> Result<Position, StoreError> {
        let operations = batch.into_operations()?;
        let mut tables = self.write()?;
        let done = tables.apply_all(operations)?;
        // Still under the lock, so that changes are announced in the order they were made.
        Ok(self.feed.announce(done.iter().map(|replaced| (replaced.kind, replaced.id))))
    }

    async fn position(&self) -> Result<Position, StoreError> {
        let _open = self.read()?;
        Ok(self.feed.position())
    }

    async fn watch(
        &self,
        after: Position,
    ) -> Result<BoxStream<'static, Result<Change, StoreError>>, StoreError> {
        let _open = self.read()?;
        Ok(self.feed.watch(after))
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.feed.close();
        Ok(())
    }
}
