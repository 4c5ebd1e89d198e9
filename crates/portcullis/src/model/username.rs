//! The name that a v1 client logs in with.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, de};
use thiserror::Error;

/// The unique name that a v1 client logs in with; on the wire the member `token`.
///
/// Any text from 1 to [`Username::MAX_BYTES`] bytes. It is compared byte by byte: case, blanks
/// and Unicode forms count. It is unique over all orgs, and not a secret.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Username(Arc<str>);

impl Username {
    /// The longest name in bytes: the limit of the reference's database, so that every name in it can
    /// be imported.
    pub const MAX_BYTES: usize = 32_768;

    /// Checks the length and takes the name as it is.
    ///
    /// # Errors
    ///
    /// [`InvalidUsername::Empty`] or [`InvalidUsername::TooLong`].
    pub fn new(name: impl Into<Arc<str>>) -> Result<Self, InvalidUsername> {
        let name = name.into();
        match name.len() {
            0 => Err(InvalidUsername::Empty),
            1..=Self::MAX_BYTES => Ok(Self(name)),
            length => Err(InvalidUsername::TooLong { length }),
        }
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for Username {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// Why a text is not a username. Clients of the API receive these messages.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidUsername {
    /// It is empty or missing.
    #[error("token required for v1 user authorization type")]
    Empty,
    /// It is longer than [`Username::MAX_BYTES`].
    #[error("token must be at most {} bytes long, not {length}", Username::MAX_BYTES)]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [AUTH-1] [AUTH-3]
    #[test]
    fn length_is_bounded_in_bytes() {
        assert_eq!(Username::new(""), Err(InvalidUsername::Empty));
        assert!(Username::new("x".repeat(Username::MAX_BYTES)).is_ok());
        assert_eq!(
            Username::new("ä".repeat(Username::MAX_BYTES / 2 + 1)),
            Err(InvalidUsername::TooLong { length: Username::MAX_BYTES + 2 })
        );
    }

    /// [AUTH-3]
    #[test]
    fn every_spelling_is_its_own_name() {
        let names = ["a", "A", "a ", " a", "a\0", "é", "e\u{301}"];
        for (i, one) in names.iter().enumerate() {
            for other in &names[i + 1..] {
                assert_ne!(Username::new(*one), Username::new(*other));
            }
        }
    }
}
