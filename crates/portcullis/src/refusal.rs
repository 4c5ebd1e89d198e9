//! Why credentials are refused.

use std::time::Duration;

use thiserror::Error;

use crate::{Error, ErrorKind};

/// Why credentials were refused: for the operator's log and for metrics. The client learns only that
/// they were refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The authorization, its password or the API token has expired.
    #[error("the credential or its password has expired")]
    Expired,
    /// The authorization or the API token is inactive.
    #[error("the credential is inactive")]
    Inactive,
    /// The client's address is in none of the networks from which the credential may be used, or is
    /// unknown.
    #[error("the credential may not be used from this address")]
    Network,
    /// The authorization has no password yet.
    #[error("no password is set")]
    NoPassword,
    /// Its org is gone or inactive.
    #[error("its organization is gone or inactive")]
    Org,
    /// The password is right and the rules for passwords have become stricter.
    #[error("the password is right but too weak: it must be changed")]
    PasswordChangeRequired,
    /// Too many logins with this username, or from this address, have failed.
    #[error("too many failed logins with this username or from this address")]
    Throttled,
    /// No API token has this secret.
    #[error("no such API token")]
    UnknownToken,
    /// No authorization has this username, and the password is no API token either.
    #[error("no such username, and the password is no API token")]
    UnknownUsername,
    /// Its user is gone or inactive.
    #[error("its user is gone or inactive")]
    User,
    /// The password is wrong.
    #[error("wrong password")]
    WrongPassword,
}

impl Refusal {
    /// Every reason.
    pub(crate) const ALL: [Self; 11] = [
        Self::Expired,
        Self::Inactive,
        Self::Network,
        Self::NoPassword,
        Self::Org,
        Self::PasswordChangeRequired,
        Self::Throttled,
        Self::UnknownToken,
        Self::UnknownUsername,
        Self::User,
        Self::WrongPassword,
    ];

    /// Returns the value of the metrics label `reason`.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Inactive => "inactive",
            Self::Network => "network",
            Self::NoPassword => "no_password",
            Self::Org => "org",
            Self::PasswordChangeRequired => "password_change_required",
            Self::Throttled => "throttled",
            Self::UnknownToken => "unknown_token",
            Self::UnknownUsername => "unknown_username",
            Self::User => "user",
            Self::WrongPassword => "wrong_password",
        }
    }
}

impl Error {
    /// The error for refused credentials.
    pub(crate) fn refused(refusal: Refusal) -> Self {
        Self::new(ErrorKind::Unauthorized, "Unauthorized").with_source(refusal)
    }

    /// The error for a login that has to wait after failures of others like it.
    pub(crate) fn throttled(wait: Duration) -> Self {
        Self::new(ErrorKind::TooManyRequests, "too many failed logins")
            .with_source(Refusal::Throttled)
            .with_retry_after(wait)
    }

    /// Returns why credentials were refused, if this error refuses credentials. For logs.
    pub fn refusal(&self) -> Option<Refusal> {
        std::error::Error::source(self)?.downcast_ref().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_a_label_of_its_own() {
        let labels: HashSet<_> = Refusal::ALL.map(Refusal::label).into();
        assert_eq!(labels.len(), Refusal::ALL.len());
    }
}
