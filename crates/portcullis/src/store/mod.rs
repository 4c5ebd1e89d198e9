//! Where records live: the [`Store`] contract and what goes with it.
//!
//! A store keeps [`Record`]s and knows nothing of what their bodies mean. Everything else, from
//! permission rules to password hashing, is above it, so that a new store is a small thing to
//! write: implement [`Store`], run the conformance suite of `portcullis-testkit` on it.

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
pub use error::{StoreError, Taken};
pub use maintenance::{Entry, EntryCursor, EntryKey, EntryPage, Maintain};
pub use record::{InvalidUniqueKey, Kind, Record, Revision, UniqueKey};

// The records of this crate's own types are read and written by `codec`, which uses this module.
pub(crate) use crate::codec::put;
pub use crate::codec::{Deletion, Entity, Gone, MODIFY_TRIES, Modified, StoreExt, grants_of};
pub use crate::memory::MemoryStore;

use crate::{GrantKey, Id, OrgId, UserId};

/// Keeps records, changes them atomically, tells what has changed.
///
/// # Contract
///
/// - **Reads see every acknowledged commit** of this store value, also one made by another
///   process or machine before the read began.
/// - **A commit is all or nothing**, and durable before it is acknowledged, as far as the store
///   promises durability at all. Its operations apply in order, each seeing those before it.
/// - **Ids and unique keys are unique within their kind**, byte by byte: no folding of case, no
///   normalization, no trimming. Of two that want the same one, one wins and the other gets
///   [`StoreError::AlreadyExists`].
/// - **Record, unique key and index entries change together** or not at all. Bodies come back byte
///   by byte.
/// - **Lists are ascending by id**, the cursor is exclusive, and a record that was there all the
///   time is listed exactly once, whatever else comes and goes between pages. One page shows one
///   moment: never half a batch.
/// - **Every change is announced** by [`watch`](Store::watch), also when the future that made it
///   was dropped half way; what did not change is not. A store that misses nothing does not ask
///   for a resync.
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
    /// [`StoreError::Backend`] nothing was changed; after [`StoreError::Indeterminate`] nobody
    /// knows.
    async fn commit(&self, batch: Batch) -> Result<Position, StoreError>;

    /// Returns the position after the last change.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] and [`StoreError::Backend`].
    async fn position(&self) -> Result<Position, StoreError>;

    /// Tells every change after the position, at least once and in order, or that it cannot
    /// ([`Change::Resync`]).
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

    /// Finishes what was begun, refuses what comes later, lets go of files and connections.
    ///
    /// Closing twice is fine.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`] when something could not be written out.
    async fn close(&self) -> Result<(), StoreError>;
}

/// A store that is shared is a store. Written out, as `async` would put each future into a second box.
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

/// Which record to get.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// The one of the kind with the id.
    Id(Kind, Id),
    /// The one of the kind with the unique key, compared byte by byte. Any text may be asked for.
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

/// Which records to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// All of the kind.
    All(Kind),
    /// Those of the kind that are in the org.
    Org(Kind, OrgId),
    /// Those of the kind that are the user's.
    User(Kind, UserId),
    /// Those of the kind that were put with the grant key.
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
    /// At most so many records. A store may return fewer, for a reason of its own, at any time.
    pub limit: NonZeroUsize,
}

/// A page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The records, ascending by id.
    pub records: Vec<Record>,
    /// Where the next page begins ([`PageRequest::after`]); `None` when there is none. A short
    /// page alone says nothing.
    pub next: Option<Id>,
    /// How many records were left out because not even what stands beside their bodies can be
    /// read. Lists go without them; an export must not.
    pub unreadable: usize,
}

impl Page {
    /// A store ends a page after about so many bytes of bodies, however many records were asked
    /// for, so that a few large records do not take the memory of all.
    pub const BYTES: usize = 1024 * 1024;
}
