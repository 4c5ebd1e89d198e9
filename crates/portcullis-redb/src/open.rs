//! Opening the file, and creating it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use portcullis::store::StoreError;
use portcullis::toolkit::{EnginePanic, OpenError, catch_panic, sync_directory};
use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, StorageError};
use thiserror::Error;

use crate::tables::{Contents, FORMAT, establish, failed, identify};

/// What every file of redb begins with.
const MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";

/// A file, and how to open it.
#[derive(Clone, Debug)]
pub(crate) struct Location {
    path: PathBuf,
    cache_bytes: usize,
}

/// An opened store.
pub(crate) struct Opened {
    pub(crate) location: Location,
    pub(crate) database: Database,
    pub(crate) created: bool,
    /// Whether the database is a temporary copy of a file that cannot be written.
    pub(crate) read_only: bool,
}

#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Panicked(#[from] EnginePanic),
    #[error(transparent)]
    Redb(#[from] redb::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Location {
    pub(crate) fn new(path: &Path, cache_bytes: usize) -> Result<Self, OpenError> {
        let path = std::path::absolute(path).map_err(|source| OpenError::open(path, source))?;
        Ok(Self { path, cache_bytes })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the store, and creates it if there is none.
    pub(crate) fn open(self, create: bool, unwritable: bool) -> Result<Opened, OpenError> {
        let open_error = |source: io::Error| OpenError::open(&self.path, source);
        let missing = || OpenError::Missing { path: self.path.clone() };
        match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && create => {
                let made = self.make().map_err(|source| self.error(source, true))?;
                if let Some(database) = made {
                    let (created, read_only) = (true, false);
                    return Ok(Opened { location: self, database, created, read_only });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
            Err(error) => return Err(open_error(error)),
            Ok(file) => match begins_with_magic(file).map_err(open_error)? {
                Some(true) => {}
                Some(false) => return Err(OpenError::Foreign { path: self.path }),
                None if create => {}
                None => return Err(missing()),
            },
        }
        let (file, read_only) = match self.open_file() {
            Err(error) if unwritable && is_unwritable(&error) => (self.copy()?, true),
            opened => (opened.map_err(open_error)?, false),
        };
        let (database, created) = catch_panic(|| self.identified(file, create && !read_only))
            .map_err(|failure| self.error(failure, false))??;
        Ok(Opened { location: self, database, created, read_only })
    }

    /// Opens the database again.
    pub(crate) fn reopen(&self) -> Result<Database, StoreError> {
        let file = self.open_file().map_err(StoreError::backend)?;
        catch_panic(|| self.database(file).map_err(failed))
    }

    fn open_file(&self) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(&self.path)
    }

    /// Opens the database in the file, or begins one if it is empty.
    pub(crate) fn database(&self, file: File) -> Result<Database, DatabaseError> {
        let path = self.path.clone();
        let progress = move |session: &mut redb::RepairSession| {
            let percent = (session.progress() * 100.0).floor();
            let path = path.display();
            tracing::info!("`{path}` was not closed: it is checked, {percent} %");
        };
        Builder::new()
            .set_cache_size(self.cache_bytes)
            .set_repair_callback(progress)
            .create_with_backend(FileBackend::new(file)?)
    }

    /// Opens the database and checks that it is a store. Tells whether it was created.
    fn identified(
        &self,
        file: File,
        create: bool,
    ) -> Result<Result<(Database, bool), OpenError>, Failure> {
        let path = || self.path.clone();
        let database = self.database(file)?;
        Ok(match identify(&database)? {
            Contents::Format(found @ 1..=FORMAT) => {
                if found < FORMAT {
                    fill(&database)?;
                }
                Ok((database, false))
            }
            Contents::Format(found) => {
                Err(OpenError::Newer { path: path(), found, supported: FORMAT })
            }
            Contents::Nothing if create => {
                fill(&database)?;
                Ok((database, true))
            }
            Contents::Nothing => Err(OpenError::Missing { path: path() }),
            Contents::Foreign => Err(OpenError::Foreign { path: path() }),
        })
    }

    /// Creates a store beside the path, where nothing is, and moves it there once it is complete and
    /// synced. Only its owner can read it. Returns `None` if something is there by now.
    fn make(&self) -> Result<Option<Database>, Failure> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let unfinished =
            tempfile::Builder::new().prefix(".portcullis-new-").tempfile_in(directory)?;
        let database = self.database(unfinished.reopen()?)?;
        fill(&database)?;
        unfinished.as_file().sync_all()?;
        match unfinished.persist_noclobber(&self.path) {
            Ok(_file) => {
                sync_directory(directory)?;
                Ok(Some(database))
            }
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(error.error.into()),
        }
    }

    /// Copies the file to a temporary one without a name, in which redb can repair what it must.
    fn copy(&self) -> Result<File, OpenError> {
        let copy = || -> io::Result<Option<File>> {
            let mut file = File::open(&self.path)?;
            // redb holds this lock while it has the file open.
            if let Err(fs::TryLockError::WouldBlock) = file.try_lock_shared() {
                return Ok(None);
            }
            let mut copy = tempfile::tempfile()?;
            io::copy(&mut file, &mut copy)?;
            Ok(Some(copy))
        };
        let copied = copy().map_err(|source| OpenError::open(&self.path, source))?;
        copied.ok_or_else(|| OpenError::InUse { path: self.path.clone() })
    }

    fn error(&self, failure: Failure, creating: bool) -> OpenError {
        let path = self.path.clone();
        match failure {
            Failure::Io(source) if creating => OpenError::Create { path, source },
            Failure::Database(
                DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch,
            ) => OpenError::InUse { path },
            Failure::Panicked(_)
            | Failure::Redb(redb::Error::Corrupted(_))
            | Failure::Database(DatabaseError::Storage(StorageError::Corrupted(_))) => {
                OpenError::Corrupt { path, source: failure.into() }
            }
            failure => OpenError::open(&path, failure),
        }
    }
}

/// Tells whether the file begins as those of redb do; `None` if it is empty.
fn begins_with_magic(file: File) -> io::Result<Option<bool>> {
    if !file.metadata()?.is_file() {
        return Ok(Some(false));
    }
    let mut begin = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, MAGIC.len() as u64), &mut begin)?;
    Ok((!begin.is_empty()).then(|| begin == MAGIC))
}

fn fill(database: &Database) -> Result<(), StoreError> {
    let transaction = database.begin_write().map_err(failed)?;
    establish(&transaction)?;
    transaction.commit().map_err(failed)
}

fn is_unwritable(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}
