//! The file and those that SQLite keeps beside it: permissions and leftovers.

use std::fs;
use std::path::{Path, PathBuf};

use crate::open::OpenError;

/// The write-ahead log.
const LOG: &str = "-wal";

/// The index of the write-ahead log.
const INDEX: &str = "-shm";

/// The rollback journal.
const JOURNAL: &str = "-journal";

/// A file and those beside it.
pub(crate) struct Files<'a> {
    path: &'a Path,
}

impl<'a> Files<'a> {
    pub(crate) fn of(path: &'a Path) -> Self {
        Self { path }
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut beside = self.path.to_owned().into_os_string();
        beside.push(suffix);
        beside.into()
    }

    /// Refuses to begin a store beside the log of an earlier one, which SQLite would delete.
    ///
    /// The files beside it are checked first, then the file: another process that creates the store
    /// meanwhile creates the file before any other.
    pub(crate) fn refuse_leftovers(&self) -> Result<(), OpenError> {
        let has_content = |path: &Path| fs::metadata(path).is_ok_and(|file| file.len() > 0);
        let log = Some(self.beside(LOG)).filter(|log| has_content(log));
        let journal = Some(self.beside(JOURNAL)).filter(|journal| has_content(journal));
        let left_over = match fs::metadata(self.path) {
            Err(_) => log.or(journal),
            // An empty file may have a journal while it is being filled.
            Ok(file) if file.len() == 0 => log,
            Ok(_) => None,
        };
        match left_over {
            Some(left_over) => Err(OpenError::LeftOver { path: self.path.to_owned(), left_over }),
            None => Ok(()),
        }
    }

    /// Refuses a file that this process may not write, or only without those beside it.
    pub(crate) fn refuse_if_unwritable(&self) -> Result<(), OpenError> {
        let (log, index) = (self.beside(LOG), self.beside(INDEX));
        let mut needed = vec![self.path.to_owned()];
        let has_all = log.exists() && index.exists();
        needed.extend([log, index].into_iter().filter(|path| path.exists()));
        if !has_all && let Some(directory) = self.path.parent() {
            needed.push(directory.to_owned());
        }
        match needed.into_iter().find(|path| !may_write(path)) {
            Some(path) => Err(OpenError::ReadOnly { path }),
            None => Ok(()),
        }
    }

    /// Refuses to read the file alone while changes may be beside it.
    pub(crate) fn refuse_if_in_use(&self) -> Result<(), OpenError> {
        for suffix in [LOG, JOURNAL] {
            let beside = self.beside(suffix);
            if fs::metadata(&beside).is_ok_and(|file| file.len() > 0) {
                return Err(OpenError::ReadOnly { path: beside });
            }
        }
        Ok(())
    }
}

/// Tells whether this process may write there. Opening would tell as well, but closing the file
/// again would give up the locks that other connections of this process have on it.
#[cfg(unix)]
fn may_write(path: &Path) -> bool {
    use rustix::fs::{Access, AtFlags, CWD, accessat};

    let wanted = if path.is_dir() {
        Access::WRITE_OK | Access::EXEC_OK
    } else {
        Access::READ_OK | Access::WRITE_OK
    };
    // If the check fails otherwise, SQLite finds out.
    !matches!(
        accessat(CWD, path, wanted, AtFlags::EACCESS),
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM | rustix::io::Errno::ROFS)
    )
}

#[cfg(not(unix))]
fn may_write(path: &Path) -> bool {
    fs::metadata(path).map_or(true, |file| file.is_dir() || !file.permissions().readonly())
}

/// Returns the URI that makes SQLite treat the file as immutable.
pub(crate) fn immutable_uri(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte));
            }
            byte => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_escaped_in_the_uri() {
        let uri = immutable_uri(Path::new("/a b/c?d#e%f"));
        assert_eq!(uri, "file:/a%20b/c%3fd%23e%25f?immutable=1");
    }
}
