//! What a request presents to log in.

use std::fmt;
use std::net::IpAddr;

/// What a request presents to log in: a username and a password, or an API token, and the address
/// that they come from. Borrowed from the request; `Debug` shows no secret.
///
/// ```
/// use std::net::{IpAddr, Ipv4Addr};
///
/// use portcullis::Credentials;
///
/// let credentials = Credentials::password("telegraf", "s3cret-enough");
/// let credentials = credentials.source(IpAddr::V4(Ipv4Addr::LOCALHOST));
/// assert!(!format!("{credentials:?}").contains("s3cret"));
/// ```
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    pub(crate) presented: Presented<'a>,
    pub(crate) source: Option<IpAddr>,
}

/// What is presented.
#[derive(Clone, Copy)]
pub(crate) enum Presented<'a> {
    Password { username: &'a str, password: &'a [u8] },
    Token(&'a str),
}

impl<'a> Credentials<'a> {
    /// A username and a password, as bytes. An empty username names no authorization.
    ///
    /// Where no authorization has the username, the password is tried as an API token: that is
    /// how v2 tokens are used by v1 clients (`docs/spec/login.md`).
    pub fn password<P: AsRef<[u8]> + ?Sized>(username: &'a str, password: &'a P) -> Self {
        let password = password.as_ref();
        Self { presented: Presented::Password { username, password }, source: None }
    }

    /// An API token alone.
    pub const fn token(secret: &'a str) -> Self {
        Self { presented: Presented::Token(secret), source: None }
    }

    /// Sets the address of the client. Failures from one address count together
    /// ([`ThrottleConfig`](crate::ThrottleConfig)), and audit events name it. Default: none.
    #[must_use]
    pub fn source(self, source: impl Into<Option<IpAddr>>) -> Self {
        Self { source: source.into(), ..self }
    }

    /// Returns the username, if there is one.
    pub(crate) const fn username(&self) -> Option<&'a str> {
        match self.presented {
            Presented::Password { username, .. } => Some(username),
            Presented::Token(_) => None,
        }
    }
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut credentials = f.debug_struct("Credentials");
        match self.presented {
            Presented::Password { username, .. } => credentials.field("username", &username),
            Presented::Token(_) => credentials.field("token", &format_args!("<redacted>")),
        };
        credentials.field("source", &self.source).finish_non_exhaustive()
    }
}
