//! The credentials of a v1 client: where in a request they are, and which count.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderValue, Uri, header};
use portcullis::Credentials;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::query;

/// How v1 credentials were presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scheme {
    /// `Authorization: Basic …`.
    Basic,
    /// `Authorization: Token …`.
    Token,
    /// `u` and `p` in the query of the URL.
    Url,
}

impl Scheme {
    /// Returns the name of the scheme.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Token => "token",
            Self::Url => "url",
        }
    }
}

/// The credentials of a v1 client, as a request holds them (`docs/behaviour.md`, "Logging in").
///
/// In this order, the first that is there counts: `u` and `p` in the URL, both not empty;
/// `Authorization: Token USERNAME:PASSWORD` or `Token TOKEN`; `Authorization: Basic`.
#[derive(Clone)]
pub struct V1Credentials {
    scheme: Scheme,
    /// Username and secret, with or without something between them: one allocation for both.
    text: Zeroizing<Vec<u8>>,
    username_end: usize,
    secret_start: usize,
}

impl V1Credentials {
    /// Finds the credentials of a request.
    ///
    /// # Errors
    ///
    /// [`NoCredentials`] when there are none, or none that can be read.
    pub fn parse(uri: &Uri, headers: &HeaderMap) -> Result<Self, NoCredentials> {
        let query = uri.query().unwrap_or_default();
        let (username, password) = (query::first(query, "u"), query::first(query, "p"));
        Self::find_in(username, password, headers.get(header::AUTHORIZATION))
    }

    /// Finds the credentials in the values of `u` and `p`, as they stand in a query, and a header.
    pub(crate) fn find_in(
        username: Option<&str>,
        password: Option<&str>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Self, NoCredentials> {
        if let Some(credentials) = from_query(username, password) {
            return Ok(credentials);
        }
        let header = authorization.ok_or(NoCredentials)?;
        let header = std::str::from_utf8(header.as_bytes()).map_err(|_| NoCredentials)?;
        from_token(header).or_else(|| from_basic(header)).ok_or(NoCredentials)
    }

    /// Returns how they were presented.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the username; empty for a token alone.
    pub fn username(&self) -> &str {
        // A name that is not UTF-8 is nobody's, and must not be read as if it were another.
        let username = self.text.get(..self.username_end).unwrap_or_default();
        std::str::from_utf8(username).unwrap_or_default()
    }

    /// Returns the password or token.
    pub fn expose_secret(&self) -> &[u8] {
        self.text.get(self.secret_start..).unwrap_or_default()
    }

    /// Returns them in the engine's terms.
    pub fn as_credentials(&self) -> Credentials<'_> {
        let (username, secret) = (self.username(), self.expose_secret());
        match (self.scheme, std::str::from_utf8(secret)) {
            (Scheme::Token, Ok(token)) if username.is_empty() => Credentials::token(token),
            _ => Credentials::password(username, secret),
        }
    }
}

impl fmt::Debug for V1Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("V1Credentials")
            .field("scheme", &self.scheme)
            .field("username", &self.username())
            .finish_non_exhaustive()
    }
}

/// Says that a request holds no v1 credentials.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("unable to parse authentication credentials")]
pub struct NoCredentials;

fn from_query(username: Option<&str>, secret: Option<&str>) -> Option<V1Credentials> {
    let username = username.filter(|username| !username.is_empty())?;
    let secret = secret.filter(|secret| !secret.is_empty())?;
    // Decoding makes nothing longer, so nothing is moved and left behind.
    let mut text = Zeroizing::new(Vec::with_capacity(username.len() + secret.len()));
    query::decode_into(&mut text, username);
    let end = text.len();
    query::decode_into(&mut text, secret);
    Some(V1Credentials { scheme: Scheme::Url, text, username_end: end, secret_start: end })
}

/// Reads `Token …`: this very case, and one blank.
fn from_token(header: &str) -> Option<V1Credentials> {
    let text = header.strip_prefix("Token ").filter(|rest| !rest.contains(' '))?;
    let colon = text.find(':');
    Some(V1Credentials {
        scheme: Scheme::Token,
        text: Zeroizing::new(text.as_bytes().to_vec()),
        username_end: colon.unwrap_or(0),
        secret_start: colon.map_or(0, |colon| colon + 1),
    })
}

/// Reads `Basic …`: the scheme in any case, everything after the first colon is the password.
fn from_basic(header: &str) -> Option<V1Credentials> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = Zeroizing::new(BASE64_STANDARD.decode(encoded).ok()?);
    let colon = text.iter().position(|byte| *byte == b':')?;
    let scheme = Scheme::Basic;
    Some(V1Credentials { scheme, text, username_end: colon, secret_start: colon + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str, header: Option<&'static str>) -> Option<(Scheme, String, Vec<u8>)> {
        let uri = format!("/query?{query}").parse().unwrap();
        let mut headers = HeaderMap::new();
        header.map(|header| headers.insert(header::AUTHORIZATION, header.parse().unwrap()));
        let found = V1Credentials::parse(&uri, &headers).ok()?;
        Some((found.scheme(), found.username().to_owned(), found.expose_secret().to_vec()))
    }

    #[test]
    fn only_this_form_is_a_token() {
        for header in ["token x", "Token", "Token  x", "Token x y", "Bearer x", "TOKEN x"] {
            assert_eq!(parse("", Some(header)), None, "{header:?}");
        }
        assert_eq!(parse("", Some("Token ")), Some((Scheme::Token, String::new(), vec![])));
    }

    #[test]
    fn base64_is_standard_and_padded() {
        for header in ["Basic YTpi!", "Basic YTo", "Basic", "Basic YWI=", "Basic  YTpi"] {
            assert_eq!(parse("", Some(header)), None, "{header:?}");
        }
    }

    #[test]
    fn a_name_that_is_not_utf8_is_nobodys() {
        let (_, username, secret) = parse("u=%ff&p=%ff", None).unwrap();
        assert_eq!((username.as_str(), secret.as_slice()), ("", &b"\xff"[..]));
    }

    #[test]
    fn debug_shows_the_name_only() {
        let uri = "/query?u=ada&p=s3cret".parse().unwrap();
        let shown = format!("{:?}", V1Credentials::parse(&uri, &HeaderMap::new()).unwrap());
        assert_eq!(shown, "V1Credentials { scheme: Url, username: \"ada\", .. }");
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(header in "(Token|Basic|basic)? ?\\PC{0,40}", query in "[!-~]{0,40}") {
            let mut headers = HeaderMap::new();
            if let Ok(value) = header.parse() {
                headers.insert(header::AUTHORIZATION, value);
            }
            if let Ok(uri) = format!("/query?{query}").parse() {
                let _ = V1Credentials::parse(&uri, &headers);
            }
        }
    }
}
