//! A list that is written once and then read, in a temporary file if it is long.

use std::io::{self, BufRead, BufReader, BufWriter, Seek, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::SpooledTempFile;

/// A longer list is in a file, which has no name and which only this user can read.
const MEMORY_BYTES: usize = 4 * 1024 * 1024;

/// Lines of JSON.
pub(crate) struct Spool {
    file: BufWriter<SpooledTempFile>,
    len: u64,
}

impl Spool {
    pub(crate) fn new() -> Self {
        Self { file: BufWriter::new(SpooledTempFile::new(MEMORY_BYTES)), len: 0 }
    }

    /// Returns the number of lines.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// Adds a line.
    pub(crate) fn push(&mut self, item: &impl Serialize) -> io::Result<()> {
        self.len += 1;
        serde_json::to_writer(&mut self.file, item)?;
        self.file.write_all(b"\n")
    }

    /// Returns the lines, from the first.
    pub(crate) fn lines(&mut self) -> io::Result<impl BufRead> {
        self.file.flush()?;
        let file = self.file.get_mut();
        file.rewind()?;
        Ok(BufReader::with_capacity(64 * 1024, file))
    }

    /// Returns what the lines hold, from the first.
    pub(crate) fn items<T: DeserializeOwned>(
        &mut self,
    ) -> io::Result<impl Iterator<Item = io::Result<T>>> {
        let lines = self.lines()?.lines();
        Ok(lines.map(|line| Ok(serde_json::from_str(&line?)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_comes_back_from_memory_and_from_a_file_more_than_once() {
        let big = 1 << 40;
        for count in [0, 3, MEMORY_BYTES as u64 / 8] {
            let mut spool = Spool::new();
            for number in 0..count {
                spool.push(&(big + number)).unwrap();
            }
            assert_eq!(spool.len(), count);
            for _ in 0..2 {
                let items: Vec<u64> = spool.items().unwrap().map(Result::unwrap).collect();
                assert!(items.iter().copied().eq((0..count).map(|number| big + number)));
            }
        }
    }
}
