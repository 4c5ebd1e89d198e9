//! The credentials of a v1 client: where a request holds them, and which take precedence.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderValue, Uri, header};
use portcullis::Credentials;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::extract::query::{self, PercentEncoded};

/// The form in which v1 credentials were presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scheme {
    /// `Authorization: Basic …`.
    Basic,
    /// `Authorization: Token …`, or `Bearer …`, which means the same.
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

/// The credentials of a v1 client, as a request holds them (`docs/spec/login.md`).
///
/// The first of these that is present counts: `u` and `p` in the URL, both not empty;
/// `Authorization: Token USERNAME:PASSWORD` or `Token TOKEN`, in which `Bearer` stands for `Token`;
/// `Authorization: Basic`. Schemes are read in any case.
#[derive(Clone)]
pub struct V1Credentials {
    scheme: Scheme,
    username: Zeroizing<String>,
    secret: Zeroizing<Vec<u8>>,
}

impl V1Credentials {
    /// Finds the credentials of a request.
    ///
    /// # Errors
    ///
    /// [`NoCredentials`] if there are none, or none that can be parsed.
    pub fn parse(uri: &Uri, headers: &HeaderMap) -> Result<Self, NoCredentials> {
        let mut buffer = DecodeBuffer::default();
        let authorization = headers.get(header::AUTHORIZATION);
        let found = RawCredentials::find(uri, authorization, &mut buffer).ok_or(NoCredentials)?;
        Ok(Self {
            scheme: found.scheme,
            username: Zeroizing::new(found.username.to_owned()),
            secret: Zeroizing::new(found.secret.to_vec()),
        })
    }

    /// Returns the form in which they were presented.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the username; empty for a token alone.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// Returns the password or token.
    pub fn expose_secret(&self) -> &[u8] {
        &self.secret
    }

    /// Returns the credentials for [`Engine::authenticate`](portcullis::Engine::authenticate).
    pub fn as_credentials(&self) -> Credentials<'_> {
        let (username, secret) = (self.username(), self.expose_secret());
        RawCredentials { scheme: self.scheme, username, secret }.as_credentials()
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

/// The error for a request without v1 credentials.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("unable to parse authentication credentials")]
pub struct NoCredentials;

/// Credentials that are borrowed from the request: most need no decoding, and so no copy.
#[derive(Clone, Copy)]
pub(crate) struct RawCredentials<'a> {
    pub(crate) scheme: Scheme,
    /// Empty for a token alone.
    pub(crate) username: &'a str,
    secret: &'a [u8],
}

/// The schemes and the blank after them.
const BASIC: &[u8] = b"Basic ";
const TOKEN: [&[u8]; 2] = [b"Token ", b"Bearer "];

/// A buffer for credentials that have to be decoded. It is wiped when it is dropped.
///
/// `None` until it is used, rather than an empty vector: to wipe one costs some processors 100 ns.
#[derive(Default)]
pub(crate) struct DecodeBuffer(Option<Zeroizing<Vec<u8>>>);

impl DecodeBuffer {
    /// Allocates the whole buffer at once: a vector that grows would leave copies in freed memory.
    fn allocate(&mut self, bytes: usize) -> &mut Vec<u8> {
        self.0.insert(Zeroizing::new(Vec::with_capacity(bytes)))
    }
}

impl<'a> RawCredentials<'a> {
    /// Finds the credentials in the URI and the `Authorization` of a request.
    pub(crate) fn find(
        uri: &'a Uri,
        authorization: Option<&'a HeaderValue>,
        buffer: &'a mut DecodeBuffer,
    ) -> Option<Self> {
        let [username, password] = query::u_and_p(uri.query().unwrap_or_default());
        Self::find_in(username, password, authorization, buffer)
    }

    /// Finds the credentials in the values of `u` and `p` and in a header.
    pub(crate) fn find_in(
        username: Option<PercentEncoded<'a>>,
        password: Option<PercentEncoded<'a>>,
        authorization: Option<&'a HeaderValue>,
        buffer: &'a mut DecodeBuffer,
    ) -> Option<Self> {
        if let (Some(username), Some(password)) = (username, password)
            && username.len() > 0
            && password.len() > 0
        {
            return Some(Self::of_query(username, password, buffer));
        }
        let header = authorization?.as_bytes();
        Self::of_token(header).or_else(|| Self::of_basic(header, buffer))
    }

    fn of_query(
        username: PercentEncoded<'a>,
        secret: PercentEncoded<'a>,
        buffer: &'a mut DecodeBuffer,
    ) -> Self {
        let scheme = Scheme::Url;
        if let (Some(username), Some(secret)) = (username.plain(), secret.plain()) {
            return Self { scheme, username, secret: secret.as_bytes() };
        }
        let decoded = buffer.allocate(username.len() + secret.len());
        username.decode_into(decoded);
        let end = decoded.len();
        secret.decode_into(decoded);
        let (username, secret) = decoded.split_at(end);
        Self { scheme, username: name(username), secret }
    }

    /// Reads `Token …` or `Bearer …`: the scheme in any case, and one blank.
    fn of_token(header: &'a [u8]) -> Option<Self> {
        let rest = TOKEN.into_iter().find_map(|scheme| {
            let (given, rest) = header.split_at_checked(scheme.len())?;
            given.eq_ignore_ascii_case(scheme).then_some(rest)
        });
        let text = std::str::from_utf8(rest?).ok()?;
        if text.contains(' ') {
            return None;
        }
        let (username, secret) = text.split_once(':').unwrap_or(("", text));
        Some(Self { scheme: Scheme::Token, username, secret: secret.as_bytes() })
    }

    /// Reads `Basic …`: the scheme in any case, everything after the first colon is the password.
    fn of_basic(header: &[u8], buffer: &'a mut DecodeBuffer) -> Option<Self> {
        let (scheme, encoded) = header.split_at_checked(BASIC.len())?;
        if !scheme.eq_ignore_ascii_case(BASIC) {
            return None;
        }
        let decoded = buffer.allocate(base64::decoded_len_estimate(encoded.len()));
        BASE64_STANDARD.decode_vec(encoded, decoded).ok()?;
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        let (username, secret) = decoded.split_at(colon);
        Some(Self { scheme: Scheme::Basic, username: name(username), secret: secret.get(1..)? })
    }

    /// Returns the credentials for the engine.
    pub(crate) fn as_credentials(self) -> Credentials<'a> {
        if self.scheme == Scheme::Token
            && self.username.is_empty()
            && let Ok(token) = std::str::from_utf8(self.secret)
        {
            return Credentials::token(token);
        }
        Credentials::password(self.username, self.secret)
    }
}

/// Returns the name, or an empty one if it is not UTF-8: no credential has such a name, and replacement
/// characters could make it the name of another.
fn name(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(query: &str, header: Option<&'static str>) -> Option<(Scheme, String, Vec<u8>)> {
        let uri = format!("/query?{query}").parse().unwrap();
        let mut headers = HeaderMap::new();
        header.map(|header| headers.insert(header::AUTHORIZATION, header.parse().unwrap()));
        let found = V1Credentials::parse(&uri, &headers).ok()?;
        Some((found.scheme(), found.username().to_owned(), found.expose_secret().to_vec()))
    }

    /// [LOGIN-3]
    #[test]
    fn token_and_bearer_are_one_scheme_in_any_case() {
        for scheme in ["Token", "token", "TOKEN", "Bearer", "bearer", "BEARER", "bEaReR"] {
            let parse = |rest: &str| {
                let header: &'static str = format!("{scheme}{rest}").leak();
                parse("", Some(header))
            };
            for rest in ["", "  x", " x y", "x", ":x"] {
                assert_eq!(parse(rest), None, "{scheme} {rest:?}");
            }
            let found = |username: &str, secret: &str| {
                Some((Scheme::Token, username.to_owned(), secret.as_bytes().to_vec()))
            };
            assert_eq!(parse(" "), found("", ""));
            assert_eq!(parse(" x"), found("", "x"));
            assert_eq!(parse(" u:p:q"), found("u", "p:q"));
        }
    }

    /// [LOGIN-2]
    #[test]
    fn base64_is_standard_and_padded() {
        for header in ["Basic YTpi!", "Basic YTo", "Basic", "Basic YWI=", "Basic  YTpi"] {
            assert_eq!(parse("", Some(header)), None, "{header:?}");
        }
    }

    #[test]
    fn a_name_that_is_not_utf8_matches_no_credential() {
        let (_, username, secret) = parse("u=%ff&p=%ff", None).unwrap();
        assert_eq!((username.as_str(), secret.as_slice()), ("", &b"\xff"[..]));
    }

    #[test]
    fn debug_shows_the_name_only() {
        let uri = "/query?u=ada&p=s3cret".parse().unwrap();
        let shown = format!("{:?}", V1Credentials::parse(&uri, &HeaderMap::new()).unwrap());
        assert_eq!(shown, "V1Credentials { scheme: Url, username: \"ada\", .. }");
    }

    /// What [`V1Credentials::parse`] has to find, with a copy at each step.
    fn plainly(query: &str, header: Option<&[u8]>) -> Option<(Scheme, Vec<u8>, Vec<u8>)> {
        let query = query::Query::parse(query);
        let value = |name| query.bytes(name).filter(|value| !value.is_empty()).map(<[u8]>::to_vec);
        if let (Some(username), Some(password)) = (value("u"), value("p")) {
            return Some((Scheme::Url, username, password));
        }
        let header = std::str::from_utf8(header?).ok()?;
        let (scheme, encoded) = header.split_once(' ')?;
        let is_token = ["token", "bearer"].contains(&&*scheme.to_ascii_lowercase());
        if is_token && !encoded.contains(' ') {
            let (username, secret) = encoded.split_once(':').unwrap_or(("", encoded));
            return Some((Scheme::Token, username.into(), secret.into()));
        }
        let text = BASE64_STANDARD.decode(encoded).ok()?;
        let colon = text.iter().position(|byte| *byte == b':')?;
        let is_basic = scheme.eq_ignore_ascii_case("basic");
        is_basic.then(|| (Scheme::Basic, text[..colon].to_vec(), text[colon + 1..].to_vec()))
    }

    fn header() -> impl Strategy<Value = Option<Vec<u8>>> {
        let text = prop_oneof!["[ab:]{0,4}", "\\PC{0,8}"].prop_map(String::into_bytes);
        let decoded = prop_oneof![text, prop::collection::vec(any::<u8>(), 0..8)];
        let encoded = decoded.prop_map(|bytes| BASE64_STANDARD.encode(bytes));
        let rest = prop_oneof![encoded, "[a-b: =]{0,6}", "\\PC{0,8}"];
        let value = ("((Token|token|Bearer|BEARER|Basic|basic|BASIC|Basi|) ?)", rest);
        let bytes = prop::collection::vec(any::<u8>(), 0..12);
        let value = value.prop_map(|(scheme, rest)| format!("{scheme}{rest}").into_bytes());
        prop::option::of(prop_oneof![9 => value, 1 => bytes])
    }

    proptest! {
        #[test]
        fn credentials_that_are_borrowed_are_those_of_a_parser_that_copies(
            query in "(([up]|%75|%70|q)?=?([a-c]|%[0-9a-f]{2}|[+;=%]){0,4}&){0,3}",
            header in header(),
        ) {
            let uri: Uri = format!("/query?{query}").parse().unwrap();
            let mut headers = HeaderMap::new();
            let value = header.and_then(|header| HeaderValue::from_bytes(&header).ok());
            value.clone().map(|value| headers.insert(header::AUTHORIZATION, value));
            let expected = plainly(&query, value.as_ref().map(HeaderValue::as_bytes));
            let found = V1Credentials::parse(&uri, &headers).ok();
            prop_assert_eq!(found.is_some(), expected.is_some());
            if let (Some(found), Some((scheme, username, secret))) = (found, expected) {
                let username = String::from_utf8(username).unwrap_or_default();
                prop_assert_eq!(found.scheme(), scheme);
                prop_assert_eq!(found.username(), &username);
                prop_assert_eq!(found.expose_secret(), &secret);
            }
        }

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
