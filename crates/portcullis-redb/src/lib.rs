//! The Portcullis [`Store`] on redb: one file, durable, written in Rust from top to bottom.
//!
//! ```no_run
//! use portcullis_redb::RedbStore;
//!
//! let store = RedbStore::open("portcullis.redb")?;
//! # Ok::<(), portcullis_redb::OpenError>(())
//! ```
//!
//! # When to choose it
//!
//! Where no C compiler is available, and changes must survive a power cut. Otherwise SQLite
//! (`portcullis-sqlite`), the default, is the better choice: its file may be administered while a
//! server runs on it, is read with SQL, and opens at once after a crash.
//!
//! # What it promises
//!
//! - An acknowledged commit is on the disk: it survives `SIGKILL` and, if the disk honours a sync, a
//!   power cut. redb never overwrites a page that is in use, and each page has a checksum. Commits that
//!   arrive at the same time share one transaction and one wait.
//! - A new store appears at its path once it is complete and synced, so a crash before that leaves
//!   nothing there but a small file beside it, `.portcullis-new-…`, which may be deleted. An empty file
//!   at the path becomes the store in place, and this does not hold.
//! - One process. A second one, and a second store in the same process, gets
//!   [`OpenError::InUse`]. So all changes are made in this process, and
//!   [`watch`](Store::watch) announces them at once.
//! - Reads see one moment and never wait for commits.
//! - A commit that fails is [`StoreError::Indeterminate`]; the database is opened again, and watchers
//!   receive a resync.
//! - After a crash, opening reads the whole file and logs its progress: about a second for a million records.
//! - Deleted data is not overwritten: a hash stays in the file until redb reuses its space. Protect the
//!   file, which only its owner may read, like the passwords. A backup has none of it.
//!
//! # Size
//!
//! The file grows in steps and reuses its space; [`RedbStore::compact`] shortens it, and so does a
//! backup that takes its place. A batch is in memory until it is written.

mod committer;
mod maintain;
mod open;
mod options;
mod tables;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use portcullis::store::{
    Batch, Change, Index, Lookup, Lookups, Page, PageRequest, Position, Record, Store, StoreError,
};
use portcullis::toolkit::{
    Backups, Feed, GroupWriter, OwnedLookup, OwnedLookups, SharedDatabase, ordered,
};
use redb::Database;

pub use options::RedbOptions;
/// Why a store could not be opened.
pub use portcullis::toolkit::OpenError;

use committer::RedbCommitter;
use open::Location;
use tables::Snapshot;

/// A store in a file of redb.
///
/// Its methods need a tokio runtime. Short reads run on the calling thread while they are fast
/// ([`InlineReadGate`](portcullis::toolkit::InlineReadGate)); other reads use the runtime's blocking
/// threads. Commits run on a thread of the store's own. It ends, and releases the file, after the last
/// commit, when the store is [closed](Store::close), or some time after it is dropped.
pub struct RedbStore {
    location: Location,
    created: bool,
    feed: Arc<Feed>,
    shared: Arc<SharedDatabase<Database>>,
    writer: GroupWriter<RedbCommitter>,
    backups: Backups,
    /// Whether it is a temporary copy of a file that cannot be written.
    read_only: bool,
}

impl RedbStore {
    /// Opens the store in the file at the path, and creates it if there is none.
    ///
    /// This blocks; see [`RedbOptions::open`].
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::options().open(path)
    }

    /// Returns the settings to open a store with.
    pub fn options() -> RedbOptions {
        RedbOptions::default()
    }

    /// Tells whether the store is new: opening it here has created it.
    pub const fn was_created(&self) -> bool {
        self.created
    }

    /// Returns the absolute path of the file.
    pub fn path(&self) -> &Path {
        self.location.path()
    }

    fn refuse_if_read_only(&self) -> Result<(), StoreError> {
        match self.read_only {
            true => Err(StoreError::ReadOnly),
            false => Ok(()),
        }
    }
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore").field("path", &self.path()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for RedbStore {
    async fn get(&self, lookup: Lookup<'_>) -> Result<Option<Record>, StoreError> {
        let lookup = OwnedLookup::from(lookup);
        let read =
            move |database: &Database| ordered::get(&Snapshot::of(database)?, lookup.as_lookup());
        self.shared.read_record(read).await
    }

    async fn get_many(&self, lookups: Lookups<'_>) -> Result<Vec<Option<Record>>, StoreError> {
        let lookups = OwnedLookups::from(lookups);
        let read = move |database: &Database| {
            let snapshot = Snapshot::of(database)?;
            lookups.iter().map(|lookup| ordered::get(&snapshot, lookup)).collect()
        };
        self.shared.read_blocking(read).await
    }

    async fn list(&self, index: Index, page: PageRequest) -> Result<Page, StoreError> {
        let read =
            move |database: &Database, page| ordered::list(&Snapshot::of(database)?, index, page);
        self.shared.read_page(page, read).await
    }

    async fn commit(&self, batch: Batch) -> Result<Position, StoreError> {
        self.refuse_if_read_only()?;
        self.writer.commit(batch.into_operations()?).await
    }

    async fn position(&self) -> Result<Position, StoreError> {
        self.writer.check_running()?;
        Ok(self.feed.position())
    }

    async fn watch(
        &self,
        after: Position,
    ) -> Result<BoxStream<'static, Result<Change, StoreError>>, StoreError> {
        self.writer.check_running()?;
        Ok(self.feed.watch(after))
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.writer.finish().await
    }
}

/// The Rust in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
