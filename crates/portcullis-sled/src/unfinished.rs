//! A directory that is being filled beside its final path.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::trees::sync_directory;

/// A directory that is removed, with its files, unless it is renamed to its final path.
pub(crate) struct Unfinished(pub(crate) PathBuf);

impl Unfinished {
    /// Renames it, durably. Fails if there is a directory at the path which is not empty.
    pub(crate) fn rename_to(&self, path: &Path) -> io::Result<()> {
        fs::rename(&self.0, path)?;
        path.parent().map_or(Ok(()), sync_directory)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After it was renamed, nothing is there.
        let _ = fs::remove_dir_all(&self.0);
    }
}
