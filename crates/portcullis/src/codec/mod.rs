//! The one format of records' bodies, for all kinds and all stores: JSON with a version.
//!
//! A body begins with `"v":1`. Members are only ever added, with a default for the records
//! written before; anything else gets a new version, and the old one stays readable. A body with a
//! member that restricts a credential begins with `"v":2`: a version of this crate that does not
//! enforce the member cannot read the body, in place of ignoring the restriction. Snapshots in the tests
//! here pin the format.

mod bodies;
pub(crate) mod compact;
mod entries;
mod fast_json;
#[cfg(test)]
mod tests;
mod typed;
mod uses;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::error::Category;
use thiserror::Error;

pub use bodies::{DeletedTenant, Tombstone};
pub use entries::grants_of;
pub use typed::{MODIFY_TRIES, StoreExt};
pub(crate) use typed::{modify_versioned, put};

use crate::store::{InvalidUniqueKey, Kind, Record, Revision, StoreError, UniqueKey};
use crate::{GrantKey, Id, OrgId, Status, UserId, Username};

/// A value that is stored as one record.
pub trait Entity: Sized + Send + Sync {
    /// The kind of its records.
    const KIND: Kind;

    /// The format of the body.
    #[doc(hidden)]
    type Body: Serialize + DeserializeOwned;

    /// Returns its id.
    fn id(&self) -> Id;

    /// Returns its unique key.
    ///
    /// # Errors
    ///
    /// [`InvalidUniqueKey`] when it would be empty or too long; the types of this crate rule that
    /// out.
    fn unique_key(&self) -> Result<UniqueKey, InvalidUniqueKey>;

    /// Tells whether this is its unique key.
    #[doc(hidden)]
    fn has_unique_key(&self, key: &UniqueKey) -> bool {
        self.unique_key().is_ok_and(|own| own == *key)
    }

    /// Returns the org it is in.
    fn org(&self) -> Option<OrgId> {
        None
    }

    /// Returns the user it belongs to.
    fn user(&self) -> Option<UserId> {
        None
    }

    /// Returns its status.
    fn status(&self) -> Status {
        Status::Active
    }

    /// Returns the grant keys it is listed under.
    fn grants(&self) -> Vec<GrantKey> {
        Vec::new()
    }

    #[doc(hidden)]
    fn to_body(&self) -> Self::Body;

    #[doc(hidden)]
    fn from_body(body: Self::Body) -> Self;

    /// Parses the body of the record if it is in a form with a fast parser.
    #[doc(hidden)]
    fn parse_fast(_record: &Record) -> Option<Self> {
        None
    }

    /// Encodes it as a record with the revision.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`] when it cannot be encoded, which the types of this crate rule out.
    fn to_record(&self, revision: Revision) -> Result<Record, StoreError> {
        Ok(Record {
            kind: Self::KIND,
            id: self.id(),
            revision,
            unique_key: self.unique_key().map_err(StoreError::backend)?,
            org: self.org(),
            user: self.user(),
            status: self.status(),
            body: serde_json::to_string(&self.to_body()).map_err(StoreError::backend)?.into(),
        })
    }

    /// Decodes the record, and checks that its body agrees with its other fields.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] when the body cannot be read or contradicts the rest.
    fn from_record(record: &Record) -> Result<Self, StoreError> {
        let decoded = Self::parse_fast(record).map_or_else(|| from_text(&record.body), Ok);
        let decoded = decoded.map_err(|error| BadBody::unreadable(&error)).and_then(|entity| {
            match entity.contradiction(record) {
                Some(field) => Err(BadBody::Contradicts { field }),
                None => Ok(entity),
            }
        });
        decoded.map_err(|source| StoreError::Corrupt {
            kind: record.kind,
            id: record.id,
            source: source.into(),
        })
    }

    /// Returns the name of a field of the record that contradicts the body.
    #[doc(hidden)]
    fn contradiction(&self, record: &Record) -> Option<&'static str> {
        let same = [
            ("kind", record.kind == Self::KIND),
            ("id", record.id == self.id()),
            ("unique key", self.has_unique_key(&record.unique_key)),
            ("org", record.org == self.org()),
            ("user", record.user == self.user()),
            ("status", record.status == self.status()),
        ];
        same.into_iter().find(|(_, same)| !same).map(|(field, _)| field)
    }
}

/// Tells whether the body is one of a credential that may have an end. Most have none, and need not be
/// decoded to find that out.
pub(crate) fn may_have_end(record: &Record) -> bool {
    record.body.compact().is_some() || !record.body.starts_with(r#"{"v":1,"#)
}

fn from_text<E: Entity>(text: &str) -> serde_json::Result<E> {
    serde_json::from_str(text).map(E::from_body)
}

/// Reads the name; shares the text of the key if it is the same.
fn username(name: &str, key: Option<&UniqueKey>) -> Option<Username> {
    match key {
        Some(key) if key.as_str() == name => Username::new(key.shared()).ok(),
        _ => Username::new(name).ok(),
    }
}

/// What is wrong with a body. Never holds the body.
#[derive(Debug, Error)]
enum BadBody {
    #[error("its body contradicts its {field}")]
    Contradicts { field: &'static str },
    #[error("its body cannot be read: {category:?} error at column {column}")]
    Unreadable { category: Category, column: usize },
}

impl BadBody {
    /// Keeps what does not quote the body: the error itself does, also in its `Debug`.
    fn unreadable(error: &serde_json::Error) -> Self {
        Self::Unreadable { category: error.classify(), column: error.column() }
    }
}

/// The version of the format of a credential: the higher one if it has a member that restricts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CredentialVersion {
    One,
    Two,
}

impl CredentialVersion {
    const fn of(needs_version_2: bool) -> Self {
        if needs_version_2 { Self::Two } else { Self::One }
    }
}

impl Serialize for CredentialVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(match self {
            Self::One => 1,
            Self::Two => 2,
        })
    }
}

impl<'de> Deserialize<'de> for CredentialVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            1 => Ok(Self::One),
            2 => Ok(Self::Two),
            _ => Err(de::Error::custom("unknown version")),
        }
    }
}

/// The version of the format of everything else, always 1 so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version1;

impl Serialize for Version1 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(1)
    }
}

impl<'de> Deserialize<'de> for Version1 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            1 => Ok(Self),
            _ => Err(de::Error::custom("unknown version")),
        }
    }
}
