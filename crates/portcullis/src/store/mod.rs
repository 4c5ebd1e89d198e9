//! The contract of stores: [`Store`], [`MaintenanceStore`], and the types of their methods.
//!
//! A store keeps [`Record`]s, and does not depend on what their bodies mean. Everything else, from
//! permission rules to password hashing, is above it. To write a store, implement [`Store`] with the
//! parts of [`toolkit`](crate::toolkit), and run the conformance suite of `portcullis-testkit` on it.

mod batch;
mod body;
mod change;
mod error;
mod maintenance;
mod record;

use std::fmt::{self, Debug};
use std::num::NonZeroUsize;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

/// What [`Store::watch`] returns.
pub use futures_util::stream::BoxStream;

pub use batch::{Batch, Expect, Operation};
pub use body::Body;
pub use change::{Change, Position};
pub use error::{Duplicate, StoreError};
pub use maintenance::{Entry, EntryCursor, EntryKey, EntryPage, MaintenanceStore};
pub use record::{InvalidUniqueKey, Kind, Record, Revision, UniqueKey};

// The records of this crate's own types are read and written by `codec`, which uses this module.
pub use crate::codec::{DeletedTenant, Entity, MODIFY_TRIES, StoreExt, Tombstone, grants_of};
pub(crate) use crate::codec::{modify_versioned, put};
pub use crate::memory::MemoryStore;

use crate::{GrantKey, Id, OrgId, UserId};

/// Keeps records, changes them atomically, and announces changes.
///
/// # Contract
///
/// - **Reads see every acknowledged commit** of this store value, also one made by another
///   process or machine before the read began.
/// - **A commit is all or nothing**, and durable before it is acknowledged, as far as the store
///   promises durability at all. Its operations apply in order, each seeing those before it.
/// - **Ids and unique keys are unique within their kind**, byte by byte: no folding of case, no
///   normalization, no trimming. Of two puts with the same one, one succeeds and the other fails with
///   [`StoreError::AlreadyExists`].
/// - **Record, unique key and index entries change together** or not at all. Bodies come back byte
///   by byte.
/// - **Lists are ascending by id**, the cursor is exclusive, and a record that exists throughout is
///   listed exactly once, whatever else changes between pages. One page shows one moment: never half
///   a batch.
/// - **Every change is announced** by [`watch`](Store::watch), also when the future that made it was
///   dropped; a record that did not change is not. A store that misses nothing sends no resync.
/// - **Dropping a future** leaves the operation either undone or done in full.
///
/// `portcullis-testkit` has a test for each of these.
#[async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// Returns the record, or `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] and [`StoreError::Backend`].
    async fn get(&self, lookup: Lookup<'_>) -> Result<Option<Record>, StoreError>;

    /// Returns the records of several lookups in the order of the lookups, each `None` when there is
    /// none, all as of one moment.
    ///
    /// A store reads them at once, such as with one statement. A caller passes about a page of lookups,
    /// as all records are in memory together.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Store::get), for the first record that cannot be read.
    async fn get_many(&self, lookups: Lookups<'_>) -> Result<Vec<Option<Record>>, StoreError>;

    /// Returns a page of the records of the index, ascending by id.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] and [`StoreError::Backend`].
    async fn list(&self, index: Index, page: PageRequest) -> Result<Page, StoreError>;

    /// Carries out all operations or none, and returns the position after them.
    ///
    /// # Errors
    ///
    /// The first operation that cannot be carried out decides: [`StoreError::AlreadyExists`],
    /// [`StoreError::Conflict`] or [`StoreError::Missing`]. [`StoreError::BatchTooLarge`] over
    /// [`Batch::MAX_OPERATIONS`]. After each of these, [`StoreError::Unavailable`] and
    /// [`StoreError::Backend`] nothing was changed. After [`StoreError::Indeterminate`] the batch was
    /// committed or not.
    async fn commit(&self, batch: Batch) -> Result<Position, StoreError>;

    /// Returns the position after the last change.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] and [`StoreError::Backend`].
    async fn position(&self) -> Result<Position, StoreError>;

    /// Streams every change after the position, at least once and in order, or
    /// [`Change::Resync`] if changes were missed.
    ///
    /// The stream ends, without an error, when the store is closed, and after an error.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] and [`StoreError::Backend`].
    async fn watch(
        &self,
        after: Position,
    ) -> Result<BoxStream<'static, Result<Change, StoreError>>, StoreError>;

    /// Finishes operations that have begun, refuses later ones, and releases files and connections.
    ///
    /// Closing twice is allowed.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`] when something could not be written out.
    async fn close(&self) -> Result<(), StoreError>;
}

/// A shared store is a store. Written out, as `async` would put each future into a second box.
impl<S: Store + ?Sized> Store for Arc<S> {
    fn get<'s, 'l, 'f>(
        &'s self,
        lookup: Lookup<'l>,
    ) -> BoxFuture<'f, Result<Option<Record>, StoreError>>
    where
        's: 'f,
        'l: 'f,
        Self: 'f,
    {
        (**self).get(lookup)
    }

    fn get_many<'s, 'l, 'f>(
        &'s self,
        lookups: Lookups<'l>,
    ) -> BoxFuture<'f, Result<Vec<Option<Record>>, StoreError>>
    where
        's: 'f,
        'l: 'f,
        Self: 'f,
    {
        (**self).get_many(lookups)
    }

    fn list<'s, 'f>(
        &'s self,
        index: Index,
        page: PageRequest,
    ) -> BoxFuture<'f, Result<Page, StoreError>>
    where
        's: 'f,
        Self: 'f,
    {
        (**self).list(index, page)
    }

    fn commit<'s, 'f>(&'s self, batch: Batch) -> BoxFuture<'f, Result<Position, StoreError>>
    where
        's: 'f,
        Self: 'f,
    {
        (**self).commit(batch)
    }

    fn position<'s, 'f>(&'s self) -> BoxFuture<'f, Result<Position, StoreError>>
    where
        's: 'f,
        Self: 'f,
    {
        (**self).position()
    }

    fn watch<'s, 'f>(
        &'s self,
        after: Position,
    ) -> BoxFuture<'f, Result<BoxStream<'static, Result<Change, StoreError>>, StoreError>>
    where
        's: 'f,
        Self: 'f,
    {
        (**self).watch(after)
    }

    fn close<'s, 'f>(&'s self) -> BoxFuture<'f, Result<(), StoreError>>
    where
        's: 'f,
        Self: 'f,
    {
        (**self).close()
    }
}

/// How to find a record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// The record of the kind with the id.
    Id(Kind, Id),
    /// The record of the kind with the unique key, compared byte by byte. Any text is allowed.
    UniqueKey(Kind, &'a str),
}

/// A key may be derived from a secret, so it is not shown.
impl Debug for Lookup<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(kind, id) => write!(f, "Id({kind:?}, {id})"),
            Self::UniqueKey(kind, key) => write!(f, "UniqueKey({kind:?}, {} bytes)", key.len()),
        }
    }
}

/// How to find several records of a kind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lookups<'a> {
    /// Those with the ids.
    Ids(Kind, &'a [Id]),
    /// Those with the unique keys, compared byte by byte. Any texts are allowed.
    UniqueKeys(Kind, &'a [&'a str]),
}

impl<'a> Lookups<'a> {
    /// Returns the kind of the records.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Ids(kind, _) | Self::UniqueKeys(kind, _) => *kind,
        }
    }

    /// Returns the number of lookups.
    pub const fn len(&self) -> usize {
        match self {
            Self::Ids(_, ids) => ids.len(),
            Self::UniqueKeys(_, keys) => keys.len(),
        }
    }

    /// Tells whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns each lookup, in order.
    pub fn iter(self) -> impl Iterator<Item = Lookup<'a>> {
        (0..self.len()).filter_map(move |place| match self {
            Self::Ids(kind, ids) => ids.get(place).map(|id| Lookup::Id(kind, *id)),
            Self::UniqueKeys(kind, keys) => keys.get(place).map(|key| Lookup::UniqueKey(kind, key)),
        })
    }
}

/// Keys may be derived from secrets, so they are not shown.
impl Debug for Lookups<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ids(kind, ids) => write!(f, "Ids({kind:?}, {ids:?})"),
            Self::UniqueKeys(kind, keys) => write!(f, "UniqueKeys({kind:?}, {} keys)", keys.len()),
        }
    }
}

/// Which records to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// All records of the kind.
    All(Kind),
    /// The records of the kind in the org.
    Org(Kind, OrgId),
    /// The records of the kind that belong to the user.
    User(Kind, UserId),
    /// The records of the kind that were put with the grant key.
    Grant(Kind, GrantKey),
}

impl Index {
    /// Returns the kind of the records.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::All(kind) | Self::Org(kind, _) | Self::User(kind, _) | Self::Grant(kind, _) => {
                *kind
            }
        }
    }
}

/// Which page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Only records with a higher id than this one, which need not exist.
    pub after: Option<Id>,
    /// The most records of the page. A store may return fewer.
    pub limit: NonZeroUsize,
}

/// A page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The records, ascending by id.
    pub records: Vec<Record>,
    /// Where the next page begins ([`PageRequest::after`]); `None` after the last page. A short page
    /// is not necessarily the last one.
    pub next: Option<Id>,
    /// How many records were left out because their fields beside the body cannot be read. A list may
    /// omit them; an export must not.
    pub unreadable: usize,
}

impl Page {
    /// After about so many bytes of bodies a store ends a page, whatever its limit, which bounds the
    /// memory of a page of large records.
    pub const BYTES: usize = 1024 * 1024;
}
