//! What a group of batches changes, worked out before anything is written.
//!
//! There is one writer, so what it reads stays true until it has written. Refused batches never
//! come near the engine, and its transaction has nothing to decide.

use std::collections::{BTreeMap, BTreeSet};

use portcullis::store::{Expect, Index, Kind, Operation, Record, Revision, StoreError, Taken};
use portcullis::{GrantKey, Id};

use crate::error::Failure;
use crate::keys;
use crate::trees::{Trees, Which};
use crate::value::{self, Stored};

/// New values by tree and key; `None` where there is to be none.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    records: Edited,
    unique: Edited,
    index: Edited,
}

pub(crate) type Edited = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

impl Edits {
    pub(crate) fn of(&self, which: Which) -> &Edited {
        match which {
            Which::Records => &self.records,
            Which::Unique => &self.unique,
            Which::Index => &self.index,
        }
    }

    fn of_mut(&mut self, which: Which) -> &mut Edited {
        match which {
            Which::Records => &mut self.records,
            Which::Unique => &mut self.unique,
            Which::Index => &mut self.index,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        Which::ALL.into_iter().all(|which| self.of(which).is_empty())
    }

    /// Adds those that were made after these.
    fn extend(&mut self, later: Self) {
        self.records.extend(later.records);
        self.unique.extend(later.unique);
        self.index.extend(later.index);
    }
}

/// What a group changes.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    trees: &'a Trees,
    edits: Edits,
}

impl<'a> Draft<'a> {
    pub(crate) fn on(trees: &'a Trees) -> Self {
        Self { trees, edits: Edits::default() }
    }

    pub(crate) fn into_edits(self) -> Edits {
        self.edits
    }

    /// Adds what the batch changes, and returns which records; or nothing, and says why.
    pub(crate) fn add(&mut self, batch: &[Operation]) -> Result<Vec<(Kind, Id)>, StoreError> {
        let mut step = Step { before: self, edits: Edits::default(), changed: Vec::new() };
        for operation in batch {
            step.apply(operation)?;
        }
        let Step { edits, changed, .. } = step;
        self.edits.extend(edits);
        Ok(changed)
    }

    /// Adds a record as it is, over whatever is there.
    pub(crate) fn put(&mut self, record: &Record, grants: &[GrantKey]) -> Result<(), StoreError> {
        let mut step = Step { before: self, edits: Edits::default(), changed: Vec::new() };
        step.replace(record.kind, record.id, Some((record, grants)))?;
        let edits = step.edits;
        self.edits.extend(edits);
        Ok(())
    }

    /// Removes the record with the id, if there is one.
    pub(crate) fn remove(&mut self, kind: Kind, id: Id) -> Result<(), StoreError> {
        let mut step = Step { before: self, edits: Edits::default(), changed: Vec::new() };
        step.replace(kind, id, None)?;
        let edits = step.edits;
        self.edits.extend(edits);
        Ok(())
    }
}

/// What one batch changes.
struct Step<'d, 'a> {
    before: &'d Draft<'a>,
    edits: Edits,
    changed: Vec<(Kind, Id)>,
}

impl Step<'_, '_> {
    fn apply(&mut self, operation: &Operation) -> Result<(), StoreError> {
        match operation {
            Operation::Put { record, grants, expect } => {
                let (kind, id) = (record.kind, record.id);
                match expect {
                    Expect::Absent if self.stored(kind, id)?.is_some() => {
                        return Err(StoreError::AlreadyExists { kind, id, taken: Taken::Id });
                    }
                    Expect::Absent => {}
                    Expect::Revision(revision) => self.expect(kind, id, *revision)?,
                }
                let holder = self.get(Which::Unique, &keys::unique(kind, key_of(record)))?;
                if holder.is_some_and(|holder| holder != id.as_u64().to_be_bytes()) {
                    return Err(StoreError::AlreadyExists { kind, id, taken: Taken::UniqueKey });
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
                if self.get(Which::Records, &keys::record(kind, id))?.is_none() {
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

    /// Puts the record, or none, in place of the one that is there, with everything that finds it.
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
            gone.insert((Which::Unique, keys::unique(kind, key_of(&record))));
            let entries = index_entries(&record, &grants);
            gone.extend(entries.into_iter().map(|entry| (Which::Index, entry)));
        }
        if let Some((record, grants)) = new {
            let unique = (Which::Unique, keys::unique(kind, key_of(record)));
            let entries = index_entries(record, grants).into_iter();
            for (which, key) in entries.map(|entry| (Which::Index, entry)).chain([unique]) {
                // Most changes leave alone by what the record is found.
                if gone.remove(&(which, key.clone())) {
                    continue;
                }
                let value = match which {
                    Which::Unique => id.as_u64().to_be_bytes().to_vec(),
                    _ => Vec::new(),
                };
                self.edit(which, key, Some(value));
            }
        }
        for (which, key) in gone {
            self.edit(which, key, None);
        }
        let value = new.map(|(record, grants)| value::write(record, grants));
        self.edit(Which::Records, keys::record(kind, id), value);
        Ok(())
    }

    fn stored(&self, kind: Kind, id: Id) -> Result<Option<Stored>, StoreError> {
        let Some(value) = self.get(Which::Records, &keys::record(kind, id))? else {
            return Ok(None);
        };
        let stored = value::read(kind, id, &value);
        stored.map(Some).ok_or_else(|| crate::error::unreadable(kind, id))
    }

    fn get(&self, which: Which, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let edited = self.edits.of(which).get(key);
        match edited.or_else(|| self.before.edits.of(which).get(key)) {
            Some(value) => Ok(value.clone()),
            None => {
                let value = self.before.trees.of(which).get(key).map_err(Failure::from)?;
                Ok(value.map(|value| value.to_vec()))
            }
        }
    }

    fn edit(&mut self, which: Which, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.edits.of_mut(which).insert(key, value);
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
