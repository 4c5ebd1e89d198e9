//! Opening the file and connections to it.

use std::error::Error as StdError;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use thiserror::Error;

use crate::checkpoint;
use crate::error::is_busy;
use crate::files::{self, Files};
use crate::schema::{self, FORMAT, Found};
use crate::tables::TABLES;

/// Why a store could not be opened. A file that is not a store was not changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has the file locked for longer than the
    /// [busy timeout](crate::SqliteOptions::busy_timeout).
    #[error("`{}` is locked by another process: try again when that has finished", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
        /// The error of SQLite.
        #[source]
        source: Source,
    },
    /// The file is a store, and damaged.
    #[error("`{}` is damaged: restore it from a backup", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The error of SQLite.
        #[source]
        source: Source,
    },
    /// There is no file, and none could be created.
    #[error("cannot create `{}`", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is something else.
    #[error("`{}` is not a Portcullis store: choose another path", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// There is no store, and the log of one is there still. A new store would delete it.
    #[error(
        "`{}` is left over from a store that was at `{}`: put that store back, or delete what is \
         left of it, and try again",
        left_over.display(),
        path.display()
    )]
    LeftOver {
        /// The file that is not there, or is empty.
        path: PathBuf,
        /// The file beside it that belongs to an earlier store.
        left_over: PathBuf,
    },
    /// There is no store, and none was to be [created](crate::SqliteOptions::create).
    #[error("there is no store at `{}`: check the path, or have one created", path.display())]
    Missing {
        /// The file that is not there, or is empty.
        path: PathBuf,
    },
    /// A newer version of Portcullis has written the file.
    #[error(
        "`{}` has format {found} and this version of Portcullis reads up to {supported}: \
         upgrade Portcullis",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format of the file.
        found: i64,
        /// The newest format that this version can read.
        supported: i64,
    },
    /// The file, or those that SQLite keeps beside it, could not be opened.
    #[error("cannot open `{}`, or the files beside it", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Source,
    },
    /// The file has an older format and cannot be written, so that it cannot be migrated.
    #[error(
        "`{}` cannot be written and has the older format {found}: copy it to where it can be \
         written, and open the copy",
        path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
    },
    /// The file, one of those beside it, or their directory cannot be written. Nothing was left
    /// there.
    #[error(
        "`{}` cannot be written: check who may write the file, those beside it and their \
         directory, and whether the file system is mounted read-only",
        path.display()
    )]
    ReadOnly {
        /// The file or directory that is in the way.
        path: PathBuf,
    },
}

type Source = Box<dyn StdError + Send + Sync>;

/// The time between tries to switch the file to write-ahead logging.
const RETRY_AFTER: Duration = Duration::from_millis(5);

/// The longest timeout that SQLite can be given.
const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);

/// How much memory the writer may use for pages; large batches are several times as fast with it.
const WRITER_CACHE_KIB: u32 = 16 << 10;

/// What a connection that reads keeps of the file: two thousand pages, so that what those at work own
/// is not read and copied each time.
const READER_CACHE_KIB: u32 = 8 << 10;

/// A file, and how to connect to it.
#[derive(Clone, Debug)]
pub(crate) struct Location {
    path: PathBuf,
    busy_timeout: Duration,
    /// Whether the file cannot be written, and no process writes it.
    immutable: bool,
}

impl Location {
    pub(crate) fn new(path: &Path, busy_timeout: Duration) -> Result<Self, OpenError> {
        // SQLite gives a meaning of its own to `:memory:` and `file:…`, and an absolute path stays
        // the same when the process changes its directory.
        let absolute = std::path::absolute(path)
            .map_err(|source| OpenError::Open { path: path.to_owned(), source: source.into() })?;
        Ok(Self { path: absolute, busy_timeout: busy_timeout.min(LONGEST), immutable: false })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn busy_timeout(&self) -> Duration {
        self.busy_timeout
    }

    /// Tells whether it is opened as immutable.
    pub(crate) fn is_immutable(&self) -> bool {
        self.immutable
    }

    /// Opens the file, migrates it if it is older, and returns a connection to write with, and
    /// whether the store is new.
    pub(crate) fn open(&self, create: bool) -> Result<(Connection, bool), OpenError> {
        let files = Files::of(&self.path);
        if create {
            files.refuse_leftovers()?;
            self.create_file()?;
        }
        self.check_file()?;
        // SQLite would create files beside it first, which the owner of the store could not write.
        files.refuse_if_unwritable()?;
        let mut connection = self.connect().map_err(|error| self.error(error))?;
        // Before anything is changed in a file that may not be a store.
        self.identify(&mut connection, create)?;
        self.set_up_writer(&connection).map_err(|error| self.error(error))?;
        let mut created = false;
        loop {
            let format = match self.identify(&mut connection, create)? {
                Found::Store { format: FORMAT } => break,
                Found::Store { format } => format,
                Found::Empty | Found::Foreign => 0,
            };
            let migrated = schema::migrate(&mut connection, format);
            created |= migrated.map_err(|error| self.error(error))? && format == 0;
        }
        self.check_schema(&connection)?;
        Ok((connection, created))
    }

    /// Opens a file that cannot be written, in a place where it does not change: without a lock,
    /// and without files beside it. From then on all connections are like this.
    pub(crate) fn open_immutable(&mut self) -> Result<Connection, OpenError> {
        self.check_file()?;
        Files::of(&self.path).refuse_if_in_use()?;
        self.immutable = true;
        let mut connection = self.connect().map_err(|error| self.error(error))?;
        let found = schema::identify(&mut connection).map_err(|error| self.error(error))?;
        match self.refuse_unfit(found, false)? {
            Found::Store { format } if format < FORMAT => {
                return Err(OpenError::Older { path: self.path.clone(), found: format });
            }
            _ => {}
        }
        self.check_schema(&connection)?;
        Ok(connection)
    }

    /// Opens a connection to write with, to a file that was opened before.
    pub(crate) fn connect_writer(&self) -> rusqlite::Result<Connection> {
        let connection = self.connect()?;
        self.set_up_writer(&connection)?;
        Ok(connection)
    }

    /// Opens a connection to read with.
    pub(crate) fn connect_reader(&self) -> rusqlite::Result<Connection> {
        // Not opened as read-only: such a connection cannot recover what a process that was
        // killed has left behind.
        let connection = self.connect()?;
        connection.pragma_update(None, "query_only", true)?;
        connection.pragma_update(None, "cache_size", -i64::from(READER_CACHE_KIB))?;
        Ok(connection)
    }

    /// Opens a connection that is not set up for anything.
    pub(crate) fn connect(&self) -> rusqlite::Result<Connection> {
        let connection = if self.immutable {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
            let uri = files::immutable_uri(&self.path);
            Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?
        } else {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            Connection::open_with_flags(&self.path, flags)?
        };
        connection.busy_timeout(self.busy_timeout)?;
        // What another program has put into the schema calls no function that does something.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.set_prepared_statement_cache_capacity(128);
        // No plan depends on a value. Otherwise SQLite makes nearly every one anew whenever its
        // statement comes from the cache, for which it has been told to forget the values.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        Ok(connection)
    }

    fn set_up_writer(&self, connection: &Connection) -> rusqlite::Result<()> {
        self.set_write_ahead(connection)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        // What is deleted is overwritten: a password hash must not stay behind in the file.
        connection.pragma_update(None, "secure_delete", true)?;
        checkpoint::set_limits(connection)?;
        connection.pragma_update(None, "cache_size", -i64::from(WRITER_CACHE_KIB))
    }

    /// Switches the file to write-ahead logging, unless it is so already.
    fn set_write_ahead(&self, connection: &Connection) -> rusqlite::Result<()> {
        let begin = Instant::now();
        loop {
            let mode = switch_to_write_ahead(connection);
            return match mode {
                Ok(true) => Ok(()),
                Ok(false) => Err(rusqlite::Error::SqliteFailure(
                    rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN),
                    Some("it could not be switched to write-ahead logging".to_owned()),
                )),
                // SQLite does not wait here when two processes switch a new file at once.
                Err(error) if is_busy(&error) && begin.elapsed() < self.busy_timeout => {
                    std::thread::sleep(RETRY_AFTER);
                    continue;
                }
                Err(error) => Err(error),
            };
        }
    }

    /// Creates the file if there is none, for the owner only. SQLite gives the files beside it
    /// the same mode.
    fn create_file(&self) -> Result<(), OpenError> {
        // Closing a file gives up all locks that this process has on it. So no other thread may
        // get to open a file while this one still has to close it.
        static CREATING: Mutex<()> = Mutex::new(());
        let _creating = CREATING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(&self.path) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(source) => Err(OpenError::Create { path: self.path.clone(), source }),
        }
    }

    /// Refuses what SQLite would refuse without a reason.
    fn check_file(&self) -> Result<(), OpenError> {
        let path = self.path.clone();
        let source = match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => return Ok(()),
            Ok(metadata) if metadata.is_dir() => io::ErrorKind::IsADirectory.into(),
            Ok(_) => io::Error::other("it is not a regular file"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(OpenError::Missing { path });
            }
            Err(error) => error,
        };
        let source = source.into();
        Err(OpenError::Open { path, source })
    }

    /// Refuses what is not a store that this version can work with.
    fn identify(&self, connection: &mut Connection, create: bool) -> Result<Found, OpenError> {
        let path = self.path.clone();
        let found = schema::identify(connection).map_err(|error| self.error(error))?;
        let found = self.refuse_unfit(found, create)?;
        match connection.is_readonly("main") {
            Ok(false) => Ok(found),
            Ok(true) => Err(OpenError::ReadOnly { path }),
            Err(error) => Err(self.error(error)),
        }
    }

    fn refuse_unfit(&self, found: Found, create: bool) -> Result<Found, OpenError> {
        let path = self.path.clone();
        match found {
            Found::Foreign => Err(OpenError::Foreign { path }),
            Found::Empty if !create => Err(OpenError::Missing { path }),
            Found::Store { format } if format < 1 => {
                let source = format!("its format is {format}").into();
                Err(OpenError::Corrupt { path, source })
            }
            Found::Store { format } if format > FORMAT => {
                Err(OpenError::Newer { path, found: format, supported: FORMAT })
            }
            Found::Empty | Found::Store { .. } => Ok(found),
        }
    }

    /// Checks that every table exists, without reading it, which would take long.
    fn check_schema(&self, connection: &Connection) -> Result<(), OpenError> {
        for table in TABLES.iter() {
            let statements = [&table.by_id, &table.of_grant, &table.insert, &table.update];
            for sql in statements {
                connection.prepare(sql).map_err(|error| self.error(error))?;
            }
        }
        Ok(())
    }

    /// Makes the error for a file that lacks a part of a store.
    pub(crate) fn incomplete(&self, source: impl Into<Source>) -> OpenError {
        OpenError::Corrupt { path: self.path.clone(), source: source.into() }
    }

    /// Makes the error for a failure outside the file.
    pub(crate) fn unusable(&self, source: io::Error) -> OpenError {
        OpenError::Open { path: self.path.clone(), source: source.into() }
    }

    /// Makes the error for one of SQLite.
    pub(crate) fn error(&self, error: rusqlite::Error) -> OpenError {
        let path = self.path.clone();
        let code = match &error {
            rusqlite::Error::SqlInputError { error, .. } => Some(error.code),
            other => other.sqlite_error_code(),
        };
        match code {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                OpenError::Busy { path, source: error.into() }
            }
            // `Unknown` is the code of a wrong statement, and the statements are right.
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::Unknown) => {
                OpenError::Corrupt { path, source: error.into() }
            }
            Some(ErrorCode::NotADatabase) => OpenError::Foreign { path },
            Some(ErrorCode::ReadOnly) => OpenError::ReadOnly { path },
            _ => OpenError::Open { path, source: error.into() },
        }
    }
}

/// Returns whether the file is in write-ahead logging now.
fn switch_to_write_ahead(connection: &Connection) -> rusqlite::Result<bool> {
    let is_wal = |mode: String| mode == "wal";
    if connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).map(is_wal)? {
        return Ok(true);
    }
    let answer = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0));
    if !answer.map(is_wal)? {
        return Ok(false);
    }
    // SQLite answers before it commits the switch. If that fails, it says `wal` from then on and
    // uses a rollback journal, whose removal it does not sync: what was acknowledged would be
    // rolled back after a power cut. A log of -1 pages is none, unless another process is in the
    // way, and then there is one.
    let log = "PRAGMA wal_checkpoint(PASSIVE)";
    let (busy, pages): (bool, i64) =
        connection.query_row(log, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(busy || pages >= 0)
}
