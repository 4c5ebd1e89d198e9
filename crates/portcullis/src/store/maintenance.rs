//! Looking after a store: what [`verify`](crate::verify) and backups need of it.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;

use async_trait::async_trait;

use super::{Kind, Store, StoreError};
use crate::{GrantKey, Id, OrgId, UserId};

/// A store that can be verified, repaired and backed up.
///
/// What is checked is the same for every store and is [`verify`](crate::verify::verify)'s affair;
/// a store shows what it keeps.
#[async_trait]
pub trait Maintain: Store {
    /// Has the storage engine check its own files, and returns what it finds wrong: a sentence
    /// each, the first hundred at most. None means that they are sound.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], and [`StoreError::Backend`] when the check itself fails.
    async fn check_files(&self) -> Result<Vec<String>, StoreError>;

    /// Returns a page of the entries by which records are found, as they are stored, in an order
    /// of the store's own, each exactly once.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] and [`StoreError::Backend`].
    async fn entries(
        &self,
        after: Option<EntryCursor>,
        limit: NonZeroUsize,
    ) -> Result<EntryPage, StoreError>;

    /// Makes every entry anew from the records ([`Entry::all_of`]), all or nothing. Records are
    /// not touched; one whose body cannot be read is found by what stands beside it. Of two records
    /// with the same unique key, the one with the lower id gets it.
    ///
    /// # Errors
    ///
    /// Those of [`Store::commit`].
    async fn rebuild_entries(&self) -> Result<(), StoreError>;

    /// Writes a copy of all records as of one moment to the path, where nothing may be yet, and
    /// returns once it is durable. Reads and commits go on meanwhile. What is there after a
    /// failure is no backup; whatever can be removed of it is.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], and [`StoreError::Backend`] when something is at the path or
    /// the copy cannot be written.
    async fn back_up(&self, to: &Path) -> Result<(), StoreError>;
}

/// By what a record is found, besides its id.
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
    /// By what it is found.
    pub key: EntryKey,
    /// The record's id.
    pub id: Id,
}

/// Where a page of entries ended. What is in it is the store's own affair.
#[derive(Clone, PartialEq, Eq)]
pub struct EntryCursor(Box<[u8]>);

impl EntryCursor {
    /// Makes one; for stores.
    pub fn new(place: impl Into<Box<[u8]>>) -> Self {
        Self(place.into())
    }

    /// Returns what it was made of; for stores.
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
    /// How many there are besides that cannot be read.
    pub unreadable: usize,
    /// Where the next page begins; `None` when there is none.
    pub next: Option<EntryCursor>,
}
