//! A new store is made beside its place, and gets its name when it is whole and synced: a power cut
//! while it is made leaves a directory of another name, which is removed by the next that makes one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::open::{Location, OpenError, create_directory, take_lock};
use crate::trees::sync_directory;

/// What the name of a store that is being made ends in.
const SUFFIX: &str = ".portcullis-new";

/// Makes a store at the path, where nothing is. Returns the lock on it; `None` where none can be
/// made beside it, or given its name: in a directory that is a mount point, or whose parent may not be
/// written.
pub(crate) fn make(path: &Path, cache_bytes: u64) -> Result<Option<File>, OpenError> {
    let Some(name) = path.file_name() else { return Ok(None) };
    let mut unfinished_name = name.to_owned();
    unfinished_name.push(SUFFIX);
    let unfinished = path.with_file_name(unfinished_name);
    let cannot_create = |source| OpenError::Create { path: path.to_owned(), source };
    match create_directory(&unfinished) {
        Ok(()) => {}
        // The store's own directory is there already, and may be filled.
        Err(_) if path.is_dir() => return Ok(None),
        Err(source) => return Err(cannot_create(source)),
    }
    // Two that make one at once: the second is told that the first has it.
    let lock = take_lock(&unfinished, path)?;
    remove_left_overs(&unfinished).map_err(cannot_create)?;
    let location = Location::new(unfinished.clone(), path.to_owned(), cache_bytes, lock);
    let unfinished = Unfinished(unfinished);
    let lock = location.fill()?;
    match unfinished.give_name(path) {
        Ok(()) => Ok(Some(lock)),
        Err(_) if path.is_dir() => Ok(None),
        Err(source) => Err(cannot_create(source)),
    }
}

/// What a creation that did not come to its end has left in the directory that this one has locked.
fn remove_left_overs(unfinished: &Path) -> io::Result<()> {
    for file in fs::read_dir(unfinished)? {
        let file = file?;
        if file.file_type()?.is_dir() {
            fs::remove_dir_all(file.path())?;
        } else if file.file_name() != crate::open::LOCK {
            fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

/// Removed with what is in it, unless it has got its name.
struct Unfinished(PathBuf);

impl Unfinished {
    fn give_name(&self, path: &Path) -> io::Result<()> {
        // The mode that an empty directory was given at that place is meant.
        if let Ok(there) = fs::metadata(path) {
            fs::set_permissions(&self.0, there.permissions())?;
        }
        sync_directory(&self.0)?;
        // Renaming over a directory that is not empty fails, and an empty one is no loss.
        fs::rename(&self.0, path)?;
        path.parent().map_or(Ok(()), sync_directory)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After it has got its name, nothing is there.
        let _ = fs::remove_dir_all(&self.0);
    }
}
