//! The settings of a store.

use std::path::Path;
use std::sync::Arc;

use portcullis::SystemRandom;
use portcullis::store::Position;
use portcullis::toolkit::{Backups, Feed, GroupWriter, OpenError, SharedDatabase};

use crate::RedbStore;
use crate::committer::RedbCommitter;
use crate::open::{Location, Opened};

/// How to open a [`RedbStore`].
///
/// ```no_run
/// use portcullis_redb::RedbStore;
///
/// let store = RedbStore::options().create(false).open("portcullis.redb")?;
/// # Ok::<(), portcullis_redb::OpenError>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct RedbOptions {
    cache_bytes: usize,
    create: bool,
    unwritable: bool,
}

impl Default for RedbOptions {
    fn default() -> Self {
        Self { cache_bytes: Self::DEFAULT_CACHE_BYTES, create: true, unwritable: false }
    }
}

impl RedbOptions {
    /// The memory for pages unless set: 64 MiB.
    pub const DEFAULT_CACHE_BYTES: usize = 64 << 20;

    /// Sets how much memory redb may use for pages, in bytes; at least 1 MiB. Default:
    /// [`RedbOptions::DEFAULT_CACHE_BYTES`]. A backup uses as much again.
    ///
    /// Records are in the order of their ids, so a list of a user's records reads a page for each.
    pub fn cache_bytes(self, cache_bytes: usize) -> Self {
        Self { cache_bytes: cache_bytes.max(1 << 20), ..self }
    }

    /// Sets whether a store is created where there is none. Default: yes.
    pub fn create(self, create: bool) -> Self {
        Self { create, ..self }
    }

    /// Sets whether a store that cannot be written is opened for reading, such as a backup on a
    /// read-only file system. It is copied to a temporary file without a name, and every change is
    /// refused with [`StoreError::ReadOnly`](portcullis::store::StoreError::ReadOnly). Default: no.
    pub fn open_unwritable(self, unwritable: bool) -> Self {
        Self { unwritable, ..self }
    }

    /// Opens the store in the file at the path.
    ///
    /// This blocks on the disk, and reads the whole file after a crash: call it before the runtime
    /// serves requests, or where blocking is allowed. Only its owner can read and write a new file.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<RedbStore, OpenError> {
        let location = Location::new(path.as_ref(), self.cache_bytes)?;
        let Opened { location, database, created, read_only } =
            location.open(self.create, self.unwritable)?;
        let incarnation = Position::new_incarnation(&SystemRandom)
            .map_err(|error| OpenError::open(location.path(), error))?;
        let feed = Feed::single_process(incarnation);
        let shared = SharedDatabase::new(database);
        let committer = RedbCommitter {
            location: location.clone(),
            shared: Arc::clone(&shared),
            feed: Arc::clone(&feed),
        };
        let writer = GroupWriter::start("portcullis-redb", committer)
            .map_err(|error| OpenError::open(location.path(), error))?;
        let backups = Backups::default();
        Ok(RedbStore { location, created, feed, shared, writer, backups, read_only })
    }
}
