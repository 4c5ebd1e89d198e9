//! The log file: appended to, and followed when it is rotated.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A file that is appended to.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
    /// The number of bytes of the current line that are in the file.
    written: usize,
    /// The length of the file after the last write that was incomplete.
    length: u64,
    regular: bool,
}

impl LogFile {
    /// Opens the file at the path, and creates it if it does not exist. With `regular`, anything but
    /// a regular file is refused: opening a pipe without a reader would block, and a device keeps
    /// nothing.
    pub(crate) fn open(path: &Path, regular: bool) -> io::Result<Self> {
        if regular && std::fs::metadata(path).is_ok_and(|file| !file.is_file()) {
            return Err(not_regular());
        }
        let mut options = OpenOptions::new();
        options.read(regular).append(true).create(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;

            options.mode(0o600);
            if regular && let Ok(flag) = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()) {
                options.custom_flags(flag);
            }
        }
        let file = options.open(path)?;
        // The file may have been replaced since the first check.
        if regular && !file.metadata()?.is_file() {
            return Err(not_regular());
        }
        Ok(Self { path: path.to_owned(), file, written: 0, length: 0, regular })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file at the path again, which may be another file now. A partly written line is
    /// completed in the same file, and restarted in another.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        let new = Self::open(&self.path, self.regular)?;
        let written = if is_same(&self.file, &new.file)? { self.written } else { 0 };
        // Best effort: the old file has been rotated, so a failure here must not stop the log.
        let _ = self.file.sync_data();
        *self = Self { written, length: self.length, ..new };
        Ok(())
    }

    /// Reopens the file if it is no longer the one at the path.
    pub(crate) fn follow(&mut self) -> io::Result<()> {
        if is_at(&self.file, &self.path)? { Ok(()) } else { self.reopen() }
    }

    /// Writes the line. After an error, a call with the same line continues where the write stopped.
    ///
    /// Other processes may append to the file: each line is one write. An incomplete line of theirs is
    /// ended first. If another line came between two parts of this line, this line is restarted.
    pub(crate) fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        let length = if self.regular { self.file.metadata()?.len() } else { self.length };
        if length != self.length {
            self.written = 0;
        }
        if self.written == 0 && length > 0 && self.ends_in_partial_line()? {
            write_from(&mut self.file, b"\n", &mut 0)?;
        }
        let result = write_from(&mut self.file, line, &mut self.written);
        if let Err(error) = result {
            self.length = self.file.metadata().map_or(0, |file| file.len());
            return Err(error);
        }
        self.written = 0;
        Ok(())
    }

    /// Returns whether the file ends with a partial line.
    fn ends_in_partial_line(&mut self) -> io::Result<bool> {
        if !self.regular {
            return Ok(false);
        }
        let mut last = [b'\n'];
        self.file.seek(SeekFrom::End(-1))?;
        self.file.read_exact(&mut last)?;
        Ok(last != *b"\n")
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        match self.file.sync_data() {
            // A pipe cannot be synced.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            result => result,
        }
    }
}

fn not_regular() -> io::Error {
    io::Error::other("it is not a regular file: give the path of one, or of none")
}

/// Writes the rest of the line, after the `written` bytes.
fn write_from(to: &mut impl Write, line: &[u8], written: &mut usize) -> io::Result<()> {
    while let Some(rest) = line.get(*written..).filter(|rest| !rest.is_empty()) {
        match to.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(more) => *written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;

    match std::fs::metadata(path) {
        Ok(at) => {
            let ours = file.metadata()?;
            Ok((at.dev(), at.ino()) == (ours.dev(), ours.ino()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
fn is_same(one: &File, other: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;

    let (one, other) = (one.metadata()?, other.metadata()?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// A file that is open cannot be renamed there, unless its opener allows it, which we do not.
#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> io::Result<bool> {
    path.try_exists()
}

#[cfg(not(unix))]
fn is_same(_: &File, _: &File) -> io::Result<bool> {
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes three bytes, then fails once.
    #[derive(Default)]
    struct Narrow {
        taken: Vec<u8>,
        failed: bool,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.taken.len() >= 3 && !self.failed {
                self.failed = true;
                return Err(io::ErrorKind::StorageFull.into());
            }
            let count = bytes.len().min(3);
            self.taken.extend(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_was_begun_is_finished() {
        let mut narrow = Narrow::default();
        let mut written = 0;
        assert!(write_from(&mut narrow, b"{\"at\":1}\n", &mut written).is_err());
        assert_eq!(written, 3);
        write_from(&mut narrow, b"{\"at\":1}\n", &mut written).unwrap();
        assert_eq!(narrow.taken, b"{\"at\":1}\n");
    }

    #[cfg(unix)]
    #[test]
    fn a_renamed_and_a_removed_file_is_followed() {
        use std::fs;
        use std::os::unix::fs::PermissionsExt as _;

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        let mut file = LogFile::open(&path, true).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        file.write_line(b"1\n").unwrap();
        fs::rename(&path, directory.path().join("audit.1")).unwrap();
        file.follow().unwrap();
        file.write_line(b"2\n").unwrap();
        assert_eq!(fs::read(directory.path().join("audit.1")).unwrap(), b"1\n");
        assert_eq!(fs::read(&path).unwrap(), b"2\n");
        fs::remove_file(&path).unwrap();
        file.follow().unwrap();
        file.write_line(b"3\n").unwrap();
        file.reopen().unwrap();
        file.write_line(b"4\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"3\n4\n");
    }
}
