//! The settings of a store.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use portcullis::toolkit::{Backups, Feed, GroupWriter};

use crate::committer::Committer;
use crate::open::{Location, OpenError};
use crate::readers::Readers;
use crate::{SqliteStore, changes, schema};

/// How to open a [`SqliteStore`].
///
/// ```no_run
/// use portcullis_sqlite::SqliteStore;
///
/// let store = SqliteStore::options().create(false).open("portcullis.db")?;
/// # Ok::<(), portcullis_sqlite::OpenError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SqliteOptions {
    busy_timeout: Duration,
    create: bool,
    readers: NonZeroUsize,
    unwritable: bool,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self {
            busy_timeout: Duration::from_secs(5),
            create: true,
            readers: cores.min(Self::MOST_READERS_BY_DEFAULT),
            unwritable: false,
        }
    }
}

impl SqliteOptions {
    const MOST_READERS_BY_DEFAULT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);

    /// Sets how long to wait while another process writes to the file. Default: 5 seconds. At
    /// most 24 days.
    ///
    /// An import into a running server's file may write for longer than this; the server's own
    /// changes are refused as unavailable meanwhile.
    pub fn busy_timeout(self, busy_timeout: Duration) -> Self {
        Self { busy_timeout, ..self }
    }

    /// Sets whether a store is created where there is none. Default: yes.
    pub fn create(self, create: bool) -> Self {
        Self { create, ..self }
    }

    /// Sets how many connections read, and with it how many reads there can be at a time.
    /// Each keeps at most 8 MiB of the file in memory. Default: one for each core, at most 4.
    pub fn readers(self, readers: NonZeroUsize) -> Self {
        Self { readers, ..self }
    }

    /// Sets whether a store that cannot be written is opened for reading, such as a backup on a
    /// read-only file system. Every change is refused with
    /// [`StoreError::ReadOnly`](portcullis::store::StoreError::ReadOnly) then. The file is treated as
    /// immutable; one with a log beside it is in use, and is refused.
    /// Default: no.
    pub fn open_unwritable(self, unwritable: bool) -> Self {
        Self { unwritable, ..self }
    }

    /// Opens the store at the path.
    ///
    /// This blocks on the disk, and for up to the busy timeout on other processes: call it before the
    /// runtime serves requests, or where blocking is allowed. Only its owner can read and write a new
    /// file. An older format is migrated.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<SqliteStore, OpenError> {
        let mut location = Location::new(path.as_ref(), self.busy_timeout)?;
        let (connection, created) = match location.open(self.create) {
            Err(OpenError::ReadOnly { .. }) if self.unwritable => {
                (location.open_immutable()?, false)
            }
            opened => opened?,
        };
        let readers = (0..self.readers.get())
            .map(|_| location.connect_reader())
            .collect::<Result<_, _>>()
            .map_err(|error| location.error(error))?;
        let readers = Readers::new(readers);

        let incarnation = schema::incarnation(&connection)
            .map_err(|error| location.error(error))?
            .ok_or_else(|| location.incomplete("its incarnation cannot be read"))?;
        let (recent, announced) =
            changes::recent(&connection).map_err(|error| location.error(error))?;
        let before_recent =
            u128::try_from(announced).unwrap_or(0).saturating_sub(recent.len() as u128);
        let feed = Feed::of_shared_store(incarnation, before_recent);
        feed.announce(recent);

        let mut committer = Committer::new(
            location.clone(),
            connection,
            Arc::clone(&readers),
            Arc::clone(&feed),
            announced,
        );
        committer.poll();
        let writer = GroupWriter::start("portcullis-sqlite", committer)
            .map_err(|error| location.unusable(error))?;
        let backups = Backups::default();
        Ok(SqliteStore { location, created, feed, readers, writer, backups })
    }
}
