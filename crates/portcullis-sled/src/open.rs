//! Opening the directory and taking the lock on it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use portcullis::toolkit::{OpenError, catch_panic, sync_directory};
use tempfile::TempDir;

use crate::error::Failure;
use crate::trees::{self, DatabaseContents, FORMAT, Trees};
use crate::{create, read_only_copy};

/// This file is locked while the directory is open. sled locks a file of its own as well, but reports
/// a conflict only in the text of an error. The file of an established store contains the
/// [mark](MARK): if the database is empty then, its records are lost, and it is no new store.
pub(crate) const LOCK: &str = "portcullis.lock";
const MARK: &[u8] = b"portcullis\n";

/// sled releases its files some time after it is dropped.
const RELEASED_WITHIN: Duration = Duration::from_secs(5);
const RETRY_AFTER: Duration = Duration::from_millis(5);

/// A directory, held by this store alone, and how to open the database in it.
#[derive(Debug)]
pub(crate) struct Location {
    path: PathBuf,
    /// The path of the store: its final path, or that of the original of a copy.
    display_path: PathBuf,
    cache_bytes: u64,
    lock: File,
    /// The temporary directory of a copy, which is removed with it.
    _copy: Option<TempDir>,
}

impl Location {
    /// Finds or creates the directory, takes the lock, and opens the database. Tells whether it
    /// was created.
    pub(crate) fn open(
        path: &Path,
        create: bool,
        cache_bytes: u64,
    ) -> Result<(Self, Trees, bool), OpenError> {
        let path = std::path::absolute(path).map_err(|source| OpenError::open(path, source))?;
        let open_error = |source: io::Error| OpenError::open(&path, source);
        match contents(&path).map_err(open_error)? {
            DirectoryContents::Nothing if !create => return Err(OpenError::Missing { path }),
            DirectoryContents::Nothing => {
                if let Some(lock) = create::make(&path, cache_bytes)? {
                    let location = Self::new(path.clone(), path, cache_bytes, lock);
                    let (trees, _) = location.first_trees(false, true)?;
                    return Ok((location, trees, true));
                }
                let created = create_directory(&path);
                created.map_err(|source| OpenError::create(&path, source))?;
            }
            DirectoryContents::Foreign => return Err(OpenError::Foreign { path }),
            DirectoryContents::Database => {}
        }
        let lock = take_lock(&path, &path)?;
        let is_established = lock.metadata().map_err(open_error)?.len() > 0;
        let location = Self::new(path.clone(), path, cache_bytes, lock);
        let (trees, created) = location.first_trees(create, is_established)?;
        Ok((location, trees, created))
    }

    pub(crate) fn new(path: PathBuf, display_path: PathBuf, cache_bytes: u64, lock: File) -> Self {
        Self { path, display_path, cache_bytes, lock, _copy: None }
    }

    /// Opens a copy of the store at the path, which goes with the location.
    pub(crate) fn open_copy(
        path: &Path,
        cache_bytes: u64,
    ) -> Result<(Self, Trees, bool), OpenError> {
        let display_path =
            std::path::absolute(path).map_err(|source| OpenError::open(path, source))?;
        match contents(&display_path) {
            Ok(DirectoryContents::Database) => {}
            Ok(DirectoryContents::Nothing) => {
                return Err(OpenError::Missing { path: display_path });
            }
            Ok(DirectoryContents::Foreign) => {
                return Err(OpenError::Foreign { path: display_path });
            }
            Err(error) => return Err(OpenError::open(&display_path, error)),
        }
        let copy = read_only_copy::copy(&display_path)?;
        let lock = take_lock(copy.path(), &display_path)?;
        let location = Self {
            path: copy.path().to_owned(),
            display_path,
            cache_bytes,
            lock,
            _copy: Some(copy),
        };
        let (trees, _) = location.first_trees(false, false)?;
        Ok((location, trees, false))
    }

    /// Makes a store in the directory, in which nothing is but the lock, and lets go of all its files
    /// but this.
    pub(crate) fn fill(self) -> Result<File, OpenError> {
        let (trees, _created) = self.first_trees(true, false)?;
        drop(trees);
        self.wait_until_released()
            .map_err(|source| OpenError::create(&self.display_path, source))?;
        Ok(self.lock)
    }

    /// sled may write for a moment after it was dropped.
    fn wait_until_released(&self) -> io::Result<()> {
        let began = Instant::now();
        loop {
            match File::open(self.path.join("db"))?.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) if began.elapsed() < RELEASED_WITHIN => {
                    thread::sleep(RETRY_AFTER);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn first_trees(&self, create: bool, is_established: bool) -> Result<(Trees, bool), OpenError> {
        let path = || self.display_path.clone();
        let lost = || {
            let source = "its records are gone".into();
            Err(OpenError::Corrupt { path: path(), source })
        };
        // sled would begin a new one.
        if is_established && !self.path.join("db").exists() {
            return lost();
        }
        let opened = catch_panic(|| {
            let db = self.database()?;
            let found = trees::identify(&db)?;
            match found {
                DatabaseContents::Format(found @ 1..=FORMAT) => {
                    let trees = Trees::open(db, &self.path)?;
                    if found < FORMAT {
                        trees.establish()?;
                    }
                    if !is_established {
                        self.mark()?;
                    }
                    Ok(Ok((trees, false)))
                }
                DatabaseContents::Nothing if is_established => Ok(lost()),
                DatabaseContents::Nothing if create => {
                    let trees = Trees::open(db, &self.path)?;
                    trees.establish()?;
                    make_private(&self.path)?;
                    self.mark()?;
                    Ok(Ok((trees, true)))
                }
                DatabaseContents::Nothing => Ok(Err(OpenError::Missing { path: path() })),
                DatabaseContents::Format(found) => {
                    let supported = FORMAT;
                    Ok(Err(OpenError::Newer { path: path(), found, supported }))
                }
                DatabaseContents::Foreign => Ok(Err(OpenError::Foreign { path: path() })),
            }
        });
        match opened {
            Ok(opened) => opened,
            Err(
                failure @ (Failure::Panicked(_) | Failure::Sled(sled::Error::Corruption { .. })),
            ) => Err(OpenError::Corrupt { path: path(), source: failure.into() }),
            Err(failure) => Err(OpenError::open(&self.display_path, failure)),
        }
    }

    fn mark(&self) -> io::Result<()> {
        (&self.lock).write_all(MARK)?;
        self.lock.sync_all()
    }

    /// Opens the database again.
    pub(crate) fn trees(&self) -> Result<Trees, Failure> {
        catch_panic(|| Trees::open(self.database()?, &self.path))
    }

    fn database(&self) -> Result<sled::Db, Failure> {
        let config = sled::Config::new()
            .path(&self.path)
            .cache_capacity(self.cache_bytes)
            // Whatever is committed is flushed before it is acknowledged.
            .flush_every_ms(None);
        remove_unfinished_snapshots(&self.path)?;
        let began = Instant::now();
        loop {
            match config.open() {
                // The lock above is ours, so this is what is left of a database that was dropped.
                Err(sled::Error::Io(error))
                    if is_locked(&error) && began.elapsed() < RELEASED_WITHIN =>
                {
                    thread::sleep(RETRY_AFTER);
                }
                opened => return Ok(opened?),
            }
        }
    }

    /// Returns the path of the store.
    pub(crate) fn display_path(&self) -> &Path {
        &self.display_path
    }
}

/// sled reads the snapshot of its pages with the last name, also one that it was writing when the
/// power was cut, and then does not open. Without that one it takes the one before, or none.
fn remove_unfinished_snapshots(path: &Path) -> io::Result<()> {
    for file in fs::read_dir(path)? {
        let file = file?;
        let name = file.file_name();
        let name = name.as_encoded_bytes();
        if name.starts_with(b"snap.") && name.ends_with(b".generating") {
            fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

/// sled reports this only in the text of the error. If the text changes, opening does not wait.
fn is_locked(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

enum DirectoryContents {
    /// Nothing is there, or not more than a creation that did not come to its end.
    Nothing,
    /// What looks like a database of sled.
    Database,
    Foreign,
}

fn contents(path: &Path) -> io::Result<DirectoryContents> {
    let mut entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(DirectoryContents::Nothing);
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Ok(DirectoryContents::Foreign);
        }
        Err(error) => return Err(error),
    };
    let only_lock = entries.try_fold(true, |only, entry| -> io::Result<bool> {
        Ok(only && entry?.file_name() == LOCK)
    })?;
    // sled writes `conf` before `db`.
    Ok(match path.join("conf").try_exists()? {
        _ if only_lock => DirectoryContents::Nothing,
        true if path.join(LOCK).try_exists()? || path.join("db").try_exists()? => {
            DirectoryContents::Database
        }
        _ => DirectoryContents::Foreign,
    })
}

/// Takes the lock in the directory, or makes it.
pub(crate) fn take_lock(directory: &Path, display_path: &Path) -> Result<File, OpenError> {
    let open_error = |source: io::Error| OpenError::open(display_path, source);
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(directory.join(LOCK))
        .map_err(open_error)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: display_path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(open_error(error)),
    }
}

/// For the owner alone.
pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        created => created?,
    }
    path.parent().map_or(Ok(()), sync_directory)
}

/// The directory keeps others out already, unless it was there before.
fn make_private(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    for file in fs::read_dir(path)? {
        let file = file?;
        let mode = if file.file_type()?.is_dir() { 0o700 } else { 0o600 };
        fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    }
    Ok(())
}
