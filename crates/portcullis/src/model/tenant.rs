//! Users, orgs and buckets, which authorizations refer to.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, de};
use thiserror::Error;

use super::Status;
use crate::{BucketId, OrgId, UserId};

/// The name of a user, an org or a bucket: 1 to [`Name::MAX_BYTES`] bytes, compared byte by byte.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(Arc<str>);

impl Name {
    /// The longest name in bytes.
    pub const MAX_BYTES: usize = 4_096;

    /// Checks the length and takes the name as it is.
    ///
    /// # Errors
    ///
    /// [`InvalidName`] when it is empty or longer than [`Name::MAX_BYTES`].
    pub fn new(name: impl Into<Arc<str>>) -> Result<Self, InvalidName> {
        let name = name.into();
        match name.len() {
            1..=Self::MAX_BYTES => Ok(Self(name)),
            length => Err(InvalidName { length }),
        }
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// The error for a name that is empty or too long.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a name must be between 1 and {} bytes long, not {length}", Name::MAX_BYTES)]
pub struct InvalidName {
    length: usize,
}

impl From<InvalidName> for crate::Error {
    fn from(error: InvalidName) -> Self {
        Self::invalid(error.to_string())
    }
}

/// A user, to which authorizations and API tokens belong. They work only while it is active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Its name, unique among users.
    pub name: Name,
    /// Whether its credentials may be used.
    pub status: Status,
}

/// An organization, to which authorizations, API tokens and buckets belong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Org {
    /// Its id.
    pub id: OrgId,
    /// Its name, unique among orgs.
    pub name: Name,
    /// Whether its credentials may be used.
    pub status: Status,
}

/// A change of an org or a user. What is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantUpdate {
    /// The new name.
    pub name: Option<Name>,
    /// Whether its credentials may be used.
    pub status: Option<Status>,
}

impl TenantUpdate {
    /// Changes only the name.
    pub fn name(name: Name) -> Self {
        Self { name: Some(name), status: None }
    }

    /// Changes only the status.
    pub fn status(status: Status) -> Self {
        Self { name: None, status: Some(status) }
    }
}

/// A change of a bucket. What is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketUpdate {
    /// The new name.
    pub name: Option<Name>,
}

impl BucketUpdate {
    /// Changes the name.
    pub fn name(name: Name) -> Self {
        Self { name: Some(name) }
    }
}

/// A named container of points in an org.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its id.
    pub id: BucketId,
    /// The org it is in.
    pub org: OrgId,
    /// Its name, unique in its org.
    pub name: Name,
}
