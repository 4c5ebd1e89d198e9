//! The decision on a request, and the response that carries it to the proxy.

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use percent_encoding::utf8_percent_encode;
use portcullis::{Error, ErrorKind, Identity, Principal};

use crate::extract::query::UNRESERVED;
use crate::v1::influxdb_version::InfluxdbVersion;
use crate::v1::rejection::V1Rejection;

const AUTHORIZATION: HeaderName = HeaderName::from_static("x-portcullis-authorization");
const ORG: HeaderName = HeaderName::from_static("x-portcullis-org");
const USER: HeaderName = HeaderName::from_static("x-portcullis-user");
const USERNAME: HeaderName = HeaderName::from_static("x-portcullis-username");

/// Why a request is denied, for a proxy that writes the body of the response itself.
const DENIAL: HeaderName = HeaderName::from_static("x-portcullis-denial");

/// The longest username in a response, encoded and in bytes: proxies bound the head of a response
/// to a few kilobytes, and treat a larger one as an error.
const MAX_USERNAME: usize = 2_048;

/// The longest reason in a header, in characters before they are escaped.
const MAX_DENIAL: usize = 256;

/// The decision on a request.
pub(super) enum AuthDecision {
    /// The request is allowed.
    Allowed(Principal),
    /// It is a CORS preflight, which is allowed without an identity.
    Preflight,
    /// The request is authenticated, and not permitted. The client sees the reason, if there is one.
    Denied(Principal, Option<String>),
    /// The credentials of the request are refused, or no decision is possible.
    Undecided(Error),
}

impl AuthDecision {
    /// There are no credentials, or none that can be read.
    pub(super) fn unauthorized() -> Self {
        Self::Undecided(Error::new(ErrorKind::Unauthorized, "unauthorized access"))
    }

    /// The decision was not reached because of a panic.
    pub(super) fn panicked() -> Self {
        let error = Error::new(ErrorKind::Internal, "an internal error has occurred");
        Self::Undecided(error.with_source("a panic"))
    }

    pub(super) fn into_response(self, influxdb: Option<&InfluxdbVersion>) -> Response {
        match self {
            Self::Allowed(principal) => {
                let mut response = allowed();
                insert_identity(&principal, &mut response);
                response
            }
            Self::Preflight => {
                let mut response = allowed();
                for name in [AUTHORIZATION, ORG, USER, USERNAME] {
                    response.headers_mut().insert(name, HeaderValue::from_static(""));
                }
                response
            }
            Self::Denied(principal, reason) => {
                let reason = reason.unwrap_or_else(|| "insufficient permissions".to_owned());
                let denial = escape_denial(&reason);
                let denied = Error::new(ErrorKind::Forbidden, reason);
                let rejection = V1Rejection::from(denied).influxdb_version(influxdb.cloned());
                let mut response = rejection.into_response();
                insert_identity(&principal, &mut response);
                response.headers_mut().insert(DENIAL, denial);
                response
            }
            Self::Undecided(error) => {
                // The request is not authenticated, so no kind of error is about its permissions.
                let rejection = match error.kind() {
                    ErrorKind::Forbidden => V1Rejection::unauthorized_access(),
                    _ => V1Rejection::from(error),
                };
                rejection.influxdb_version(influxdb.cloned()).into_response()
            }
        }
    }
}

/// Returns 204. A proxy that cached it would admit a credential that has been revoked meanwhile.
fn allowed() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().reserve(5);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Inserts the identity. All headers are present, if need be empty, so that a proxy that replaces
/// headers by those of the response leaves none that the client has sent.
fn insert_identity(principal: &Principal, response: &mut Response) {
    let id = |text: Option<String>| {
        let value = text.and_then(|text| HeaderValue::try_from(text).ok());
        value.unwrap_or(HeaderValue::from_static(""))
    };
    let username = match principal.identity() {
        Identity::Authorization(_, username) => Some(username.as_str()),
        _ => None,
    };
    let headers = response.headers_mut();
    headers.reserve(4);
    headers.insert(AUTHORIZATION, id(identity(principal)));
    headers.insert(ORG, id(Some(principal.org().to_string())));
    headers.insert(USER, id(Some(principal.user().to_string())));
    headers.insert(USERNAME, encode_username(username.unwrap_or_default()));
}

/// Returns the id of the authorization or of the API token.
pub(super) fn identity(principal: &Principal) -> Option<String> {
    match principal.identity() {
        Identity::Authorization(id, _) => Some(id.to_string()),
        Identity::ApiToken(id) => Some(id.to_string()),
        _ => None,
    }
}

fn encode_username(username: &str) -> HeaderValue {
    let text = Some(utf8_percent_encode(username, UNRESERVED).to_string());
    let text = text.filter(|text| text.len() <= MAX_USERNAME);
    let value = text.and_then(|text| HeaderValue::try_from(text).ok());
    value.unwrap_or(HeaderValue::from_static(""))
}

/// Escapes the reason for a string in JSON, into which a proxy puts the header as it is: visible ASCII
/// without quotation marks, backslashes but for escapes, or line breaks.
fn escape_denial(reason: &str) -> HeaderValue {
    let mut escaped = String::new();
    for character in reason.chars().take(MAX_DENIAL) {
        match character {
            ' '..='~' if !matches!(character, '"' | '\\' | '$') => escaped.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    escaped += &format!("\\u{unit:04x}");
                }
            }
        }
    }
    HeaderValue::try_from(escaped).unwrap_or(HeaderValue::from_static("insufficient permissions"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_is_a_string_of_json_whatever_it_quotes() {
        for reason in [
            "insufficient permissions",
            "it needs read of \"events\".\"a\\b\"",
            "ü, 🦀, \r\n\t\0 $host",
        ] {
            let header = escape_denial(reason);
            let header = header.to_str().unwrap();
            assert!(header.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{header}");
            assert!(!header.contains(['"', '$']), "{header}");
            let text: String = serde_json::from_str(&format!("\"{header}\"")).unwrap();
            assert_eq!(text, reason);
        }
        assert_eq!(escape_denial(&"x".repeat(1_000)).len(), MAX_DENIAL);
    }
}
