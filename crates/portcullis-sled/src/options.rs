//! The settings of a store.

use std::path::Path;
use std::sync::Arc;

use portcullis::SystemRandom;
use portcullis::store::Position;
use portcullis::toolkit::{Feed, GroupWriter, OpenError, SharedDatabase};

use crate::SledStore;
use crate::committer::SledCommitter;
use crate::open::Location;
use crate::read_only_copy;

/// How to open a [`SledStore`].
///
/// ```no_run
/// use portcullis_sled::SledStore;
///
/// let store = SledStore::options().create(false).open("portcullis.sled")?;
/// # Ok::<(), portcullis_sled::OpenError>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct SledOptions {
    cache_bytes: u64,
    create: bool,
    unwritable: bool,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self { cache_bytes: Self::DEFAULT_CACHE_BYTES, create: true, unwritable: false }
    }
}

impl SledOptions {
    /// The memory for pages unless set: 64 MiB.
    pub const DEFAULT_CACHE_BYTES: u64 = 64 << 20;

    /// Sets how much memory sled may use for pages, in bytes; at least 1 MiB. Default:
    /// [`SledOptions::DEFAULT_CACHE_BYTES`]. sled takes more for what it knows of every page.
    ///
    /// Records are in the order of their ids, so a list of a user's records reads a page for each. With
    /// hundreds of thousands of records, 256 MiB made lists two to three times as fast.
    pub fn cache_bytes(self, cache_bytes: u64) -> Self {
        Self { cache_bytes: cache_bytes.max(1 << 20), ..self }
    }

    /// Sets whether a store is created where there is none. Default: yes.
    pub fn create(self, create: bool) -> Self {
        Self { create, ..self }
    }

    /// Sets whether a store that cannot be written is opened for reading, such as a backup on a
    /// read-only file system. sled cannot open such a directory, so it is copied to a temporary one, for
    /// this user alone, and every change is refused with
    /// [`StoreError::ReadOnly`](portcullis::store::StoreError::ReadOnly). Default: no.
    pub fn open_unwritable(self, unwritable: bool) -> Self {
        Self { unwritable, ..self }
    }

    /// Opens the store in the directory at the path.
    ///
    /// This blocks on the disk, for seconds when there are millions of records: call it before the
    /// runtime serves requests, or where blocking is allowed. Only its owner can enter a new
    /// directory.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<SledStore, OpenError> {
        let path = path.as_ref();
        let read_only = self.unwritable && read_only_copy::is_unwritable(path);
        let (location, trees, created) = if read_only {
            Location::open_copy(path, self.cache_bytes)?
        } else {
            Location::open(path, self.create, self.cache_bytes)?
        };
        let path = location.display_path().to_owned();
        let unusable = |source| OpenError::Open { path: path.clone(), source };
        let incarnation =
            Position::new_incarnation(&SystemRandom).map_err(|error| unusable(error.into()))?;
        let feed = Feed::single_process(incarnation);
        let shared = SharedDatabase::new(trees);
        let committer = SledCommitter::new(location, Arc::clone(&shared), Arc::clone(&feed));
        let writer = GroupWriter::start("portcullis-sled", committer)
            .map_err(|error| unusable(error.into()))?;
        let (cache_bytes, backups) = (self.cache_bytes, Arc::default());
        Ok(SledStore { path, created, cache_bytes, feed, shared, writer, backups, read_only })
    }
}
