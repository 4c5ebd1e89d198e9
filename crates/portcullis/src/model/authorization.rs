//! The record this project is about: a v1 username and what it may do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{InvalidUsername, Username};
use crate::password::PasswordHash;
use crate::{AuthorizationId, Error, OrgId, Permission, Timestamp, UncheckedPermission, UserId};

/// Whether a credential, a user or an org may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// In use. What is meant where no status is said at creation.
    #[default]
    Active,
    /// Switched off: whoever presents it is refused.
    Inactive,
}

impl Status {
    /// Returns the name on the wire.
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

/// Says that a text is neither `active` nor `inactive`.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("unknown authorization status")]
pub struct UnknownStatus;

impl FromStr for Status {
    type Err = UnknownStatus;

    /// Reads the exact name: no other case, not the empty text.
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
    /// The user it belongs to, whose state it shares.
    pub user: UserId,
    /// What it may do, in the order given.
    pub permissions: Vec<Permission>,
    /// The hash of its password; without one nobody can log in.
    pub password_hash: Option<PasswordHash>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When status, description or permissions last changed. A new password leaves it alone.
    pub updated_at: Timestamp,
}

/// What is needed to create an authorization, checked for form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAuthorization {
    pub(crate) username: Username,
    pub(crate) org: OrgId,
    pub(crate) user: Option<UserId>,
    pub(crate) permissions: Vec<Permission>,
    pub(crate) status: Status,
    pub(crate) description: String,
}

impl NewAuthorization {
    /// An active authorization without a description.
    ///
    /// Permissions are checked when it is created: at least one, no zero id.
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
        }
    }

    /// Says whose it is. When a caller creates it and this is not said, it is the caller's own
    /// user's.
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
}

/// A creation as somebody sent it: every part may be missing or wrong.
///
/// It exists so that the first thing wrong is reported in the API's order (`docs/spec/http-api.md`):
/// permissions, org, status, username.
#[derive(Clone, Debug, Default)]
pub struct AuthorizationDraft {
    /// The username; missing is the same as empty.
    pub username: Option<String>,
    /// The org.
    pub org: Option<OrgId>,
    /// The user; missing means the caller's own.
    pub user: Option<UserId>,
    /// The permissions; missing is the same as none.
    pub permissions: Vec<UncheckedPermission>,
    /// The status; missing and empty mean active.
    pub status: Option<String>,
    /// The description; missing means empty.
    pub description: Option<String>,
}

impl AuthorizationDraft {
    /// Checks the form of every part.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) with the API's message for the first
    /// part that is wrong.
    pub fn validate(self) -> Result<NewAuthorization, Error> {
        let permissions = validate_permissions(&self.permissions)?;
        let org = self.org.ok_or_else(|| Error::invalid("org id required: invalid ID"))?;
        let status = match self.status.as_deref() {
            None | Some("") => Status::Active,
            Some(text) => text
                .parse()
                .map_err(|_| Error::invalid("invalid status: must be active or inactive"))?,
        };
        let username = Username::new(self.username.unwrap_or_default())?;
        Ok(NewAuthorization {
            username,
            org,
            user: self.user,
            permissions,
            status,
            description: self.description.unwrap_or_default(),
        })
    }
}

/// Checks that there are permissions and that each has known names and possible ids.
///
/// # Errors
///
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) with the API's message for the first that
/// is wrong.
pub(crate) fn validate_permissions(
    permissions: &[UncheckedPermission],
) -> Result<Vec<Permission>, Error> {
    if permissions.is_empty() {
        return Err(Error::invalid("authorization must include permissions"));
    }
    Ok(permissions.iter().map(UncheckedPermission::validate).collect::<Result<_, _>>()?)
}

/// What PATCH can change: `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorizationUpdate {
    /// The new status.
    pub status: Option<Status>,
    /// The new description.
    pub description: Option<String>,
}

impl AuthorizationUpdate {
    /// Changes only the status.
    pub fn status(status: Status) -> Self {
        Self { status: Some(status), description: None }
    }

    /// Changes only the description.
    pub fn description(description: impl Into<String>) -> Self {
        Self { status: None, description: Some(description.into()) }
    }
}

/// A change as somebody sent it: the status not yet looked at.
///
/// It exists because the API looks at the status last, after the record and the permissions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorizationUpdateDraft {
    /// The new status.
    pub status: Option<String>,
    /// The new description.
    pub description: Option<String>,
}

impl AuthorizationUpdateDraft {
    /// Reads the status.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) `unknown authorization status` for
    /// everything but `active` and `inactive`, the empty text included.
    pub fn validate(self) -> Result<AuthorizationUpdate, Error> {
        let status = self.status.as_deref().map(str::parse::<Status>).transpose()?;
        Ok(AuthorizationUpdate { status, description: self.description })
    }
}

impl From<AuthorizationUpdate> for AuthorizationUpdateDraft {
    fn from(update: AuthorizationUpdate) -> Self {
        let status = update.status.map(|status| status.as_str().to_owned());
        Self { status, description: update.description }
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

    fn draft() -> AuthorizationDraft {
        AuthorizationDraft {
            username: Some("telegraf".to_owned()),
            org: Some(OrgId::from_u64(1)),
            permissions: vec![UncheckedPermission::new("read", "buckets", None, None)],
            ..AuthorizationDraft::default()
        }
    }

    fn message(draft: AuthorizationDraft) -> String {
        draft.validate().unwrap_err().to_string()
    }

    #[test]
    fn the_first_wrong_part_is_reported_in_the_order_of_the_api() {
        let mut draft = AuthorizationDraft {
            status: Some("bogus".to_owned()),
            ..AuthorizationDraft::default()
        };
        assert_eq!(message(draft.clone()), "authorization must include permissions");
        draft.permissions = vec![UncheckedPermission::new("fly", "buckets", None, None)];
        assert_eq!(
            message(draft.clone()),
            "invalid action type for permission: unknown action for permission"
        );
        draft.permissions = vec![UncheckedPermission::new("read", "buckets", None, None)];
        assert_eq!(message(draft.clone()), "org id required: invalid ID");
        draft.org = Some(OrgId::from_u64(1));
        assert_eq!(message(draft.clone()), "invalid status: must be active or inactive");
        draft.status = None;
        assert_eq!(message(draft), "token required for v1 user authorization type");
    }

    #[test]
    fn no_status_and_an_empty_one_mean_active() {
        for status in [None, Some(String::new()), Some("active".to_owned())] {
            let new = AuthorizationDraft { status, ..draft() }.validate().unwrap();
            assert_eq!(new.status, Status::Active);
        }
    }

    #[test]
    fn a_status_is_its_exact_name() {
        for text in ["", "Active", "INACTIVE", "active ", "disabled"] {
            assert_eq!(text.parse::<Status>(), Err(UnknownStatus), "{text:?}");
        }
    }
}
