//! Creations and changes of authorizations as a client sent them, with parts that may be missing or
//! invalid.
//!
//! The order in which invalid parts are reported is a rule of the API, not of HTTP, so every adapter
//! takes it from here.

use super::{AuthorizationUpdate, NewAuthorization, Status, Username};
use crate::{Error, OrgId, Permission, UncheckedPermission, UserId};

/// A creation as a client sent it: every part may be missing or invalid.
///
/// [`AuthorizationDraft::validate`] reports the first invalid part in the API's order
/// (`docs/spec/http-api.md`): permissions, org, status, username. A program that has valid parts uses
/// [`NewAuthorization`].
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
    /// invalid part.
    pub fn validate(self) -> Result<NewAuthorization, Error> {
        let permissions = validate_permissions(&self.permissions)?;
        let org = self.org.ok_or_else(|| Error::invalid("org id required: invalid ID"))?;
        let status = status_at_creation(self.status.as_deref())?;
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

/// The creation of an API token as a caller sent it: every part may be missing or invalid.
#[derive(Clone, Debug, Default)]
pub struct ApiTokenDraft {
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

/// The parts of a creation of an API token, each valid in form.
pub(crate) struct CheckedApiToken {
    pub(crate) org: OrgId,
    pub(crate) user: Option<UserId>,
    pub(crate) permissions: Vec<Permission>,
    pub(crate) status: Status,
    pub(crate) description: String,
}

impl ApiTokenDraft {
    /// Checks the form of every part, in the order of [`AuthorizationDraft::validate`].
    pub(crate) fn validate(self) -> Result<CheckedApiToken, Error> {
        let permissions = validate_permissions(&self.permissions)?;
        let org = self.org.ok_or_else(|| Error::invalid("org id required: invalid ID"))?;
        let status = status_at_creation(self.status.as_deref())?;
        let description = self.description.unwrap_or_default();
        Ok(CheckedApiToken { org, user: self.user, permissions, status, description })
    }
}

/// Parses the status of a record to create; missing and empty mean active.
fn status_at_creation(status: Option<&str>) -> Result<Status, Error> {
    match status {
        None | Some("") => Ok(Status::Active),
        Some(text) => {
            text.parse().map_err(|_| Error::invalid("invalid status: must be active or inactive"))
        }
    }
}

/// Parses permissions, of which there must be at least one.
///
/// # Errors
///
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) with the API's message for the first that is
/// invalid.
fn validate_permissions(permissions: &[UncheckedPermission]) -> Result<Vec<Permission>, Error> {
    if permissions.is_empty() {
        return Err(Error::invalid("authorization must include permissions"));
    }
    Ok(permissions.iter().map(UncheckedPermission::validate).collect::<Result<_, _>>()?)
}

/// A change as a client sent it: the status is not parsed yet.
///
/// The API reports an unknown status last, after a missing record and missing permissions:
/// [`OnBehalfOf::update_authorization`](crate::OnBehalfOf::update_authorization) validates the draft
/// at that point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorizationUpdateDraft {
    /// The new status.
    pub status: Option<String>,
    /// The new description.
    pub description: Option<String>,
}

impl AuthorizationUpdateDraft {
    /// Parses the status.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) `unknown authorization status` for
    /// everything except `active` and `inactive`, also for the empty text.
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

    /// [CREATE-2]
    #[test]
    fn the_first_invalid_part_is_reported_in_the_order_of_the_api() {
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
}
