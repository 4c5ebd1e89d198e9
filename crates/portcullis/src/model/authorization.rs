//! Authorizations: the credentials of v1 clients, with their permissions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{AllowedNetworks, InvalidUsername, Username};
use crate::password::PasswordHash;
use crate::{AuthorizationId, Error, OrgId, Permission, Timestamp, UserId};

/// Whether a credential, a user or an org may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// In use; the default at creation.
    #[default]
    Active,
    /// Switched off: logins are refused.
    Inactive,
}

impl Status {
    /// Returns the name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
        }
    }

    /// Tells whether this is [`Status::Active`].
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Active)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error for a text that is neither `active` nor `inactive`.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("unknown authorization status")]
pub struct UnknownStatus;

impl FromStr for Status {
    type Err = UnknownStatus;

    /// Parses the exact name, in this case; not the empty text.
    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        [Self::Active, Self::Inactive]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(UnknownStatus)
    }
}

/// A v1-compatible credential: username, owner, permissions and the hash of its password.
///
/// `Debug` shows that there is a hash, never the hash.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Authorization {
    /// Its id.
    pub id: AuthorizationId,
    /// The name to log in with.
    pub username: Username,
    /// Whether it may be used.
    pub status: Status,
    /// Free text.
    pub description: String,
    /// The org whose data it is for.
    pub org: OrgId,
    /// The user it belongs to. It works only while the user is active.
    pub user: UserId,
    /// The permissions it holds, in the order given.
    pub permissions: Vec<Permission>,
    /// The hash of its password. Without one, every login is refused.
    pub password_hash: Option<PasswordHash>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When status, description, permissions, end or networks were last changed. A new password does
    /// not count.
    pub updated_at: Timestamp,
    /// From when on it is refused, by the wall clock; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// From where it may be used.
    pub allowed_networks: AllowedNetworks,
    /// When its password was set; `None` if it has none, or if an older version set or imported it.
    pub password_set_at: Option<Timestamp>,
    /// From when on its password is refused, by the wall clock; `None` for never. A new password has no
    /// end.
    pub password_expires_at: Option<Timestamp>,
    /// The password before this one, which still works for a time.
    pub previous_password: Option<Box<PreviousPassword>>,
    /// The hashes of older passwords, the latest first, which must not be used again.
    pub password_history: Vec<PasswordHash>,
}

impl Authorization {
    /// Tells whether it has a member that a version without that member must not ignore: such a version
    /// would admit more logins, or end a password too early.
    pub(crate) fn needs_version_2(&self) -> bool {
        self.expires_at.is_some()
            || self.password_expires_at.is_some()
            || !self.allowed_networks.is_empty()
            || self.previous_password.is_some()
    }
}

/// A password that was replaced, and still works until its end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PreviousPassword {
    /// Its hash.
    pub hash: PasswordHash,
    /// When it was set; `None` if that is not recorded.
    pub set_at: Option<Timestamp>,
    /// From when on it is refused, by the wall clock.
    pub ends_at: Timestamp,
    /// Whether it ends earlier: at the first login with the new password.
    pub ends_when_new_is_used: bool,
}

/// An authorization to create: its parts are valid in form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAuthorization {
    pub(crate) username: Username,
    pub(crate) org: OrgId,
    pub(crate) user: Option<UserId>,
    pub(crate) permissions: Vec<Permission>,
    pub(crate) status: Status,
    pub(crate) description: String,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) allowed_networks: AllowedNetworks,
}

impl NewAuthorization {
    /// Makes an active authorization without a description.
    ///
    /// The permissions are checked at creation: at least one, and no zero id.
    pub fn new(
        username: Username,
        org: OrgId,
        permissions: impl IntoIterator<Item = Permission>,
    ) -> Self {
        Self {
            username,
            org,
            user: None,
            permissions: permissions.into_iter().collect(),
            status: Status::Active,
            description: String::new(),
            expires_at: None,
            allowed_networks: AllowedNetworks::default(),
        }
    }

    /// Sets the user it belongs to. Default: the user of the caller that creates it.
    #[must_use]
    pub fn for_user(self, user: UserId) -> Self {
        Self { user: Some(user), ..self }
    }

    /// Sets the status.
    #[must_use]
    pub fn with_status(self, status: Status) -> Self {
        Self { status, ..self }
    }

    /// Sets the description.
    #[must_use]
    pub fn with_description(self, description: impl Into<String>) -> Self {
        Self { description: description.into(), ..self }
    }

    /// Sets from when on it is refused, which must be in the future at creation. Default: never.
    #[must_use]
    pub fn with_expires_at(self, expires_at: Timestamp) -> Self {
        Self { expires_at: Some(expires_at), ..self }
    }

    /// Sets from where it may be used. Default: from everywhere.
    #[must_use]
    pub fn with_allowed_networks(self, allowed_networks: AllowedNetworks) -> Self {
        Self { allowed_networks, ..self }
    }
}

/// A change of an authorization or an API token: `None` leaves a part as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorizationUpdate {
    /// The new status.
    pub status: Option<Status>,
    /// The new description.
    pub description: Option<String>,
    /// From when on it is refused, which must be in the future; `Some(None)` for never.
    pub expires_at: Option<Option<Timestamp>>,
    /// From when on the present password of an authorization is refused, which must be in the future;
    /// `Some(None)` for never. An API token has no password.
    pub password_expires_at: Option<Option<Timestamp>>,
    /// From where it may be used.
    pub allowed_networks: Option<AllowedNetworks>,
}

impl AuthorizationUpdate {
    /// Changes only the status.
    pub fn status(status: Status) -> Self {
        Self { status: Some(status), ..Self::default() }
    }

    /// Changes only the description.
    pub fn description(description: impl Into<String>) -> Self {
        Self { description: Some(description.into()), ..Self::default() }
    }

    /// Changes only the end of the credential; `None` for no end.
    pub fn expires_at(expires_at: Option<Timestamp>) -> Self {
        Self { expires_at: Some(expires_at), ..Self::default() }
    }

    /// Changes only the end of the present password; `None` for no end.
    pub fn password_expires_at(expires_at: Option<Timestamp>) -> Self {
        Self { password_expires_at: Some(expires_at), ..Self::default() }
    }

    /// Changes only the networks.
    pub fn allowed_networks(allowed_networks: AllowedNetworks) -> Self {
        Self { allowed_networks: Some(allowed_networks), ..Self::default() }
    }
}

impl From<InvalidUsername> for Error {
    fn from(error: InvalidUsername) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<crate::InvalidPermission> for Error {
    fn from(error: crate::InvalidPermission) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<UnknownStatus> for Error {
    fn from(error: UnknownStatus) -> Self {
        Self::invalid(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [AUTH-1]
    #[test]
    fn a_status_is_its_exact_name() {
        for text in ["", "Active", "INACTIVE", "active ", "disabled"] {
            assert_eq!(text.parse::<Status>(), Err(UnknownStatus), "{text:?}");
        }
    }
}
