//! The write set of a group of batches, computed before anything is written.
//!
//! There is one writer, so its reads stay valid until it writes. Refused batches are not part of the
//! write set, and the transaction of sled has nothing to decide.

use std::collections::{BTreeMap, BTreeSet};

use portcullis::store::{Duplicate, Expect, Index, Kind, Operation, Record, Revision, StoreError};
use portcullis::{GrantKey, Id};

use crate::error::Failure;
use crate::keys;
use crate::trees::{TreeId, Trees};
use crate::value::{self, Stored};

/// New values by tree and key; `None` removes the key.
#[derive(Debug, Default)]
pub(crate) struct WriteSet {
    records: TreeWrites,
    unique: TreeWrites,
    index: TreeWrites,
}

pub(crate) type TreeWrites = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

impl WriteSet {
    pub(crate) fn of(&self, tree: TreeId) -> &TreeWrites {
        match tree {
            TreeId::Records => &self.records,
            TreeId::Unique => &self.unique,
            TreeId::Index => &self.index,
        }
    }

    fn of_mut(&mut self, tree: TreeId) -> &mut TreeWrites {
        match tree {
            TreeId::Records => &mut self.records,
            TreeId::Unique => &mut self.unique,
            TreeId::Index => &mut self.index,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        TreeId::ALL.into_iter().all(|tree| self.of(tree).is_empty())
    }

    /// Adds later writes.
    fn extend(&mut self, later: Self) {
        self.records.extend(later.records);
        self.unique.extend(later.unique);
        self.index.extend(later.index);
    }
}

/// Builds the write set of a group.
#[derive(Debug)]
pub(crate) struct WriteBuilder<'a> {
    trees: &'a Trees,
    write_set: WriteSet,
}

impl<'a> WriteBuilder<'a> {
    pub(crate) fn on(trees: &'a Trees) -> Self {
        Self { trees, write_set: WriteSet::default() }
    }

    pub(crate) fn into_write_set(self) -> WriteSet {
        self.write_set
    }

    /// Adds the changes of the batch, and returns the changed records. Adds nothing if the batch is
    /// refused.
    pub(crate) fn add(&mut self, batch: &[Operation]) -> Result<Vec<(Kind, Id)>, StoreError> {
        let mut step =
            SingleBatch { before: self, write_set: WriteSet::default(), changed: Vec::new() };
        for operation in batch {
            step.apply(operation)?;
        }
        let SingleBatch { write_set, changed, .. } = step;
        self.write_set.extend(write_set);
        Ok(changed)
    }

    /// Adds a record, and replaces the one with its id.
    pub(crate) fn put(&mut self, record: &Record, grants: &[GrantKey]) -> Result<(), StoreError> {
        let mut step =
            SingleBatch { before: self, write_set: WriteSet::default(), changed: Vec::new() };
        step.replace(record.kind, record.id, Some((record, grants)))?;
        let write_set = step.write_set;
        self.write_set.extend(write_set);
        Ok(())
    }

    /// Removes the record with the id, if there is one.
    pub(crate) fn remove(&mut self, kind: Kind, id: Id) -> Result<(), StoreError> {
        let mut step =
            SingleBatch { before: self, write_set: WriteSet::default(), changed: Vec::new() };
        step.replace(kind, id, None)?;
        let write_set = step.write_set;
        self.write_set.extend(write_set);
        Ok(())
    }
}

/// The changes of one batch.
struct SingleBatch<'d, 'a> {
    before: &'d WriteBuilder<'a>,
    write_set: WriteSet,
    changed: Vec<(Kind, Id)>,
}

impl SingleBatch<'_, '_> {
    fn apply(&mut self, operation: &Operation) -> Result<(), StoreError> {
        match operation {
            Operation::Put { record, grants, expect } => {
                let (kind, id) = (record.kind, record.id);
                match expect {
                    Expect::Absent if self.stored(kind, id)?.is_some() => {
                        return Err(StoreError::AlreadyExists {
                            kind,
                            id,
                            duplicate: Duplicate::Id,
                        });
                    }
                    Expect::Absent => {}
                    Expect::Revision(revision) => self.expect(kind, id, *revision)?,
                }
                let holder = self.get(TreeId::Unique, &keys::unique(kind, key_of(record)))?;
                if holder.is_some_and(|holder| holder != id.as_u64().to_be_bytes()) {
                    return Err(StoreError::AlreadyExists {
                        kind,
                        id,
                        duplicate: Duplicate::UniqueKey,
                    });
                }
                self.replace(kind, id, Some((record, grants)))?;
                self.changed.push((kind, id));
            }
            Operation::Delete { kind, id, expect } => {
                self.expect(*kind, *id, *expect)?;
                self.replace(*kind, *id, None)?;
                self.changed.push((*kind, *id));
            }
            Operation::Require { kind, id } => {
                let (kind, id) = (*kind, *id);
                if self.get(TreeId::Records, &keys::record(kind, id))?.is_none() {
                    return Err(StoreError::Missing { kind, id });
                }
            }
            other => return Err(StoreError::backend(format!("unknown operation {other:?}"))),
        }
        Ok(())
    }

    fn expect(&self, kind: Kind, id: Id, revision: Revision) -> Result<(), StoreError> {
        match self.stored(kind, id)? {
            None => Err(StoreError::Missing { kind, id }),
            Some(stored) if stored.record.revision != revision => {
                Err(StoreError::Conflict { kind, id })
            }
            Some(_) => Ok(()),
        }
    }

    /// Replaces the record with the id by this one, or by none, with its unique key and entries.
    fn replace(
        &mut self,
        kind: Kind,
        id: Id,
        new: Option<(&Record, &[GrantKey])>,
    ) -> Result<(), StoreError> {
        if !keys::is_known(kind) {
            return Err(Failure::UnknownKind { kind }.into());
        }
        let mut gone = BTreeSet::new();
        if let Some(Stored { record, grants }) = self.stored(kind, id)? {
            gone.insert((TreeId::Unique, keys::unique(kind, key_of(&record))));
            let entries = index_entries(&record, &grants);
            gone.extend(entries.into_iter().map(|entry| (TreeId::Index, entry)));
        }
        if let Some((record, grants)) = new {
            let unique = (TreeId::Unique, keys::unique(kind, key_of(record)));
            let entries = index_entries(record, grants).into_iter();
            for (tree, key) in entries.map(|entry| (TreeId::Index, entry)).chain([unique]) {
                // Most changes leave keys and entries as they are.
                if gone.remove(&(tree, key.clone())) {
                    continue;
                }
                let value = match tree {
                    TreeId::Unique => id.as_u64().to_be_bytes().to_vec(),
                    _ => Vec::new(),
                };
                self.put_value(tree, key, Some(value));
            }
        }
        for (tree, key) in gone {
            self.put_value(tree, key, None);
        }
        let value = new.map(|(record, grants)| value::write(record, grants));
        self.put_value(TreeId::Records, keys::record(kind, id), value);
        Ok(())
    }

    fn stored(&self, kind: Kind, id: Id) -> Result<Option<Stored>, StoreError> {
        let Some(value) = self.get(TreeId::Records, &keys::record(kind, id))? else {
            return Ok(None);
        };
        let stored = value::read(kind, id, &value);
        stored.map(Some).ok_or_else(|| crate::error::unreadable(kind, id))
    }

    fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let edited = self.write_set.of(tree).get(key);
        match edited.or_else(|| self.before.write_set.of(tree).get(key)) {
            Some(value) => Ok(value.clone()),
            None => {
                let value = self.before.trees.of(tree).get(key).map_err(Failure::from)?;
                Ok(value.map(|value| value.to_vec()))
            }
        }
    }

    fn put_value(&mut self, tree: TreeId, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.write_set.of_mut(tree).insert(key, value);
    }
}

fn key_of(record: &Record) -> &str {
    record.unique_key.as_str()
}

/// The entries of the record in the tree of index entries.
pub(crate) fn index_entries(record: &Record, grants: &[GrantKey]) -> Vec<Vec<u8>> {
    let Record { kind, id, org, user, .. } = *record;
    let indexes = [org.map(|org| Index::Org(kind, org)), user.map(|user| Index::User(kind, user))];
    let grants = grants.iter().map(|grant| Index::Grant(kind, *grant));
    let prefixes = indexes.into_iter().flatten().chain(grants).filter_map(keys::entries_of);
    prefixes.map(|prefix| keys::entry(prefix, id)).collect()
}
