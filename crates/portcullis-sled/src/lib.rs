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
//! Where no C compiler is to be had, or the host keeps its own data in sled 0.34 anyway. Otherwise
//! SQLite (`portcullis-sqlite`), the default, is the better choice: it takes a third of the disk
//! and of the memory, opens in a millisecond, may be administered while a server runs on it, and
//! promises more. sled 0.34 has not been released anew since 2021; its successor has no
//! transactions yet.
//!
//! # What it promises
//!
//! - What was acknowledged survives `SIGKILL`. A commit is one transaction of sled; it is
//!   acknowledged after sled has flushed it and its files were synced (`fdatasync`), which sled
//!   itself does not do. Commits that arrive at the same time share one transaction and one wait.
//! - A power cut it survives as far as sled does: sled writes to its file between syncs as well,
//!   and relies on the order of those writes, which a disk need not keep. `tests/README.md` says
//!   what was tried.
//! - A new store appears when it is whole and synced: a power cut while it is made leaves nothing at
//!   its path. In a directory that is a mount point, or below one that may not be written, it is made
//!   in place, and this does not hold.
//! - One process. A second one, and a second store in the same process, gets
//!   [`OpenError::InUse`]. So nobody else has to be told of changes, and
//!   [`watch`](Store::watch) tells of them at once.
//! - Reads see a commit once it is written, which is a moment before it is durable and
//!   acknowledged.
//! - A commit or sync that fails is [`StoreError::Indeterminate`]; the database is opened anew, and
//!   who watches is told to resync.
//! - Nothing is overwritten when it is deleted: a hash stays in the file until sled uses its place
//!   again. Keep the directory, which only its owner may enter, as safe as the passwords.
//!
//! # Large imports
//!
//! A batch waits in memory until it is written, and who reads waits while it is applied. A large
//! import belongs into a store that nobody uses yet, which is renamed when it is complete;
//! `portcullis import` does so.

mod committer;
mod create;
mod error;
mod keys;
mod maintain;
mod open;
mod options;
mod read_only_copy;
mod rows;
mod shared;
mod trees;
mod unfinished;
mod value;
mod write_set;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use portcullis::store::{
    Batch, Change, Index, Lookup, Page, PageRequest, Position, Record, Store, StoreError,
};
use portcullis::toolkit::{Feed, GroupWriter, InlineReadGate, OwnedLookup};

use tokio::sync::Mutex;

pub use open::OpenError;
pub use options::SledOptions;

use committer::SledCommitter;
use shared::Shared;

/// Keeps records in a directory, in a database of sled 0.34.
///
/// Its methods need a tokio runtime. Reads of a few records are made at once, as long as they wait
/// neither for the disk nor for a group that is being written ([`InlineReadGate`]); for all others they use
/// the runtime's blocking threads. One thread of its own writes; it ends, and lets go of the directory, when the store is
/// [closed](Store::close), or some time after it is dropped, when it has finished what was begun.
pub struct SledStore {
    path: PathBuf,
    created: bool,
    cache_bytes: u64,
    feed: Arc<Feed>,
    shared: Arc<Shared>,
    writer: GroupWriter<SledCommitter>,
    /// Held by the backup that is being made.
    backups: Arc<Mutex<()>>,
    /// Whether it is a copy of a store that cannot be written.
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
        let gate = self.shared.gate();
        let read = move |trees: &_| gate.measure(|| rows::get(trees, lookup.as_lookup()));
        self.shared.read_few(read).await
    }

    async fn list(&self, index: Index, page: PageRequest) -> Result<Page, StoreError> {
        let gate = self.shared.gate();
        let page = gate.page(page);
        let read = move |trees: &_| gate.measure_page(|| rows::list(trees, index, page));
        match page.limit.get() {
            ..=InlineReadGate::SHORT => self.shared.read_few(read).await,
            _ => self.shared.read_blocking(read).await,
        }
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
