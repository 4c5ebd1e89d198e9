//! The open database: its trees, and making what was written to them durable.
//!
//! sled calls `sync_file_range` where others call `fsync`: that neither empties the disk's cache
//! nor writes what the file system knows of the file. So after its flush the files are synced here.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::ops::{Bound, ControlFlow};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use portcullis::store::StoreError;
use portcullis::toolkit::ordered::{Edits, Keyspace, Read, Scan, Write};
use portcullis::toolkit::{catch_panic, sync_directory};
use sled::transaction::{ConflictableTransactionError, TransactionError, TransactionalTree};
use sled::{Db, Transactional as _, Tree};

use crate::error::Failure;

const FORMAT_KEY: &[u8] = b"format";
/// The generation of the trees of entries that is in use.
const GENERATION_KEY: &[u8] = b"generation";
/// The format that this version writes. Since format 2 there are [mappings](portcullis::store::Kind::Dbrp),
/// since format 3 last uses of credentials, which an older version would not find when it verifies or
/// copies a store; nothing else has changed.
pub(crate) const FORMAT: u64 = 3;

const RECORDS: &str = "records";
const UNIQUE: &str = "unique.";
const INDEX: &str = "index.";

/// An open database.
#[derive(Debug)]
pub(crate) struct Trees {
    db: Db,
    records: Tree,
    unique: Tree,
    index: Tree,
    generation: u64,
    files: Mutex<Files>,
}

/// The contents of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DatabaseContents {
    /// Nothing: there is no store in it, and nothing else either.
    Nothing,
    /// A store of this format.
    Format(u64),
    /// Something else.
    Foreign,
}

/// Identifies the contents of the database.
pub(crate) fn identify(db: &Db) -> Result<DatabaseContents, Failure> {
    Ok(match db.get(FORMAT_KEY)? {
        Some(format) => number(&format).map_or(DatabaseContents::Foreign, DatabaseContents::Format),
        None if db.is_empty() && db.tree_names().len() == 1 => DatabaseContents::Nothing,
        None => DatabaseContents::Foreign,
    })
}

impl Trees {
    /// Opens the trees of a database that is a store or [is to become one](identify).
    pub(crate) fn open(db: Db, directory: &Path) -> Result<Self, Failure> {
        let generation = db.get(GENERATION_KEY)?.as_deref().and_then(number).unwrap_or(1);
        let trees = Self {
            records: db.open_tree(RECORDS)?,
            unique: db.open_tree(format!("{UNIQUE}{generation}"))?,
            index: db.open_tree(format!("{INDEX}{generation}"))?,
            generation,
            files: Mutex::new(Files::open(directory)?),
            db,
        };
        trees.drop_leftovers()?;
        Ok(trees)
    }

    /// Makes it a store of the current format, durably.
    pub(crate) fn establish(&self) -> Result<(), Failure> {
        self.db.insert(FORMAT_KEY, &FORMAT.to_be_bytes())?;
        self.make_durable()
    }

    /// Removes the trees of entries of an interrupted rebuild, or those that were just replaced.
    fn drop_leftovers(&self) -> Result<(), Failure> {
        for name in self.db.tree_names() {
            let is_entries =
                name.starts_with(UNIQUE.as_bytes()) || name.starts_with(INDEX.as_bytes());
            if is_entries && name != self.unique.name() && name != self.index.name() {
                self.db.drop_tree(name)?;
            }
        }
        Ok(())
    }

    pub(crate) fn of(&self, keyspace: Keyspace) -> &Tree {
        match keyspace {
            Keyspace::Records => &self.records,
            Keyspace::Unique => &self.unique,
            Keyspace::Index => &self.index,
        }
    }

    /// Writes the edits in one transaction over all trees.
    pub(crate) fn write(&self, edits: &Edits) -> Result<(), Failure> {
        let trees = [&self.records, &self.unique, &self.index];
        let written = trees.as_slice().transaction(|views: &Vec<TransactionalTree>| {
            for (view, keyspace) in views.iter().zip(Keyspace::ALL) {
                for (key, value) in edits.of(keyspace) {
                    match value {
                        Some(value) => view.insert(key, value)?,
                        None => view.remove(key)?,
                    };
                }
            }
            Ok::<_, ConflictableTransactionError<()>>(())
        });
        match written {
            Ok(()) | Err(TransactionError::Abort(())) => Ok(()),
            Err(TransactionError::Storage(error)) => Err(error.into()),
        }
    }

    /// Returns once everything written so far survives a crash.
    pub(crate) fn make_durable(&self) -> Result<(), Failure> {
        catch_panic::<_, Failure>(|| Ok(self.db.flush().map(drop)?))?;
        Ok(self.files.lock().unwrap_or_else(PoisonError::into_inner).sync()?)
    }

    /// Returns the trees of entries of the next generation, empty and not in use.
    pub(crate) fn next_entries(&self) -> Result<NextEntries, Failure> {
        let next = self.generation + 1;
        let unique = self.db.open_tree(format!("{UNIQUE}{next}"))?;
        let index = self.db.open_tree(format!("{INDEX}{next}"))?;
        unique.clear()?;
        index.clear()?;
        Ok(NextEntries { unique, index })
    }

    /// Takes the trees of the next generation, which are durable, in place of those in use.
    pub(crate) fn take_next_entries(&mut self, entries: NextEntries) -> Result<(), Failure> {
        let next = self.generation + 1;
        self.db.insert(GENERATION_KEY, &next.to_be_bytes())?;
        self.make_durable()?;
        (self.unique, self.index, self.generation) = (entries.unique, entries.index, next);
        self.drop_leftovers()
    }
}

impl Read for Trees {
    fn get<T>(
        &self,
        keyspace: Keyspace,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, StoreError> {
        get(self.of(keyspace), key, read)
    }
}

impl Scan for Trees {
    fn scan(
        &self,
        keyspace: Keyspace,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        for pair in self.of(keyspace).range::<&[u8], _>(bounds) {
            let (key, value) = pair.map_err(Failure::from)?;
            if visit(&key, &value)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn get<T>(tree: &Tree, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, StoreError> {
    let value = tree.get(key).map_err(Failure::from)?;
    Ok(value.as_deref().map(read))
}

/// Trees of entries that are not in use yet.
pub(crate) struct NextEntries {
    unique: Tree,
    index: Tree,
}

impl NextEntries {
    /// Returns the tree of the keyspace. Records are in neither.
    const fn of(&self, keyspace: Keyspace) -> &Tree {
        match keyspace {
            Keyspace::Unique => &self.unique,
            Keyspace::Index | Keyspace::Records => &self.index,
        }
    }
}

impl Read for NextEntries {
    fn get<T>(
        &self,
        keyspace: Keyspace,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, StoreError> {
        get(self.of(keyspace), key, read)
    }
}

impl Write for NextEntries {
    fn put(
        &mut self,
        keyspace: Keyspace,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let tree = self.of(keyspace);
        match value {
            Some(value) => tree.insert(key, value),
            None => tree.remove(key),
        }
        .map_err(Failure::from)?;
        Ok(())
    }
}

fn number(value: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(value.try_into().ok()?))
}

/// The files of a database, to be synced.
#[derive(Debug)]
struct Files {
    directory: PathBuf,
    /// Everything but large values.
    log: File,
    /// Large values have a file each, which sled writes once.
    large: PathBuf,
    large_synced: HashSet<OsString>,
}

impl Files {
    fn open(directory: &Path) -> io::Result<Self> {
        let large = directory.join("blobs");
        let mut files = Self {
            directory: directory.to_owned(),
            log: File::open(directory.join("db"))?,
            large,
            large_synced: HashSet::new(),
        };
        // Those that are there may come from a crash that happened before they were synced.
        files.sync_large()?;
        for name in ["conf", "db"] {
            match File::open(directory.join(name)) {
                Ok(file) => file.sync_all()?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        sync_directory(&files.directory)?;
        Ok(files)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_large()?;
        self.log.sync_data()
    }

    fn sync_large(&mut self) -> io::Result<()> {
        let there = match fs::read_dir(&self.large) {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut found = HashSet::new();
        let mut any_new = false;
        for file in there {
            let file = file?;
            if !self.large_synced.contains(&file.file_name()) {
                match File::open(file.path()) {
                    Ok(file) => file.sync_all()?,
                    // sled has removed it meanwhile.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
                any_new = true;
            }
            found.insert(file.file_name());
        }
        self.large_synced = found;
        if any_new { sync_directory(&self.large) } else { Ok(()) }
    }
}
