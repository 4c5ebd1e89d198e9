//! Changing: batches of operations, and rebuilding the entries.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use super::read::unreadable;
use super::value::{self, Stored};
use super::{Keyspace, Read, Scan, Write, keys, list};
use crate::store::{
    Duplicate, Expect, Index, Kind, Operation, Record, Revision, StoreError, grants_of,
};
use crate::toolkit::pages;
use crate::{GrantKey, Id};

/// How many records a rebuild reads at a time.
const PAGE: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

/// Changes that are not written yet.
///
/// It reads as if they were: an overlay on the tables, or on another overlay. A batch that is refused is
/// dropped with its overlay.
#[derive(Debug)]
pub struct Overlay<'a, R> {
    below: &'a R,
    edits: Edits,
}

/// New values by key; `None` removes the key.
#[derive(Debug, Default)]
pub struct Edits {
    records: KeyspaceEdits,
    unique: KeyspaceEdits,
    index: KeyspaceEdits,
}

type KeyspaceEdits = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

impl Edits {
    /// Returns the edits of the keyspace in the order of the keys.
    pub fn of(&self, keyspace: Keyspace) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.keyspace(keyspace).iter().map(|(key, value)| (key.as_slice(), value.as_deref()))
    }

    /// Tells whether there are none.
    pub fn is_empty(&self) -> bool {
        Keyspace::ALL.into_iter().all(|keyspace| self.keyspace(keyspace).is_empty())
    }

    /// Writes them.
    ///
    /// # Errors
    ///
    /// Those of the engine; some of the edits may have been written.
    pub fn write_to(&self, tables: &mut impl Write) -> Result<(), StoreError> {
        for keyspace in Keyspace::ALL {
            for (key, value) in self.of(keyspace) {
                tables.put(keyspace, key, value)?;
            }
        }
        Ok(())
    }

    fn keyspace(&self, keyspace: Keyspace) -> &KeyspaceEdits {
        match keyspace {
            Keyspace::Records => &self.records,
            Keyspace::Unique => &self.unique,
            Keyspace::Index => &self.index,
        }
    }

    fn keyspace_mut(&mut self, keyspace: Keyspace) -> &mut KeyspaceEdits {
        match keyspace {
            Keyspace::Records => &mut self.records,
            Keyspace::Unique => &mut self.unique,
            Keyspace::Index => &mut self.index,
        }
    }
}

impl<'a, R: Read> Overlay<'a, R> {
    /// Creates an overlay without edits.
    pub fn on(below: &'a R) -> Self {
        Self { below, edits: Edits::default() }
    }

    /// Returns the edits.
    pub fn into_edits(self) -> Edits {
        self.edits
    }
}

impl<R: Read> Read for Overlay<'_, R> {
    fn get<T>(
        &self,
        keyspace: Keyspace,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, StoreError> {
        match self.edits.keyspace(keyspace).get(key) {
            Some(value) => Ok(value.as_deref().map(read)),
            None => self.below.get(keyspace, key, read),
        }
    }
}

impl<R: Read> Write for Overlay<'_, R> {
    fn put(
        &mut self,
        keyspace: Keyspace,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        self.edits.keyspace_mut(keyspace).insert(key.to_vec(), value.map(<[u8]>::to_vec));
        Ok(())
    }
}

/// Applies the operations of a batch in their order, and returns the records that were changed.
///
/// # Errors
///
/// The first operation that cannot be carried out decides, as in
/// [`Store::commit`](crate::store::Store::commit); those before it were applied. And those of the engine.
pub fn apply(tables: &mut impl Write, batch: &[Operation]) -> Result<Vec<(Kind, Id)>, StoreError> {
    let mut changed = Vec::with_capacity(batch.len());
    for operation in batch {
        match operation {
            Operation::Put { record, grants, expect } => {
                let (kind, id) = (record.kind, record.id);
                let before = stored(tables, kind, id)?;
                match expect {
                    Expect::Absent if before.is_some() => {
                        return Err(StoreError::AlreadyExists {
                            kind,
                            id,
                            duplicate: Duplicate::Id,
                        });
                    }
                    Expect::Absent => {}
                    Expect::Revision(revision) => check(before.as_ref(), kind, id, *revision)?,
                }
                let owner = keys::unique(kind, record.unique_key.as_str());
                let owner = tables.get(Keyspace::Unique, &owner, keys::parse_id)?;
                if owner.is_some_and(|owner| owner != Some(id)) {
                    return Err(StoreError::AlreadyExists {
                        kind,
                        id,
                        duplicate: Duplicate::UniqueKey,
                    });
                }
                exchange(tables, (kind, id), before, Some((record, grants)))?;
                changed.push((kind, id));
            }
            Operation::Delete { kind, id, expect } => {
                let before = stored(tables, *kind, *id)?;
                check(before.as_ref(), *kind, *id, *expect)?;
                exchange(tables, (*kind, *id), before, None)?;
                changed.push((*kind, *id));
            }
            Operation::Require { kind, id } => {
                let (kind, id) = (*kind, *id);
                if tables.get(Keyspace::Records, &keys::record(kind, id), |_| ())?.is_none() {
                    return Err(StoreError::Missing { kind, id });
                }
            }
        }
    }
    Ok(changed)
}

fn check(before: Option<&Stored>, kind: Kind, id: Id, expect: Revision) -> Result<(), StoreError> {
    match before {
        None => Err(StoreError::Missing { kind, id }),
        Some(before) if before.record.revision != expect => Err(StoreError::Conflict { kind, id }),
        Some(_) => Ok(()),
    }
}

fn stored(tables: &impl Read, kind: Kind, id: Id) -> Result<Option<Stored>, StoreError> {
    let read = |value: &[u8]| value::read(kind, id, value);
    match tables.get(Keyspace::Records, &keys::record(kind, id), read)? {
        None => Ok(None),
        Some(stored) => stored.map(Some).ok_or_else(|| unreadable(kind, id)),
    }
}

/// Replaces the record with the id by this one, or by none, together with its unique key and entries.
///
/// # Errors
///
/// [`StoreError::Corrupt`] when the former record cannot be read, and those of the engine.
pub fn replace(
    tables: &mut impl Write,
    kind: Kind,
    id: Id,
    new: Option<(&Record, &[GrantKey])>,
) -> Result<(), StoreError> {
    let before = stored(tables, kind, id)?;
    exchange(tables, (kind, id), before, new)
}

fn exchange(
    tables: &mut impl Write,
    (kind, id): (Kind, Id),
    before: Option<Stored>,
    new: Option<(&Record, &[GrantKey])>,
) -> Result<(), StoreError> {
    let former = before.iter().flat_map(|stored| entries_of(&stored.record, &stored.grants));
    let mut gone: BTreeSet<_> = former.collect();
    for entry in new.iter().flat_map(|(record, grants)| entries_of(record, grants)) {
        // Most changes leave keys and entries as they are.
        if !gone.remove(&entry) {
            put_entry(tables, &entry, id)?;
        }
    }
    for (keyspace, key) in gone {
        tables.put(keyspace, &key, None)?;
    }
    let value = new.map(|(record, grants)| value::write(record, grants));
    tables.put(Keyspace::Records, &keys::record(kind, id), value.as_deref())
}

/// The keys by which the record is found, besides its id.
fn entries_of(record: &Record, grants: &[GrantKey]) -> Vec<(Keyspace, Vec<u8>)> {
    let Record { kind, id, org, user, .. } = *record;
    let indexes = [org.map(|org| Index::Org(kind, org)), user.map(|user| Index::User(kind, user))];
    let grants = grants.iter().map(|grant| Index::Grant(kind, *grant));
    let prefixes = indexes.into_iter().flatten().chain(grants).filter_map(keys::entries_of);
    let entries = prefixes.map(|prefix| (Keyspace::Index, keys::with_id(prefix, id)));
    let unique = keys::unique(kind, record.unique_key.as_str());
    std::iter::once((Keyspace::Unique, unique)).chain(entries).collect()
}

fn put_entry(
    tables: &mut impl Write,
    (keyspace, key): &(Keyspace, Vec<u8>),
    id: Id,
) -> Result<(), StoreError> {
    let id = id.as_u64().to_be_bytes();
    let value: &[u8] = if *keyspace == Keyspace::Unique { &id } else { &[] };
    tables.put(*keyspace, key, Some(value))
}

/// Writes the unique keys and index entries of all records to tables without any. Of two records with
/// the same unique key, the one with the lower id gets it.
///
/// # Errors
///
/// Those of the engine.
pub fn rebuild(records: &impl Scan, to: &mut impl Write) -> Result<(), StoreError> {
    for kind in Kind::ALL {
        for page in pages(PAGE, |page| list(records, Index::All(kind), page)) {
            for record in &page?.records {
                for entry in entries_of(record, &grants_of(record).unwrap_or_default()) {
                    let (keyspace, key) = &entry;
                    if *keyspace != Keyspace::Unique || to.get(*keyspace, key, |_| ())?.is_none() {
                        put_entry(to, &entry, record.id)?;
                    }
                }
            }
        }
    }
    Ok(())
}
