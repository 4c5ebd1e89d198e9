//! Records in memory: the reference store, for tests and for hosts that keep nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::{
    Batch, Change, Expect, Feed, Index, Kind, Lookup, Operation, Page, PageRequest, Position,
    Record, Store, StoreError, Taken,
};
use crate::{GrantKey, Id, OrgId, RandomUnavailable, SystemRandom, UserId};

/// Keeps records in memory; they are gone with it.
///
/// Watching it needs a runtime with its time driver enabled.
pub struct MemoryStore {
    tables: RwLock<Tables>,
    feed: Arc<Feed>,
}

#[derive(Default)]
struct Tables {
    rows: BTreeMap<(Kind, Id), Row>,
    by_unique_key: HashMap<Kind, HashMap<Box<str>, Id>>,
    by_org: BTreeSet<(Kind, OrgId, Id)>,
    by_user: BTreeSet<(Kind, UserId, Id)>,
    by_grant: BTreeSet<(Kind, GrantKey, Id)>,
    closed: bool,
}

struct Row {
    record: Record,
    grants: Vec<GrantKey>,
}

impl MemoryStore {
    /// An empty store.
    ///
    /// # Errors
    ///
    /// [`RandomUnavailable`] when there is no randomness for its incarnation.
    pub fn new() -> Result<Self, RandomUnavailable> {
        let incarnation = Position::new_incarnation(&SystemRandom)?;
        Ok(Self { tables: RwLock::default(), feed: Feed::of_single_process(incarnation) })
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

/// Those who watch have nothing to wait for any more.
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
    fn row(&self, kind: Kind, id: Id) -> Option<&Row> {
        self.rows.get(&(kind, id))
    }

    /// Puts the row in place of the one that is there, with everything that finds it.
    fn replace(&mut self, kind: Kind, id: Id, new: Option<Row>) -> Option<Row> {
        let old = self.rows.remove(&(kind, id));
        if let Some(Row { record, grants }) = &old {
            let keys = self.by_unique_key.entry(kind).or_default();
            keys.remove(record.unique_key.as_str());
            record.org.map(|org| self.by_org.remove(&(kind, org, id)));
            record.user.map(|user| self.by_user.remove(&(kind, user, id)));
            for grant in grants {
                self.by_grant.remove(&(kind, *grant, id));
            }
        }
        if let Some(row) = new {
            let Row { record, grants } = &row;
            let keys = self.by_unique_key.entry(kind).or_default();
            keys.insert(record.unique_key.as_str().into(), id);
            record.org.map(|org| self.by_org.insert((kind, org, id)));
            record.user.map(|user| self.by_user.insert((kind, user, id)));
            self.by_grant.extend(grants.iter().map(|grant| (kind, *grant, id)));
            self.rows.insert((kind, id), row);
        }
        old
    }

    /// Carries out one operation; returns what it replaced.
    fn apply(&mut self, operation: Operation) -> Result<Option<Replaced>, StoreError> {
        match operation {
            Operation::Put { record, grants, expect } => {
                let (kind, id) = (record.kind, record.id);
                match (expect, self.row(kind, id)) {
                    (Expect::Absent, None) => {}
                    (Expect::Absent, Some(_)) => {
                        return Err(StoreError::AlreadyExists { kind, id, taken: Taken::Id });
                    }
                    (Expect::Revision(_), None) => return Err(StoreError::Missing { kind, id }),
                    (Expect::Revision(expected), Some(row)) => {
                        if row.record.revision != expected {
                            return Err(StoreError::Conflict { kind, id });
                        }
                    }
                }
                let holder = self
                    .by_unique_key
                    .get(&kind)
                    .and_then(|keys| keys.get(record.unique_key.as_str()));
                if holder.is_some_and(|holder| *holder != id) {
                    return Err(StoreError::AlreadyExists { kind, id, taken: Taken::UniqueKey });
                }
                let old = self.replace(kind, id, Some(Row { record, grants }));
                Ok(Some(Replaced { kind, id, old }))
            }
            Operation::Delete { kind, id, expect } => match self.row(kind, id) {
                None => Err(StoreError::Missing { kind, id }),
                Some(row) if row.record.revision != expect => {
                    Err(StoreError::Conflict { kind, id })
                }
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

    /// Carries out all operations, or undoes those that went through.
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

    fn page(&self, ids: impl Iterator<Item = Id>, kind: Kind, limit: usize) -> Page {
        let mut ids = ids.peekable();
        let mut page = Page::default();
        let mut bytes = 0;
        while page.records.len() < limit && bytes < Page::BYTES {
            let Some(row) = ids.next().and_then(|id| self.row(kind, id)) else { return page };
            bytes += row.record.body.len();
            page.records.push(row.record.clone());
        }
        if ids.peek().is_some() {
            page.next = page.records.last().map(|last| last.id);
        }
        page
    }
}

struct Replaced {
    kind: Kind,
    id: Id,
    old: Option<Row>,
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, lookup: Lookup<'_>) -> Result<Option<Record>, StoreError> {
        let tables = self.read()?;
        let row = match lookup {
            Lookup::Id(kind, id) => tables.row(kind, id),
            Lookup::UniqueKey(kind, key) => tables
                .by_unique_key
                .get(&kind)
                .and_then(|keys| keys.get(key))
                .and_then(|id| tables.row(kind, *id)),
        };
        Ok(row.map(|row| row.record.clone()))
    }

    async fn list(&self, index: Index, page: PageRequest) -> Result<Page, StoreError> {
        use std::ops::Bound::{Excluded, Included, Unbounded};

        let tables = self.read()?;
        let limit = page.limit.get();
        let kind = index.kind();
        // No record has the id 0, so a list from the beginning begins after it.
        let after = page.after.unwrap_or(Id::from_u64(0));
        let last = Id::from_u64(u64::MAX);
        Ok(match index {
            Index::All(_) => {
                let rows = tables.rows.range((Excluded((kind, after)), Included((kind, last))));
                tables.page(rows.map(|((_, id), _)| *id), kind, limit)
            }
            Index::Org(_, org) => {
                let from = (Excluded((kind, org, after)), Included((kind, org, last)));
                tables.page(tables.by_org.range(from).map(|(.., id)| *id), kind, limit)
            }
            Index::User(_, user) => {
                let from = (Excluded((kind, user, after)), Included((kind, user, last)));
                tables.page(tables.by_user.range(from).map(|(.., id)| *id), kind, limit)
            }
            Index::Grant(_, grant) => {
                let from = (Excluded((kind, grant, after)), Unbounded);
                let ids = tables.by_grant.range(from);
                let ids = ids.take_while(|(k, g, _)| (*k, *g) == (kind, grant));
                tables.page(ids.map(|(.., id)| *id), kind, limit)
            }
        })
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
