//! The Portcullis [`Store`] on SQLite: one file, no server to run.
//!
//! ```no_run
//! use portcullis_sqlite::SqliteStore;
//!
//! let store = SqliteStore::open("portcullis.db")?;
//! # Ok::<(), portcullis_sqlite::OpenError>(())
//! ```
//!
//! # When to choose it
//!
//! By default. Up to a few million records, thousands of durable changes a second, and any number
//! of reads; programs on the same machine may share the file. Where several machines serve the
//! same records, or one must go on when another is lost, it is not enough.
//!
//! # What it promises
//!
//! - An acknowledged commit is on the disk: it survives `SIGKILL` and, if the disk honours a sync, a
//!   power cut. SQLite runs with a write-ahead log and `synchronous=FULL`, and changes that
//!   arrive at the same time are committed as a group, with one wait for the disk.
//! - Several processes on one machine may have the file open, such as a server and the commands
//!   that administer it. Each announces the changes of the others within 250 ms
//!   ([`Store::watch`]), and reads their commits at once. Never use a network file system: locks are
//!   not reliable there, and the file is damaged sooner or later.
//! - Deleted data is overwritten in the file (`secure_delete`). It leaves the log at the next
//!   checkpoint: a second after the last change, or when the store is closed. Copies that file systems,
//!   snapshots and disks keep are out of its reach.
//! - The file is created with mode 0600, and SQLite gives those beside it, `-wal` and `-shm`, the
//!   same mode. They belong to it: a copy of a file that is open must be made with
//!   [`back_up`](portcullis::store::MaintenanceStore::back_up), `VACUUM INTO` or `.backup`, and without
//!   them it lacks the latest changes.
//! - A file that cannot be opened is left as it is: a process that may not write it, or one of those
//!   beside it, creates none. A backup on a read-only file system can be opened for reading
//!   ([`SqliteOptions::open_unwritable`]).
//! - A file of an older format is migrated when it is opened, in one transaction for each format: it
//!   takes some minutes for a million records, as much space again as the file has, and happens or
//!   does not, whenever the process is killed. An older version cannot open the file any more.
//!   `VACUUM` releases the space, while no process has the file open.
//!
//! # Reading it with SQL
//!
//! Each kind of record has a table with readable columns, and comments in the schema:
//!
//! ```console
//! $ sqlite3 portcullis.db
//! sqlite> .schema authorizations
//! sqlite> SELECT username, status, description FROM authorizations;
//! sqlite> SELECT u.username FROM grants g JOIN authorizations u ON u.id = g.id
//!    ...> WHERE g.grant_key = 'write:buckets/0c0c000000000001';
//! ```
//!
//! A row that is deleted or changed with SQL is announced to every process that has the file open; an
//! inserted row is found, but not announced. A change must be made to the column and to `body` alike,
//! as a record that contradicts its body is corrupt; the `portcullis` commands are easier.
//!
//! A file may be replaced by an older one only while no process has it open, unless with `.restore`,
//! which is a change like any other. Draw the incarnation of its feed again then:
//!
//! ```console
//! sqlite> UPDATE meta SET value = lower(hex(randomblob(16))) WHERE name = 'incarnation';
//! ```

mod changes;
mod checkpoint;
mod committer;
mod error;
mod files;
mod maintain;
mod open;
mod operations;
mod options;

mod readers;
mod row_cluster;
mod rows;
mod schema;
mod tables;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use portcullis::store::{
    Batch, Change, Index, Lookup, Lookups, Page, PageRequest, Position, Record, Store, StoreError,
};
use portcullis::toolkit::{Backups, Feed, GroupWriter, InlineReadGate, OwnedLookup, OwnedLookups};

pub use open::OpenError;
pub use options::SqliteOptions;

use committer::Committer;
use open::Location;
use readers::Readers;

/// A store in an SQLite file.
///
/// Its methods need a tokio runtime. Short reads run on the calling thread while they are fast
/// ([`InlineReadGate`]); other reads use the runtime's blocking threads. Commits run on a thread of
/// the store's own, which ends after the last one, when the store is [closed](Store::close) or
/// dropped.
pub struct SqliteStore {
    location: Location,
    created: bool,
    feed: Arc<Feed>,
    readers: Arc<Readers>,
    writer: GroupWriter<Committer>,
    backups: Backups,
}

impl SqliteStore {
    /// Opens the store at the path, and creates it if there is none.
    ///
    /// This blocks; see [`SqliteOptions::open`].
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::options().open(path)
    }

    /// Returns the settings to open a store with.
    pub fn options() -> SqliteOptions {
        SqliteOptions::default()
    }

    /// Tells whether the store is new: opening it here has created it.
    ///
    /// Of several processes that open the same new store at once, it is true for one.
    pub const fn was_created(&self) -> bool {
        self.created
    }

    /// Returns the absolute path of the file.
    pub fn path(&self) -> &Path {
        self.location.path()
    }

    fn refuse_if_read_only(&self) -> Result<(), StoreError> {
        match self.location.is_immutable() {
            true => Err(StoreError::ReadOnly),
            false => Ok(()),
        }
    }

    fn refuse_if_closed(&self) -> Result<(), StoreError> {
        match self.readers.is_finished() {
            true => Err(StoreError::closed()),
            false => Ok(()),
        }
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn get(&self, lookup: Lookup<'_>) -> Result<Option<Record>, StoreError> {
        let lookup = OwnedLookup::from(lookup);
        let gate = self.readers.gate();
        let read = move |connection: &_| gate.measure(|| rows::get(connection, lookup.as_lookup()));
        self.readers.read_few(read).await
    }

    async fn get_many(&self, lookups: Lookups<'_>) -> Result<Vec<Option<Record>>, StoreError> {
        let lookups = OwnedLookups::from(lookups);
        self.readers.read(move |connection| rows::get_many(connection, lookups.iter())).await
    }

    async fn list(&self, index: Index, page: PageRequest) -> Result<Page, StoreError> {
        let gate = self.readers.gate();
        let page = gate.page(page);
        let read = move |connection: &_| gate.measure_page(|| rows::list(connection, index, page));
        match page.limit.get() {
            ..=InlineReadGate::SHORT => self.readers.read_few(read).await,
            _ => self.readers.read(read).await,
        }
    }

    async fn commit(&self, batch: Batch) -> Result<Position, StoreError> {
        self.refuse_if_read_only()?;
        self.writer.commit(batch.into_operations()?).await
    }

    /// The position of the last announced change, which may be behind other processes.
    async fn position(&self) -> Result<Position, StoreError> {
        self.refuse_if_closed()?;
        Ok(self.feed.position())
    }

    async fn watch(
        &self,
        after: Position,
    ) -> Result<BoxStream<'static, Result<Change, StoreError>>, StoreError> {
        self.refuse_if_closed()?;
        Ok(self.feed.watch(after))
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.readers.finish().await;
        self.writer.finish().await
    }
}

/// The Rust in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
