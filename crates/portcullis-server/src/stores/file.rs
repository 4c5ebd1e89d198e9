//! Stores in files on this machine: opening them, and creating new ones.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use portcullis::store::Maintain;
use portcullis_sled::SledStore;
use portcullis_sqlite::SqliteStore;

use super::lifecycle::OpenMode;

/// A store that outlives this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileStore {
    /// In a directory of sled.
    Sled(PathBuf),
    /// In an SQLite file.
    Sqlite(PathBuf),
}

impl fmt::Display for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self {
            Self::Sled(_) => "sled",
            Self::Sqlite(_) => "sqlite",
        };
        write!(f, "{scheme}:{}", self.path().display())
    }
}

impl FileStore {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Sled(path) | Self::Sqlite(path) => path,
        }
    }

    /// The same kind of store, elsewhere.
    pub(crate) fn at(&self, path: PathBuf) -> Self {
        match self {
            Self::Sled(_) => Self::Sled(path),
            Self::Sqlite(_) => Self::Sqlite(path),
        }
    }

    /// Tells whether there is nothing, or nothing more than an empty file or directory.
    pub(crate) fn is_absent(&self) -> io::Result<bool> {
        match fs::metadata(self.path()) {
            Ok(file) if file.is_dir() => Ok(fs::read_dir(self.path())?.next().is_none()),
            Ok(file) => Ok(file.len() == 0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Opens it. This blocks.
    pub(crate) fn open(&self, mode: OpenMode) -> anyhow::Result<Arc<dyn Maintain>> {
        self.open_with(mode, false)
    }

    /// Opens it to read, also where it cannot be written, such as a backup. This blocks.
    pub(crate) fn open_to_read(&self) -> anyhow::Result<Arc<dyn Maintain>> {
        self.open_with(OpenMode::MustExist, true)
    }

    fn open_with(&self, mode: OpenMode, unwritable: bool) -> anyhow::Result<Arc<dyn Maintain>> {
        let create = mode == OpenMode::Create;
        let missing = |path: PathBuf| {
            anyhow!(
                "there is no store at `{}`: check --store, or create one with `portcullis setup` \
                 or `portcullis serve`",
                path.display()
            )
        };
        match self {
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

    /// Warns of a store that others on this machine may read: it holds the hashes of passwords.
    pub(crate) fn warn_if_open_to_others(&self) {
        let path = self.path();
        if is_open_to_others(path) {
            let mode = if path.is_dir() { "0700" } else { "0600" };
            tracing::warn!(
                "`{}` can be read by others on this machine, and holds the hashes of passwords and \
                 tokens: give it mode {mode}",
                path.display()
            );
        }
    }

    /// Makes a store that appears only when everything is in it: whatever goes wrong leaves none
    /// behind, and nobody, a server for instance, can find it half done. `fill` is given where it
    /// is being made; it must close it.
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
        self.refuse_left_overs()?;
        let mut workshop = tempfile::Builder::new();
        workshop.prefix(".portcullis-new-");
        // For the owner alone, whatever the umask is.
        #[cfg(unix)]
        workshop.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let workshop = workshop.tempdir_in(directory).with_context(cannot_create)?;
        let unfinished = self.at(workshop.path().join("store"));
        let filled = fill(&unfinished)?;
        unfinished.give_name(path).with_context(cannot_create)?;
        sync_directory(directory).with_context(cannot_create)?;
        Ok(filled)
    }

    /// Moves it to a place where nothing is.
    fn give_name(&self, place: &Path) -> anyhow::Result<()> {
        match self {
            Self::Sled(path) => {
                // Fails where there is a directory that is not empty.
                fs::rename(path, place)?;
            }
            Self::Sqlite(path) => {
                if beside(path, "-wal").try_exists()? {
                    // Closing has moved everything into the file. If it could not, the file alone
                    // is useless.
                    bail!("the new store could not be completed");
                }
                if fs::metadata(place).is_ok_and(|file| file.len() == 0) {
                    fs::remove_file(place)?;
                }
                // Unlike renaming, this fails when there is something by now.
                fs::hard_link(path, place)?;
            }
        }
        Ok(())
    }

    /// Refuses to put a store beside what SQLite kept beside an earlier one: it would take the
    /// earlier one's log for the new one's, and bring back what was there.
    fn refuse_left_overs(&self) -> anyhow::Result<()> {
        let Self::Sqlite(path) = self else { return Ok(()) };
        for suffix in ["-wal", "-shm", "-journal"] {
            let beside = beside(path, suffix);
            let exists = beside.try_exists();
            if exists.with_context(|| format!("cannot look at `{}`", beside.display()))? {
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

/// Tells whether others than the owner may read the file or enter the directory.
#[cfg(unix)]
fn is_open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;

    fs::metadata(path).is_ok_and(|at| {
        let theirs = if at.is_dir() { 0o011 } else { 0o044 };
        at.permissions().mode() & theirs != 0
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

/// Makes a new name in the directory survive a power cut.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}
