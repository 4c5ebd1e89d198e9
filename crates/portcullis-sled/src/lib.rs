//! The Portcullis [`Store`] on sled 0.34: a directory, written in Rust from top to bottom.
//!
//! ```no_run
//! use portcullis_sled::SledStore;
//!
//! let store = SledStore::open("portcullis.sled")?;
//! # Ok::<(), portcullis_sled::OpenError>(())
//! ```
//!
//! # When to choose it
//!
//! Where no C compiler is available, or the host keeps its own data in sled 0.34. Otherwise
//! SQLite (`portcullis-sqlite`), the default, is the better choice: it takes a third of the disk
//! and of the memory, opens in a millisecond, may be administered while a server runs on it, and
//! promises more. The last release of sled 0.34 is of 2021; its successor has no transactions yet.
//!
//! # What it promises
//!
//! - An acknowledged commit survives `SIGKILL`. A commit is one transaction of sled; it is
//!   acknowledged after sled has flushed it and its files were synced (`fdatasync`), which sled
//!   itself does not do. Commits that arrive at the same time share one transaction and one wait.
//! - It survives a power cut as far as sled does: sled also writes to its file between syncs, and
//!   relies on the order of those writes, which a disk need not keep. `tests/README.md` lists the
//!   experiments.
//! - A new store appears at its path once it is complete and synced, so a power cut before that leaves
//!   nothing there. If the path is a mount point, or its parent cannot be written, the store is created
//!   in place, and this does not hold.
//! - One process. A second one, and a second store in the same process, gets
//!   [`OpenError::InUse`]. So all changes are made in this process, and
//!   [`watch`](Store::watch) announces them at once.
//! - Reads see a commit once it is written, which is a moment before it is durable and
//!   acknowledged.
//! - A commit or sync that fails is [`StoreError::Indeterminate`]; the database is opened again,
//!   and watchers receive a resync.
//! - Deleted data is not overwritten: a hash stays in the file until sled reuses its space. Protect the
//!   directory, which only its owner may enter, like the passwords.
//!
//! # Large imports
//!
//! A batch is in memory until it is written, and reads wait while it is applied. Make a large import
//! into a new store, and rename that when it is complete; `portcullis import` does so.

mod committer;
mod create;
mod error;
mod maintain;
mod open;
mod options;
mod read_only_copy;
mod trees;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use portcullis::store::{
    Batch, Change, Index, Lookup, Lookups, Page, PageRequest, Position, Record, Store, StoreError,
};
use portcullis::toolkit::{Feed, GroupWriter, OwnedLookup, OwnedLookups, SharedDatabase, ordered};
use tokio::sync::Mutex;

pub use options::SledOptions;

/// Why a store could not be opened.
pub use portcullis::toolkit::OpenError;

use committer::SledCommitter;
use trees::Trees;

/// A store in a directory with a database of sled 0.34.
///
/// Its methods need a tokio runtime. Short reads run on the calling thread while they are fast and no
/// group is being written ([`InlineReadGate`](portcullis::toolkit::InlineReadGate)); other reads use the runtime's blocking threads. Commits
/// run on a thread of the store's own. It ends, and releases the directory, after the last commit, when
/// the store is [closed](Store::close), or some time after it is dropped.
pub struct SledStore {
    path: PathBuf,
    created: bool,
    cache_bytes: u64,
    feed: Arc<Feed>,
    shared: Arc<SharedDatabase<Trees>>,
    writer: GroupWriter<SledCommitter>,
    /// Held by the current backup.
    backups: Arc<Mutex<()>>,
    /// Whether it is a temporary copy of a store that cannot be written.
    read_only: bool,
}

impl SledStore {
    /// Opens the store in the directory at the path, and creates it if there is none.
    ///
    /// This blocks; see [`SledOptions::open`].
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::options().open(path)
    }

    /// Returns the settings to open a store with.
    pub fn options() -> SledOptions {
        SledOptions::default()
    }

    /// Tells whether the store is new: opening it here has created it.
    pub const fn was_created(&self) -> bool {
        self.created
    }

    /// Returns the absolute path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn refuse_if_read_only(&self) -> Result<(), StoreError> {
        match self.read_only {
            true => Err(StoreError::ReadOnly),
            false => Ok(()),
        }
    }
}

impl fmt::Debug for SledStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledStore").field("path", &self.path).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for SledStore {
    async fn get(&self, lookup: Lookup<'_>) -> Result<Option<Record>, StoreError> {
        let lookup = OwnedLookup::from(lookup);
        self.shared.read_record(move |trees| ordered::get(trees, lookup.as_lookup())).await
    }

    async fn get_many(&self, lookups: Lookups<'_>) -> Result<Vec<Option<Record>>, StoreError> {
        let lookups = OwnedLookups::from(lookups);
        let read =
            move |trees: &Trees| lookups.iter().map(|lookup| ordered::get(trees, lookup)).collect();
        self.shared.read_blocking(read).await
    }

    async fn list(&self, index: Index, page: PageRequest) -> Result<Page, StoreError> {
        self.shared.read_page(page, move |trees, page| ordered::list(trees, index, page)).await
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
