//! Why a text is no query.

use std::fmt;

use thiserror::Error;

/// A place in a query's text: lines and characters, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

impl Position {
    /// Where a text begins, and where InfluxDB says an error is when it says no more.
    pub(crate) const BEGIN: Self = Self { line: 1, column: 1 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, char {}", self.line, self.column)
    }
}

/// Why a text is no query, in InfluxDB's words: `found EOF, expected FROM at line 1, char 9`.
///
/// The message can hold a word of the text, such as the name of a measurement, or a string of it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct ParseError {
    message: String,
    position: Option<Position>,
}

impl ParseError {
    /// A message without a place.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), position: None }
    }

    /// A message with a place.
    pub(crate) fn at(message: impl fmt::Display, position: Position) -> Self {
        Self { message: format!("{message} at {position}"), position: Some(position) }
    }

    /// Something else stands where one of these is expected.
    pub(crate) fn expected(found: &str, expected: &[&str], position: Position) -> Self {
        Self::at(format_args!("found {found}, expected {}", expected.join(", ")), position)
    }

    /// Where it was noticed, if that is at one place.
    pub fn position(&self) -> Option<Position> {
        self.position
    }
}
