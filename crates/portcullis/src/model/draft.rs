//! Creations and changes of authorizations as a client sent them, with parts that may be missing or
//! invalid.
//!
//! The order in which invalid parts are reported is a rule of the API, not of HTTP, so every adapter
//! takes it from here.

use super::{AllowedNetworks, AuthorizationUpdate, NewAuthorization, Status, Username};
use crate::{Error, OrgId, Permission, Timestamp, UncheckedPermission, UserId};

/// A creation as a client sent it: every part may be missing or invalid.
///
/// [`AuthorizationDraft::validate`] reports the first invalid part in the API's order
/// (`docs/spec/http-api.md`): permissions, org, status, username, end, networks. A program that has valid parts uses
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
    /// From when on it is refused, in RFC 3339; missing means never.
    pub expires_at: Option<String>,
    /// From where it may be used; missing and empty mean from everywhere.
    pub allowed_networks: Option<Vec<String>>,
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
            expires_at: self.expires_at.map(|text| parse_end("expiresAt", &text)).transpose()?,
            allowed_networks: parse_networks(self.allowed_networks.unwrap_or_default())?,
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
    /// From when on it is refused, in RFC 3339; missing means never.
    pub expires_at: Option<String>,
    /// From where it may be used; missing and empty mean from everywhere.
    pub allowed_networks: Option<Vec<String>>,
}

/// The parts of a creation of an API token, each valid in form.
pub(crate) struct CheckedApiToken {
    pub(crate) org: OrgId,
    pub(crate) user: Option<UserId>,
    pub(crate) permissions: Vec<Permission>,
    pub(crate) status: Status,
    pub(crate) description: String,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) allowed_networks: AllowedNetworks,
}

impl ApiTokenDraft {
    /// Checks the form of every part, in the order of [`AuthorizationDraft::validate`].
    pub(crate) fn validate(self) -> Result<CheckedApiToken, Error> {
        let permissions = validate_permissions(&self.permissions)?;
        let org = self.org.ok_or_else(|| Error::invalid("org id required: invalid ID"))?;
        let status = status_at_creation(self.status.as_deref())?;
        Ok(CheckedApiToken {
            org,
            user: self.user,
            permissions,
            status,
            description: self.description.unwrap_or_default(),
            expires_at: self.expires_at.map(|text| parse_end("expiresAt", &text)).transpose()?,
            allowed_networks: parse_networks(self.allowed_networks.unwrap_or_default())?,
        })
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

/// Parses the time of the member with this name.
fn parse_end(name: &str, text: &str) -> Result<Timestamp, Error> {
    text.parse().map_err(|error| Error::invalid(format!("invalid {name}: {error}")))
}

fn parse_networks(texts: Vec<String>) -> Result<AllowedNetworks, Error> {
    let invalid = |error| Error::invalid(format!("invalid allowedNetworks: {error}"));
    AllowedNetworks::parse(texts).map_err(invalid)
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

/// A change as a client sent it: status, ends and networks are not parsed yet.
///
/// The API reports these parts last, after a missing record and missing permissions:
/// [`OnBehalfOf::update_authorization`](crate::OnBehalfOf::update_authorization) validates the draft
/// at that point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorizationUpdateDraft {
    /// The new status.
    pub status: Option<String>,
    /// The new description.
    pub description: Option<String>,
    /// From when on it is refused, in RFC 3339; `Some(None)` for never.
    pub expires_at: Option<Option<String>>,
    /// From when on the present password of an authorization is refused; `Some(None)` for never.
    pub password_expires_at: Option<Option<String>>,
    /// From where it may be used; empty for from everywhere.
    pub allowed_networks: Option<Vec<String>>,
}

impl AuthorizationUpdateDraft {
    /// Parses the parts.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) `unknown authorization status` for
    /// everything except `active` and `inactive`, also for the empty text; for an end that is no time, and
    /// for networks that are none.
    pub fn validate(self) -> Result<AuthorizationUpdate, Error> {
        let end = |name, text: Option<Option<String>>| {
            text.map(|text| text.map(|text| parse_end(name, &text)).transpose()).transpose()
        };
        Ok(AuthorizationUpdate {
            status: self.status.as_deref().map(str::parse::<Status>).transpose()?,
            description: self.description,
            expires_at: end("expiresAt", self.expires_at)?,
            password_expires_at: end("passwordExpiresAt", self.password_expires_at)?,
            allowed_networks: self.allowed_networks.map(parse_networks).transpose()?,
        })
    }
}

impl From<AuthorizationUpdate> for AuthorizationUpdateDraft {
    fn from(update: AuthorizationUpdate) -> Self {
        let end = |end: Option<Option<Timestamp>>| end.map(|end| end.map(|end| end.to_string()));
        Self {
            status: update.status.map(|status| status.as_str().to_owned()),
            description: update.description,
            expires_at: end(update.expires_at),
            password_expires_at: end(update.password_expires_at),
            allowed_networks: update.allowed_networks.map(|networks| networks.iter().collect()),
        }
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

    /// [EXP-2] [NET-2]
    #[test]
    fn an_end_is_a_time_and_networks_are_networks() {
        let expires_at =
            |text: &str| AuthorizationDraft { expires_at: Some(text.to_owned()), ..draft() };
        let new = expires_at("2034-01-02T03:04:05+01:00").validate().unwrap();
        assert_eq!(new.expires_at, Some("2034-01-02T02:04:05Z".parse().unwrap()));
        for text in ["", "tomorrow", "2034-01-02", "2034-01-02T03:04:05"] {
            let expected = format!(
                "invalid expiresAt: `{text}` is not a time such as `2026-01-31T23:59:59Z` (RFC 3339)"
            );
            assert_eq!(message(expires_at(text)), expected);
        }
        let networks = |text: &str| AuthorizationDraft {
            allowed_networks: Some(vec!["::1".to_owned(), text.to_owned()]),
            ..draft()
        };
        let new = networks("10.1.2.3/8").validate().unwrap();
        assert_eq!(new.allowed_networks.to_string(), "::1, 10.0.0.0/8");
        assert_eq!(
            message(networks("office")),
            "invalid allowedNetworks: `office` is neither an IP address nor a network such as 10.0.0.0/8"
        );
        let update = AuthorizationUpdateDraft {
            expires_at: Some(None),
            password_expires_at: Some(Some("2034-01-02T03:04:05.000000001Z".to_owned())),
            allowed_networks: Some(Vec::new()),
            ..AuthorizationUpdateDraft::default()
        };
        let parsed = update.clone().validate().unwrap();
        assert_eq!(parsed.expires_at, Some(None));
        assert_eq!(AuthorizationUpdateDraft::from(parsed), update);
    }

    #[test]
    fn no_status_and_an_empty_one_mean_active() {
        for status in [None, Some(String::new()), Some("active".to_owned())] {
            let new = AuthorizationDraft { status, ..draft() }.validate().unwrap();
            assert_eq!(new.status, Status::Active);
        }
    }
}
