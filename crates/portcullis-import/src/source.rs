//! Sources of items: files of other programs, which are not trusted.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::item::Item;

/// Reads the items of a file.
pub trait Source {
    /// Returns the next item, or `None` after the last one.
    ///
    /// # Errors
    ///
    /// [`SourceError`] when the file cannot be read, or is not one of the format. Nothing is to be read
    /// after an error.
    fn next(&mut self) -> Result<Option<Item>, SourceError>;

    /// Returns whether the format says what credentials and API tokens may do. If not, they have the
    /// permissions that the operator names.
    fn has_grants(&self) -> bool {
        true
    }
}

/// Why a file cannot be read. The message names the file and the place in it, and holds no secret.
#[derive(Debug, Error)]
#[error("`{}`{place}: {reason}", path.display())]
pub struct SourceError {
    path: PathBuf,
    place: Place,
    reason: String,
    source: Option<io::Error>,
}

impl SourceError {
    /// The file is not one of the format, or is damaged, at this place.
    pub fn new(path: &Path, place: Place, reason: impl Into<String>) -> Self {
        Self { path: path.to_owned(), place, reason: reason.into(), source: None }
    }

    /// The file could not be read at this place.
    pub fn io(path: &Path, place: Place, error: io::Error) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::UnexpectedEof => "the file ends too early".to_owned(),
            _ => format!("could not be read: {error}"),
        };
        Self { path: path.to_owned(), place, reason, source: Some(error) }
    }
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole.
    File,
    /// A byte, from 0.
    Byte(u64),
    /// A line, from 1.
    Line(u64),
    /// A part that has a name, such as a field or a page.
    Part(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => Ok(()),
            Self::Byte(byte) => write!(f, ", byte {byte}"),
            Self::Line(line) => write!(f, ", line {line}"),
            Self::Part(part) => write!(f, ", {part}"),
        }
    }
}
