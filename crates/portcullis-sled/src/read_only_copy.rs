//! A temporary copy of a store that cannot be written, as sled cannot open such a store.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use portcullis::toolkit::OpenError;
use tempfile::TempDir;

use crate::open::LOCK;

/// Tells whether the store at the path is there and this process may not write it.
pub(crate) fn is_unwritable(path: &Path) -> bool {
    [path.to_owned(), path.join(LOCK), path.join("db")].iter().any(|path| !may_write(path))
}

#[cfg(unix)]
fn may_write(path: &Path) -> bool {
    use rustix::fs::{Access, AtFlags, CWD, accessat};

    // A file that does not exist does not matter.
    !matches!(
        accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS),
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM | rustix::io::Errno::ROFS)
    )
}

#[cfg(not(unix))]
fn may_write(path: &Path) -> bool {
    fs::metadata(path).map_or(true, |file| file.is_dir() || !file.permissions().readonly())
}

/// Copies the store to a temporary directory, which only this user may enter.
pub(crate) fn copy(path: &Path) -> Result<TempDir, OpenError> {
    let failed = |source: io::Error| OpenError::open(path, source);
    // Held until everything is copied, so that no process opens the store meanwhile.
    let lock = match File::open(path.join(LOCK)) {
        Ok(lock) => Some(lock),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    match lock.as_ref().map_or(Ok(()), File::try_lock_shared) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { path: path.into() }),
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    let copy = tempfile::Builder::new().prefix("portcullis-copy-").tempdir().map_err(failed)?;
    copy_files(path, copy.path()).map_err(failed)?;
    Ok(copy)
}

/// Without modes, which forbid writing.
fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    for file in fs::read_dir(from)? {
        let file = file?;
        let to = to.join(file.file_name());
        if file.file_type()?.is_dir() {
            fs::create_dir(&to)?;
            copy_files(&file.path(), &to)?;
        } else {
            io::copy(&mut File::open(file.path())?, &mut File::create_new(&to)?)?;
        }
    }
    Ok(())
}
