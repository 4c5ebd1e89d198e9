//! Files and directories that are filled beside their final path, and backups.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Mutex;

use super::run_blocking;
use crate::store::StoreError;

/// The backups of a store, which are made one at a time.
#[derive(Debug, Default)]
pub struct Backups(Arc<Mutex<()>>);

impl Backups {
    /// Makes a backup on a thread that may block. `copy` asks its argument whether to go on: it returns
    /// false once the future is dropped. The next backup begins when `copy` has returned.
    ///
    /// # Errors
    ///
    /// As [`run_blocking`].
    pub async fn run(
        &self,
        copy: impl FnOnce(&dyn Fn() -> bool) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let turn = Arc::clone(&self.0).lock_owned().await;
        // Dropped with this future, which cancels the backup.
        let alive = Arc::new(());
        let backup = Arc::downgrade(&alive);
        let done = run_blocking(move || {
            let done = copy(&|| backup.strong_count() > 0);
            drop(turn);
            done
        })
        .await;
        drop(alive);
        done
    }
}

/// A file or directory that is removed, with its contents, unless it is moved to its final path.
#[derive(Debug)]
pub struct Unfinished(PathBuf);

impl Unfinished {
    /// Takes the path, where something will be filled.
    pub const fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Returns the final path of a backup as an absolute path, and the directory beside it that is to be
    /// created and filled.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`] when something is at either path.
    pub fn backup_directory(to: &Path) -> Result<(PathBuf, Self), StoreError> {
        let (to, unfinished) = backup_paths(to)?;
        match unfinished.symlink_metadata().is_ok() {
            true => Err(left_over(&unfinished, &io::ErrorKind::AlreadyExists.into())),
            false => Ok((to, Self(unfinished))),
        }
    }

    /// Returns the final path of a backup as an absolute path, and creates the file beside it that is to
    /// be filled. Only its owner can read and write it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`] when something is at either path, or the file cannot be created.
    pub fn backup_file(to: &Path) -> Result<(PathBuf, Self, File), StoreError> {
        let (to, unfinished) = backup_paths(to)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(&unfinished) {
            Ok(file) => Ok((to, Self(unfinished), file)),
            Err(error) => Err(left_over(&unfinished, &error)),
        }
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Moves the file to the path, durably.
    ///
    /// # Errors
    ///
    /// When something is there already, or it cannot be linked there.
    pub fn link_to(self, path: &Path) -> io::Result<()> {
        // Unlike a rename, this fails if the path exists by now.
        fs::hard_link(&self.0, path)?;
        sync_parent(path)
    }

    /// Moves the directory to the path, durably.
    ///
    /// # Errors
    ///
    /// When there is a directory which is not empty, or it cannot be renamed.
    pub fn rename_to(self, path: &Path) -> io::Result<()> {
        fs::rename(&self.0, path)?;
        sync_parent(path)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After it was renamed, nothing is there.
        let _ = fs::remove_dir_all(&self.0).or_else(|_| fs::remove_file(&self.0));
    }
}

fn backup_paths(to: &Path) -> Result<(PathBuf, PathBuf), StoreError> {
    let to = std::path::absolute(to).map_err(StoreError::backend)?;
    if to.symlink_metadata().is_ok() {
        return Err(StoreError::backend(format!("there is something at `{}`", to.display())));
    }
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".unfinished");
    let unfinished = to.with_file_name(name);
    Ok((to, unfinished))
}

fn left_over(unfinished: &Path, error: &io::Error) -> StoreError {
    let path = unfinished.display();
    StoreError::backend(format!(
        "cannot create `{path}`, which a backup that failed may have left behind: {error}"
    ))
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), sync_directory)
}

/// Makes the names in the directory survive a power cut.
///
/// # Errors
///
/// When it cannot be opened or synced.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}
