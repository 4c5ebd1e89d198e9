//! What somebody presents to be let in, and why they were not.

use std::fmt;

use thiserror::Error;

use crate::{Error, ErrorKind};

/// What somebody presents to be let in. Borrowed from the request, shown nowhere.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Credentials<'a> {
    /// A username and a password.
    ///
    /// Where no authorization has the username, the password is tried as an API token: that is
    /// how v2 tokens are used by v1 clients (`docs/spec/login.md`).
    Password {
        /// The username; empty names no authorization.
        username: &'a str,
        /// The password, as bytes.
        password: &'a [u8],
    },
    /// An API token alone.
    Token(&'a str),
}

impl<'a> Credentials<'a> {
    /// A username and a password.
    pub fn password<P: AsRef<[u8]> + ?Sized>(username: &'a str, password: &'a P) -> Self {
        Self::Password { username, password: password.as_ref() }
    }

    /// An API token alone.
    pub const fn token(token: &'a str) -> Self {
        Self::Token(token)
    }
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, .. } => {
                f.debug_struct("Password").field("username", username).finish_non_exhaustive()
            }
            Self::Token(_) => f.write_str("Token(<redacted>)"),
        }
    }
}

/// Why credentials were refused: for the operator's log. The client is told that they were, and
/// never why.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The authorization or the API token is inactive.
    #[error("the credential is inactive")]
    Inactive,
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

impl Error {
    /// Makes the answer for refused v1 credentials.
    pub(crate) fn refused(refusal: Refusal) -> Self {
        Self::new(ErrorKind::Unauthorized, "Unauthorized").with_source(refusal)
    }

    /// Makes the answer for a login that has to wait, as others like it have failed.
    pub(crate) fn throttled(wait: std::time::Duration) -> Self {
        Self::new(ErrorKind::TooManyRequests, "too many failed logins")
            .with_source(Refusal::Throttled)
            .with_retry_after(wait)
    }

    /// Returns why credentials were refused, where this error says that they were. For logs.
    pub fn refusal(&self) -> Option<Refusal> {
        std::error::Error::source(self)?.downcast_ref().copied()
    }
}
