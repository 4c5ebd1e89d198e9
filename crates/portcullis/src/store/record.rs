//! Records.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::Body;
use crate::{Id, OrgId, Random, RandomUnavailable, Status, UserId, hex};

/// The kind of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// An API token.
    ApiToken,
    /// The last use of an API token.
    ApiTokenUse,
    /// An authorization.
    Authorization,
    /// The last use of an authorization.
    AuthorizationUse,
    /// A bucket.
    Bucket,
    /// The DBRP mappings of a database.
    Dbrp,
    /// A deleted user or org whose credentials are still being deleted: a tombstone.
    Tombstone,
    /// An organization.
    Org,
    /// A user.
    User,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::ApiToken,
        Self::ApiTokenUse,
        Self::Authorization,
        Self::AuthorizationUse,
        Self::Bucket,
        Self::Dbrp,
        Self::Tombstone,
        Self::Org,
        Self::User,
    ];

    /// Returns the kind of the records with the last uses of credentials of this kind; `None` for
    /// any other kind. A last use has the id of its credential.
    pub(crate) const fn of_last_use(self) -> Option<Self> {
        match self {
            Self::ApiToken => Some(Self::ApiTokenUse),
            Self::Authorization => Some(Self::AuthorizationUse),
            _ => None,
        }
    }

    /// Returns the kind of the credentials whose last uses are of this kind.
    pub(crate) const fn of_used_credential(self) -> Option<Self> {
        match self {
            Self::ApiTokenUse => Some(Self::ApiToken),
            Self::AuthorizationUse => Some(Self::Authorization),
            _ => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ApiToken => "API token",
            Self::ApiTokenUse => "API token use",
            Self::Authorization => "authorization",
            Self::AuthorizationUse => "authorization use",
            Self::Bucket => "bucket",
            Self::Dbrp => "DBRP mapping",
            Self::Tombstone => "deletion",
            Self::Org => "organization",
            Self::User => "user",
        })
    }
}

/// A random number that identifies a change of a record. It is never used again, not even after a
/// restore, so equal revisions mean equal content.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Revision(u128);

impl Revision {
    /// Draws a new one.
    ///
    /// # Errors
    ///
    /// [`RandomUnavailable`] when the source fails.
    pub fn generate(random: &dyn Random) -> Result<Self, RandomUnavailable> {
        let mut bytes = [0; 16];
        random.fill(&mut bytes)?;
        Ok(Self(u128::from_be_bytes(bytes)))
    }

    /// Makes a revision of its number; for stores.
    pub const fn from_u128(revision: u128) -> Self {
        Self(revision)
    }

    /// Returns the number.
    pub const fn as_u128(self) -> u128 {
        self.0
    }

    /// Reads the text that [`fmt::Display`] writes: 32 hexadecimal digits in lower case. Any other text is
    /// no revision.
    pub fn parse(text: &str) -> Option<Self> {
        let is_written_so = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let bytes = hex::decode(text).filter(|_| is_written_so)?;
        Some(Self(u128::from_be_bytes(bytes)))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key that is unique among the records of a kind: a username, the digest of a token, a name.
///
/// 1 to [`UniqueKey::MAX_BYTES`] bytes of any text, NUL included, compared byte by byte.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UniqueKey(Arc<str>);

impl UniqueKey {
    /// The longest key in bytes.
    pub const MAX_BYTES: usize = crate::Username::MAX_BYTES;

    /// Checks the length.
    ///
    /// # Errors
    ///
    /// [`InvalidUniqueKey`] when it is empty or longer than [`UniqueKey::MAX_BYTES`].
    pub fn new(key: impl Into<Arc<str>>) -> Result<Self, InvalidUniqueKey> {
        let key = key.into();
        match key.len() {
            1..=Self::MAX_BYTES => Ok(Self(key)),
            length => Err(InvalidUniqueKey { length }),
        }
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Takes the text of a username, which has the same bounds.
    pub(crate) fn of_username(username: &str) -> Self {
        Self(username.into())
    }

    /// Returns the text without a copy.
    pub(crate) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

/// The key may be derived from a secret, so it is not shown.
impl fmt::Debug for UniqueKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UniqueKey({} bytes)", self.0.len())
    }
}

/// A unique key is empty or too long.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a unique key must be between 1 and {} bytes long, not {length}", UniqueKey::MAX_BYTES)]
pub struct InvalidUniqueKey {
    length: usize,
}

/// A stored entity.
///
/// The fields beside the body are copies of what is in the body; a store indexes them and shows them
/// in columns. This crate writes both, and compares them when it reads.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Its kind.
    pub kind: Kind,
    /// Unique within the kind.
    pub id: Id,
    /// The revision of its last change.
    pub revision: Revision,
    /// Unique within the kind.
    pub unique_key: UniqueKey,
    /// The org it is in, if any.
    pub org: Option<OrgId>,
    /// The user it belongs to, if any.
    pub user: Option<UserId>,
    /// Its status.
    pub status: Status,
    /// JSON, which only this crate writes and reads.
    pub body: Body,
}

/// The body may hold a password hash, so it is not shown.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("kind", &self.kind)
            .field("id", &self.id)
            .field("revision", &self.revision)
            .field("org", &self.org)
            .field("user", &self.user)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_read_from_exactly_the_text_that_it_is_written_as() {
        for number in [0, 1, 0xab, u128::MAX] {
            let revision = Revision::from_u128(number);
            assert_eq!(Revision::parse(&revision.to_string()), Some(revision));
        }
        let digits = "0123456789abcdef0123456789abcdef";
        let longer = format!("{digits}00");
        for text in [
            "",
            "0",
            digits.trim_start_matches('0'),
            &longer,
            &digits.to_uppercase(),
            "+0123456789abcdef0123456789abcde",
        ] {
            assert_eq!(Revision::parse(text), None, "{text}");
        }
    }
}
