//! Stores in files on this machine: opening them, and creating new ones.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use portcullis::store::MaintenanceStore;
use portcullis_redb::RedbStore;
use portcullis_sled::SledStore;
use portcullis_sqlite::SqliteStore;

use super::lifecycle::OpenMode;

/// A store in files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileStore {
    /// In a file of redb.
    Redb(PathBuf),
    /// In a directory of sled.
    Sled(PathBuf),
    /// In an SQLite file.
    Sqlite(PathBuf),
}

impl fmt::Display for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self {
            Self::Redb(_) => "redb",
            Self::Sled(_) => "sled",
            Self::Sqlite(_) => "sqlite",
        };
        write!(f, "{scheme}:{}", self.path().display())
    }
}

impl FileStore {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Redb(path) | Self::Sled(path) | Self::Sqlite(path) => path,
        }
    }

    /// Returns the same kind of store at another path.
    pub(crate) fn at(&self, path: PathBuf) -> Self {
        match self {
            Self::Redb(_) => Self::Redb(path),
            Self::Sled(_) => Self::Sled(path),
            Self::Sqlite(_) => Self::Sqlite(path),
        }
    }

    /// Returns whether there is nothing, or only an empty file or directory.
    pub(crate) fn is_absent(&self) -> io::Result<bool> {
        match fs::metadata(self.path()) {
            Ok(file) if file.is_dir() => Ok(fs::read_dir(self.path())?.next().is_none()),
            Ok(file) => Ok(file.len() == 0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Opens the store. This blocks.
    pub(crate) fn open(&self, mode: OpenMode) -> anyhow::Result<Arc<dyn MaintenanceStore>> {
        self.open_with(mode, false)
    }

    /// Opens the store for reading, also if it cannot be written, such as a backup. This blocks.
    pub(crate) fn open_to_read(&self) -> anyhow::Result<Arc<dyn MaintenanceStore>> {
        self.open_with(OpenMode::MustExist, true)
    }

    fn open_with(
        &self,
        mode: OpenMode,
        unwritable: bool,
    ) -> anyhow::Result<Arc<dyn MaintenanceStore>> {
        let create = mode == OpenMode::Create;
        let missing = |path: PathBuf| {
            anyhow!(
                "there is no store at `{}`: check --store, or create one with `portcullis setup` \
                 or `portcullis serve`",
                path.display()
            )
        };
        match self {
            Self::Redb(path) => {
                match RedbStore::options().create(create).open_unwritable(unwritable).open(path) {
                    Ok(store) => Ok(Arc::new(store)),
                    Err(portcullis_redb::OpenError::Missing { path }) => Err(missing(path)),
                    Err(error) => Err(error.into()),
                }
            }
            Self::Sled(path) => {
                match SledStore::options().create(create).open_unwritable(unwritable).open(path) {
                    Ok(store) => Ok(Arc::new(store)),
                    Err(portcullis_sled::OpenError::Missing { path }) => Err(missing(path)),
                    Err(error) => Err(error.into()),
                }
            }
            Self::Sqlite(path) => {
                match SqliteStore::options().create(create).open_unwritable(unwritable).open(path) {
                    Ok(store) => Ok(Arc::new(store)),
                    Err(portcullis_sqlite::OpenError::Missing { path }) => Err(missing(path)),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    /// Logs a warning if other users of this machine can read the store: it holds the hashes of passwords.
    pub(crate) fn warn_if_open_to_others(&self) {
        let path = self.path();
        if is_open_to_others(path) {
            let mode = if path.is_dir() { "0700" } else { "0600" };
            tracing::warn!(
                "`{}` can be read by other users of this machine, and holds the hashes of passwords \
                 and tokens: give it mode {mode}",
                path.display()
            );
        }
    }

    /// Creates a store that appears at its path when it is complete. No error leaves an incomplete store,
    /// and no other process can open one. `fill` gets the store under its temporary path, and must close
    /// it.
    pub(crate) fn create_whole<T>(
        &self,
        fill: impl FnOnce(&Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let path = self.path();
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let cannot_create = || format!("cannot create `{}`", path.display());
        if !self.is_absent().with_context(cannot_create)? {
            bail!("there is something at `{}` already: choose another path", path.display());
        }
        self.refuse_leftovers()?;
        let mut temporary = tempfile::Builder::new();
        temporary.prefix(".portcullis-new-");
        // Only for the owner, whatever the umask is.
        #[cfg(unix)]
        temporary.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let temporary = temporary.tempdir_in(directory).with_context(cannot_create)?;
        let unfinished = self.at(temporary.path().join("store"));
        let filled = fill(&unfinished)?;
        unfinished.move_to(path).with_context(cannot_create)?;
        sync_directory(directory).with_context(cannot_create)?;
        Ok(filled)
    }

    /// Moves the store to a path where nothing exists.
    fn move_to(&self, target: &Path) -> anyhow::Result<()> {
        match self {
            Self::Sled(path) => {
                // Fails where there is a directory that is not empty.
                fs::rename(path, target)?;
            }
            Self::Redb(path) | Self::Sqlite(path) => {
                if matches!(self, Self::Sqlite(_)) && beside(path, "-wal").try_exists()? {
                    // Closing moves everything into the file. If it could not, the file is
                    // incomplete.
                    bail!("the new store could not be completed");
                }
                if fs::metadata(target).is_ok_and(|file| file.len() == 0) {
                    fs::remove_file(target)?;
                }
                // Unlike a rename, this fails if something exists there by now.
                fs::hard_link(path, target)?;
            }
        }
        Ok(())
    }

    /// Refuses a path beside which SQLite has left files of an earlier store: it would apply the earlier
    /// store's log to the new one.
    fn refuse_leftovers(&self) -> anyhow::Result<()> {
        let Self::Sqlite(path) = self else { return Ok(()) };
        for suffix in ["-wal", "-shm", "-journal"] {
            let beside = beside(path, suffix);
            let exists = beside.try_exists();
            if exists.with_context(|| format!("cannot access `{}`", beside.display()))? {
                bail!(
                    "`{}` is left over from a store that was at `{}`: put that store back, or \
                     delete what is left of it, and try again",
                    beside.display(),
                    path.display()
                );
            }
        }
        Ok(())
    }
}

/// Returns whether users other than the owner can read the file or enter the directory.
#[cfg(unix)]
fn is_open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;

    fs::metadata(path).is_ok_and(|at| {
        let others = if at.is_dir() { 0o011 } else { 0o044 };
        at.permissions().mode() & others != 0
    })
}

#[cfg(not(unix))]
fn is_open_to_others(_: &Path) -> bool {
    false
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut beside = path.to_owned().into_os_string();
    beside.push(suffix);
    beside.into()
}

/// Makes new names in the directory survive a power cut.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}
