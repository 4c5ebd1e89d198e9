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
//! - What was acknowledged is on the disk: it survives `SIGKILL` and, as far as the disk keeps its
//!   word, a power cut. SQLite runs with a write-ahead log and `synchronous=FULL`, and changes that
//!   arrive at the same time are committed as a group, with one wait for the disk.
//! - Several processes on one machine may have the file open, such as a server and the commands
//!   that administer it. Each hears of the changes of the others within 250 ms
//!   ([`Store::watch`]), and reads what they have committed at once. Never over a network file
//!   system: locks are not reliable there, and the file is damaged sooner or later.
//! - What was deleted is overwritten in the file (`secure_delete`) and leaves the log once that
//!   was copied into the file, a second after the last change or when the store is closed. What
//!   file systems, snapshots and disks keep is beyond it.
//! - The file is created with mode 0600, and SQLite gives those beside it, `-wal` and `-shm`, the
//!   same mode. They belong to it: a copy of a file that is open must be made with
//!   [`back_up`](portcullis::store::Maintain::back_up), `VACUUM INTO` or `.backup`, and without
//!   them it lacks the latest changes.
//!
//! - What cannot be opened is left as it is: a process that may not write the file, or one of those
//!   beside it, makes none. A backup in a read-only place is opened to be read, if that is wanted
//!   ([`SqliteOptions::open_unwritable`]).
//! - A file of an older format is migrated when it is opened, in one transaction for each format: it
//!   takes some minutes for a million records, as much space again as the file has, and happens or
//!   does not, whenever the process is killed. An older version cannot open the file any more.
//!   `VACUUM` gives the space back, while nobody has the file open.
//!
//! # Looking into it
//!
//! There is a table for each kind of record, with columns for people, and comments in the schema:
//!
//! ```console
//! $ sqlite3 portcullis.db
//! sqlite> .schema authorizations
//! sqlite> SELECT username, status, description FROM authorizations;
//! sqlite> SELECT u.username FROM grants g JOIN authorizations u ON u.id = g.id
//!    ...> WHERE g.grant_key = 'write:buckets/0c0c000000000001';
//! ```
//!
//! A row that is deleted or changed by hand is noticed by every process that has the file open; one
//! that is inserted is found, and not announced.
//! A change must be made to the column and to `body` alike, for a record that contradicts itself
//! is taken for corrupt; the `portcullis` commands are easier.
//!
//! A file may be replaced by an older one only while nobody has it open, unless with `.restore`,
//! which is a change like any other. The incarnation of its feed should be drawn anew then:
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
    Batch, Change, Index, Lookup, Page, PageRequest, Position, Record, Store, StoreError,
};
use portcullis::toolkit::{Feed, GroupWriter, InlineReadGate, OwnedLookup};

use tokio::sync::Mutex;

pub use open::OpenError;
pub use options::SqliteOptions;

use committer::Committer;
use open::Location;
use readers::Readers;

/// Keeps records in an SQLite file.
///
/// Its methods need a tokio runtime. Reads of a few records are made at once, as long as they do
/// not wait for the disk ([`InlineReadGate`]); for all others they use the runtime's blocking threads. One
/// thread of its own writes; it ends when the store is [closed](Store::close) or dropped, after it has
/// finished what was begun.
pub struct SqliteStore {
    location: Location,
    created: bool,
    feed: Arc<Feed>,
    readers: Arc<Readers>,
    writer: GroupWriter<Committer>,
    /// Held by the backup that is being made.
    backups: Arc<Mutex<()>>,
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
    /// Of several processes that open the same new store at once, one is told so.
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

    /// The last change that was announced, which may be behind other processes.
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
