//! Maintenance of a store: what [`verify`](crate::verify) and backups need.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;

use async_trait::async_trait;

use super::{Kind, Store, StoreError};
use crate::{GrantKey, Id, OrgId, UserId};

/// A store that can be verified, repaired and backed up.
///
/// [`verify`](crate::verify::verify) has the checks, which are the same for every store.
#[async_trait]
pub trait MaintenanceStore: Store {
    /// Makes the storage engine check its files, and returns the problems that it finds: a sentence
    /// each, at most a hundred. None means that the files are intact.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], and [`StoreError::Backend`] when the check itself fails.
    async fn check_files(&self) -> Result<Vec<String>, StoreError>;

    /// Returns a page of the stored index entries, each exactly once, in an order that the store
    /// defines.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] and [`StoreError::Backend`].
    async fn entries(
        &self,
        after: Option<EntryCursor>,
        limit: NonZeroUsize,
    ) -> Result<EntryPage, StoreError>;

    /// Rebuilds every entry from the records ([`Entry::all_of`]), all or nothing, and changes no
    /// record. A record whose body cannot be read keeps the entries of its other fields. Of two records
    /// with the same unique key, the one with the lower id gets it.
    ///
    /// # Errors
    ///
    /// Those of [`Store::commit`].
    async fn rebuild_entries(&self) -> Result<(), StoreError>;

    /// Writes a copy of all records as of one moment to the path, where nothing may be yet, and
    /// returns once it is durable. Reads and commits go on meanwhile. After a failure there is no
    /// backup, and its files are removed as far as possible.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], and [`StoreError::Backend`] when something is at the path or
    /// the copy cannot be written.
    async fn back_up(&self, to: &Path) -> Result<(), StoreError>;
}

/// A key by which a record is found, besides its id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum EntryKey {
    /// Its unique key.
    UniqueKey(Box<str>),
    /// The org it is in.
    Org(OrgId),
    /// The user it belongs to.
    User(UserId),
    /// A grant key it was put with.
    Grant(GrantKey),
}

/// Keys may be derived from secrets, so a unique key is not shown.
impl fmt::Debug for EntryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UniqueKey(key) => write!(f, "UniqueKey({} bytes)", key.len()),
            Self::Org(org) => write!(f, "Org({org})"),
            Self::User(user) => write!(f, "User({user})"),
            Self::Grant(grant) => write!(f, "Grant({grant})"),
        }
    }
}

impl fmt::Display for EntryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UniqueKey(_) => f.write_str("unique key"),
            Self::Org(org) => write!(f, "organization {org}"),
            Self::User(user) => write!(f, "user {user}"),
            Self::Grant(grant) => write!(f, "grant {grant}"),
        }
    }
}

/// An entry: the record of the kind with the id is found by the key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// The record's kind.
    pub kind: Kind,
    /// The key.
    pub key: EntryKey,
    /// The record's id.
    pub id: Id,
}

/// The end of a page of entries. Each store defines the content.
#[derive(Clone, PartialEq, Eq)]
pub struct EntryCursor(Box<[u8]>);

impl EntryCursor {
    /// Makes a cursor; for stores.
    pub fn new(place: impl Into<Box<[u8]>>) -> Self {
        Self(place.into())
    }

    /// Returns the content; for stores.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// It may hold a key that is derived from a secret.
impl fmt::Debug for EntryCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryCursor({} bytes)", self.0.len())
    }
}

/// A page of a store's entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryPage {
    /// The entries.
    pub entries: Vec<Entry>,
    /// How many further entries cannot be read.
    pub unreadable: usize,
    /// Where the next page begins; `None` when there is none.
    pub next: Option<EntryCursor>,
}
