//! Password files of Apache and nginx: lines of `NAME:HASH`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::hash_kind;
use crate::item::{CredentialItem, Item, NotCarried, SourcePassword};
use crate::source::{Place, Source, SourceError};

/// A longer line is not of a password file: Apache reads 8,192 bytes.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// Reads the lines.
pub(crate) struct Htpasswd<R = File> {
    path: PathBuf,
    lines: BufReader<R>,
    line: u64,
}

impl Htpasswd {
    pub(crate) fn open(path: &Path) -> Result<Self, SourceError> {
        let file = File::open(path).map_err(|error| SourceError::io(path, Place::File, error))?;
        Ok(Self::read(path, file))
    }
}

impl<R: Read> Htpasswd<R> {
    /// Reads the file, whose path is for messages.
    pub(crate) fn read(path: &Path, file: R) -> Self {
        Self { path: path.to_owned(), lines: BufReader::new(file), line: 0 }
    }

    /// Reads a line without the blanks around it. `None` after the last one.
    fn next_line(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, SourceError> {
        self.line += 1;
        let place = Place::Line(self.line);
        // It does not grow, so that no part of a hash is left anywhere.
        let mut line = Zeroizing::new(Vec::with_capacity(512));
        let read = (&mut self.lines).take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
        match read.map_err(|error| SourceError::io(&self.path, place.clone(), error))? {
            0 => return Ok(None),
            bytes if bytes as u64 == MAX_LINE_BYTES && !line.ends_with(b"\n") => {
                let reason = format!("the line has more than {MAX_LINE_BYTES} bytes");
                return Err(SourceError::new(&self.path, place, reason));
            }
            _ if line.contains(&0) => {
                let reason = "this is not a text file";
                return Err(SourceError::new(&self.path, place, reason));
            }
            _ => {}
        }
        Ok(Some(Zeroizing::new(line.trim_ascii().to_vec())))
    }

    /// Reads a line that is neither empty nor a comment.
    fn item(&self, line: &[u8]) -> Item {
        let number = self.line;
        let skipped = |name: String, why: String| {
            Item::NotCarried(NotCarried {
                kind: "credential".to_owned(),
                name,
                why,
                is_skipped: true,
            })
        };
        let mut parts = line.splitn(3, |byte| *byte == b':');
        let (Some(name), Some(hash)) = (parts.next(), parts.next()) else {
            // It may be a password.
            let why = "there is no `:` between a name and a hash".to_owned();
            return skipped(format!("line {number}"), why);
        };
        let Ok(name) = std::str::from_utf8(name).map(str::to_owned) else {
            let name = String::from_utf8_lossy(name).into_owned();
            return skipped(name, format!("line {number}: the name is not UTF-8"));
        };
        let Ok(hash) = std::str::from_utf8(hash) else {
            return skipped(name, hash_kind::note(number, "of an unknown kind"));
        };
        match hash_kind::refused(hash) {
            Some(kind) => skipped(name, hash_kind::note(number, kind)),
            None => {
                let password = SourcePassword::Hash(hash.to_owned().into());
                Item::Credential(CredentialItem::bare(name, password))
            }
        }
    }
}

impl<R: Read> Source for Htpasswd<R> {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        while let Some(line) = self.next_line()? {
            if !line.is_empty() && !line.starts_with(b"#") {
                return Ok(Some(self.item(&line)));
            }
        }
        Ok(None)
    }

    fn has_grants(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BCRYPT: &str = "$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC";

    fn read(file: &[u8]) -> Result<Vec<Item>, SourceError> {
        let mut source = Htpasswd::read(Path::new("users"), file);
        std::iter::from_fn(|| source.next().transpose()).collect()
    }

    /// Each credential with its hash, or why there is none.
    fn shown(file: &[u8]) -> Vec<(String, String)> {
        let show = |item| match item {
            Item::Credential(CredentialItem { username, password, .. }) => {
                let SourcePassword::Hash(hash) = password else { panic!("{password:?}") };
                (username, hash.expose().to_owned())
            }
            Item::NotCarried(NotCarried { name, why, is_skipped: true, .. }) => (name, why),
            other => panic!("{other:?}"),
        };
        read(file).unwrap().into_iter().map(show).collect()
    }

    /// [IMP-27]
    #[test]
    fn a_line_is_a_name_and_a_hash() {
        let file = format!(
            "# made by hand\r\n\r\n  ada:{BCRYPT}  \r\nbob smith:{BCRYPT}:a comment\n\n#x:y\nzoë:{BCRYPT}"
        );
        let expected = ["ada", "bob smith", "zoë"].map(|name| (name.to_owned(), BCRYPT.to_owned()));
        assert_eq!(shown(file.as_bytes()), expected);
        assert!(shown(b"").is_empty());
    }

    /// [IMP-28]
    #[test]
    fn another_line_is_skipped_with_its_number() {
        let file = b"ada:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\nhunter2\n\xff:x\nbob:\xff\nc:\n";
        let shown = shown(file);
        let lines = shown.iter().map(|(name, why)| format!("{name}: {why}"));
        for (line, expected) in lines.zip([
            "ada: line 1: its hash is SHA-1",
            "line 2: there is no `:`",
            "\u{fffd}: line 3: the name is not UTF-8",
            "bob: line 4: its hash is of an unknown kind",
            "c: line 5: its hash is empty",
        ]) {
            assert!(line.starts_with(expected), "{line}");
        }
        assert_eq!(shown.len(), 5);
        assert!(!format!("{shown:?}").contains("hunter2"));
    }

    /// [IMP-28]
    #[test]
    fn a_file_that_is_not_text_is_refused() {
        let long = [b"ada:".to_vec(), vec![b'x'; 100_000]].concat();
        for (file, part) in [
            (b"ok:x\nab\0c\n".to_vec(), "line 2: this is not"),
            (long, "line 1: the line has more"),
        ] {
            let error = read(&file).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
