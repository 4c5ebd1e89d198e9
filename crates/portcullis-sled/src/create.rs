//! Creating a store: in a directory beside its path, which is renamed once it is complete and synced.
//!
//! A power cut before that leaves the other directory, which the next creation removes.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use portcullis::toolkit::{OpenError, Unfinished, sync_directory};

use crate::open::{Location, create_directory, take_lock};

/// The end of the name of a store that is being created.
const SUFFIX: &str = ".portcullis-new";

/// Creates a store at the path, where nothing is, and returns the lock on it.
///
/// Returns `None` where no directory can be created beside it, or not renamed: if the path is a mount
/// point, or its parent cannot be written.
pub(crate) fn make(path: &Path, cache_bytes: u64) -> Result<Option<File>, OpenError> {
    let Some(name) = path.file_name() else { return Ok(None) };
    let mut unfinished_name = name.to_owned();
    unfinished_name.push(SUFFIX);
    let unfinished = path.with_file_name(unfinished_name);
    let cannot_create = |source| OpenError::create(path, source);
    match create_directory(&unfinished) {
        Ok(()) => {}
        // The directory of the store exists, and may be filled in place.
        Err(_) if path.is_dir() => return Ok(None),
        Err(source) => return Err(cannot_create(source)),
    }
    // Of two concurrent creations, the second fails here with `InUse`.
    let lock = take_lock(&unfinished, path)?;
    remove_leftovers(&unfinished).map_err(cannot_create)?;
    let location = Location::new(unfinished.clone(), path.to_owned(), cache_bytes, lock);
    let unfinished = Unfinished::at(unfinished);
    let lock = location.fill()?;
    match rename(unfinished, path) {
        Ok(()) => Ok(Some(lock)),
        Err(_) if path.is_dir() => Ok(None),
        Err(source) => Err(cannot_create(source)),
    }
}

/// Removes what an interrupted creation left in the directory, which is locked.
fn remove_leftovers(unfinished: &Path) -> io::Result<()> {
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

/// Renames it with the mode of the directory at the path, if there is one, and durably.
fn rename(unfinished: Unfinished, path: &Path) -> io::Result<()> {
    if let Ok(there) = fs::metadata(path) {
        fs::set_permissions(unfinished.path(), there.permissions())?;
    }
    sync_directory(unfinished.path())?;
    unfinished.rename_to(path)
}
