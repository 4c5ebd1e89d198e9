//! The file, and whether it is still the one at its path.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A file that is appended to.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
    /// How much of the line that is being written is in the file.
    written: usize,
    /// How long the file was after the last write that did not take a whole line.
    length: u64,
    regular: bool,
}

impl LogFile {
    /// Opens the file at the path, and creates it if there is none.
    /// Where it is to be `regular`, anything else is refused: a pipe that has no reader would hang
    /// the one that opens it, and a device keeps nothing.
    pub(crate) fn open(path: &Path, regular: bool) -> io::Result<Self> {
        if regular && std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
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
        // It may have been replaced meanwhile.
        if regular && !file.metadata()?.is_file() {
            return Err(not_regular());
        }
        Ok(Self { path: path.to_owned(), file, written: 0, length: 0, regular })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file at the path again, which may be another one now. A line that was begun is
    /// finished in the same file, and begun anew in another.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        let new = Self::open(&self.path, self.regular)?;
        let written = if is_same(&self.file, &new.file)? { self.written } else { 0 };
        // As good as what it holds, and not worth a failure: it is somebody else's by now.
        let _ = self.file.sync_data();
        *self = Self { written, length: self.length, ..new };
        Ok(())
    }

    /// Makes sure that it is the file at the path.
    pub(crate) fn follow(&mut self) -> io::Result<()> {
        if is_at(&self.file, &self.path)? { Ok(()) } else { self.reopen() }
    }

    /// Writes the line. After an error it goes on where it was, when it is given the same line.
    ///
    /// Others may append to the file as well: each line is one write. A line of theirs that is not
    /// whole is ended first; where one has come between two parts of this line, it is written anew.
    pub(crate) fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        let length = if self.regular { self.file.metadata()?.len() } else { self.length };
        if length != self.length {
            self.written = 0;
        }
        if self.written == 0 && length > 0 && self.is_broken_off()? {
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

    /// Tells whether the file ends in the middle of a line.
    fn is_broken_off(&mut self) -> io::Result<bool> {
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
            // A pipe has no disk.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            result => result,
        }
    }
}

fn not_regular() -> io::Error {
    io::Error::other("it is not a regular file: give the path of one, or of none")
}

/// Writes what is not `written` yet.
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
