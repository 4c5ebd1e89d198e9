//! The fields of the outermost message of a file, one at a time: the file may be larger than memory.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::source::{Place, SourceError};

/// The longest varint in bytes.
const VARINT_BYTES: u32 = 10;

/// Reads the fields of a protobuf message from a file.
pub(super) struct Fields {
    path: PathBuf,
    file: BufReader<File>,
    at: u64,
    end: u64,
}

/// A field.
pub(super) struct Field {
    /// Its number.
    pub(super) number: u32,
    /// Where it begins in the file.
    pub(super) at: u64,
    pub(super) value: Value,
}

/// The value of a field.
pub(super) enum Value {
    /// A number.
    Varint,
    /// Bytes that were wanted.
    Bytes(Vec<u8>),
    /// Anything else, which was skipped.
    Skipped,
}

impl Fields {
    pub(super) fn open(path: &Path) -> Result<Self, SourceError> {
        let error = |error| SourceError::io(path, Place::File, error);
        let file = File::open(path).map_err(error)?;
        let metadata = file.metadata().map_err(error)?;
        if metadata.is_dir() {
            return Err(SourceError::new(path, Place::File, "is a directory"));
        }
        // Two passes are needed.
        if !metadata.is_file() {
            return Err(SourceError::new(path, Place::File, "is not a regular file"));
        }
        let file = BufReader::with_capacity(64 * 1024, file);
        Ok(Self { path: path.to_owned(), file, at: 0, end: metadata.len() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Begins again with the first field.
    pub(super) fn rewind(&mut self) -> Result<(), SourceError> {
        self.at = 0;
        self.file.seek(SeekFrom::Start(0)).map(drop).map_err(|error| self.io(0, error))
    }

    /// Returns the next field. Bytes are read only in the field with the number `wanted`, and at most
    /// `max_bytes` of them.
    pub(super) fn next(
        &mut self,
        wanted: u32,
        max_bytes: u64,
    ) -> Result<Option<Field>, SourceError> {
        let at = self.at;
        if at >= self.end {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|number| (1..1 << 29).contains(number));
        let Some(number) = number else {
            return Err(self.damaged(at, "there is no field"));
        };
        let value = match key & 7 {
            0 => {
                self.varint()?;
                Value::Varint
            }
            1 => self.skip(at, 8)?,
            5 => self.skip(at, 4)?,
            2 => {
                let length = self.varint()?;
                self.check(at, length)?;
                if number != wanted {
                    self.skip(at, length)?
                } else if length > max_bytes {
                    let reason = format!("a field of {length} bytes is too long");
                    return Err(SourceError::new(&self.path, Place::Byte(at), reason));
                } else {
                    self.bytes(at, length)?
                }
            }
            wire_type => {
                return Err(self.damaged(at, format!("there is no wire type {wire_type}")));
            }
        };
        Ok(Some(Field { number, at, value }))
    }

    fn varint(&mut self) -> Result<u64, SourceError> {
        let begin = self.at;
        let mut number = 0;
        for place in 0..VARINT_BYTES {
            let mut byte = [0];
            let read = self.file.read_exact(&mut byte);
            read.map_err(|error| self.io(self.at, error))?;
            self.at += 1;
            let [byte] = byte;
            number |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.damaged(begin, "a number is too long"))
    }

    /// Refuses a length beyond the end of the file, before anything is allocated for it.
    fn check(&self, at: u64, length: u64) -> Result<(), SourceError> {
        let left = self.end.saturating_sub(self.at);
        if length <= left {
            return Ok(());
        }
        let reason =
            format!("a field has {length} bytes, and {left} are left: the file was cut off");
        Err(SourceError::new(&self.path, Place::Byte(at), reason))
    }

    fn skip(&mut self, at: u64, length: u64) -> Result<Value, SourceError> {
        self.check(at, length)?;
        let offset = i64::try_from(length).map_err(|_| self.damaged(at, "a field is too long"))?;
        self.file.seek_relative(offset).map_err(|error| self.io(at, error))?;
        self.at += length;
        Ok(Value::Skipped)
    }

    fn bytes(&mut self, at: u64, length: u64) -> Result<Value, SourceError> {
        let mut bytes = Vec::new();
        let read = (&mut self.file).take(length).read_to_end(&mut bytes);
        let read = read.map_err(|error| self.io(at, error))? as u64;
        self.at += read;
        if read < length {
            return Err(self.damaged(at, "the file was cut off while it was read"));
        }
        Ok(Value::Bytes(bytes))
    }

    fn io(&self, at: u64, error: std::io::Error) -> SourceError {
        SourceError::io(&self.path, Place::Byte(at), error)
    }

    fn damaged(&self, at: u64, reason: impl Into<String>) -> SourceError {
        SourceError::new(&self.path, Place::Byte(at), reason)
    }
}
