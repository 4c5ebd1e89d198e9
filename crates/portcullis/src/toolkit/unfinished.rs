//! A file or directory that is being filled beside its final path.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::store::StoreError;

/// A file or directory that is removed, with its contents, unless it is moved to its final path.
#[derive(Debug)]
pub struct Unfinished(PathBuf);

impl Unfinished {
    /// Takes the path, where something will be filled.
    pub const fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Returns the final path of a backup as an absolute path, and its unfinished copy beside it, where
    /// nothing is yet.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`] when something is at either path.
    pub fn backup(to: &Path) -> Result<(PathBuf, Self), StoreError> {
        let to = std::path::absolute(to).map_err(StoreError::backend)?;
        let mut name = to.file_name().unwrap_or_default().to_owned();
        name.push(".unfinished");
        let unfinished = to.with_file_name(name);
        if to.symlink_metadata().is_ok() {
            return Err(StoreError::backend(format!("there is something at `{}`", to.display())));
        }
        if unfinished.symlink_metadata().is_ok() {
            return Err(StoreError::backend(format!(
                "`{}` is left over from a backup that failed: delete it",
                unfinished.display()
            )));
        }
        Ok((to, Self(unfinished)))
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
