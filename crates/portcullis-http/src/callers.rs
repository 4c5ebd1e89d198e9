//! How callers of the management API are authenticated.

use async_trait::async_trait;
use http::header;
use http::request::Parts;
use portcullis::{Credentials, Engine, Error, ErrorKind, Principal};

use crate::client_address::source;

/// Authenticates the callers of the management API.
///
/// By default callers present an API token ([`ApiTokenCallers`]). A server with a login of its
/// own implements this to let its users manage credentials:
///
/// ```
/// use http::request::Parts;
/// use portcullis::{Error, ErrorKind, Principal};
/// use portcullis_http::Callers;
///
/// #[derive(Debug)]
/// struct MySessions;
///
/// #[async_trait::async_trait]
/// impl Callers for MySessions {
///     async fn caller(&self, request: &Parts) -> Result<Principal, Error> {
///         let session: Option<&Principal> = request.extensions.get();
///         session.cloned().ok_or_else(|| Error::new(ErrorKind::Unauthorized, "unauthorized access"))
///     }
/// }
/// ```
#[async_trait]
pub trait Callers: std::fmt::Debug + Send + Sync + 'static {
    /// Returns the caller of a request, on whose behalf the operation runs.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`] if the request is not authenticated, [`ErrorKind::Forbidden`] if
    /// its caller may not use the API at all, any other kind for a failure. The message is part of
    /// the response.
    async fn caller(&self, request: &Parts) -> Result<Principal, Error>;
}

/// Callers that present an API token: `Authorization: Token T` or `Authorization: Bearer T`.
#[derive(Debug)]
pub struct ApiTokenCallers {
    engine: Engine,
}

impl ApiTokenCallers {
    /// Authenticates tokens with the engine.
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[async_trait]
impl Callers for ApiTokenCallers {
    async fn caller(&self, request: &Parts) -> Result<Principal, Error> {
        let header = request.headers.get(header::AUTHORIZATION);
        let token =
            header.and_then(|value| std::str::from_utf8(value.as_bytes()).ok()).and_then(token);
        match token {
            Some(token) => {
                let source = source(&request.extensions);
                let credentials = Credentials::token(token).source(source);
                self.engine.authenticate_caller(credentials).await
            }
            None => Err(Error::new(ErrorKind::Unauthorized, "unauthorized access")),
        }
    }
}

/// Returns the token in a header. The scheme is read in any case; exactly one blank follows it.
fn token(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    let is_token = ["token", "bearer"].iter().any(|name| scheme.eq_ignore_ascii_case(name));
    (is_token && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [HTTP-4]
    #[test]
    fn scheme_in_any_case_and_one_blank() {
        for (header, expected) in [
            ("Token abc", Some("abc")),
            ("token abc", Some("abc")),
            ("BEARER abc", Some("abc")),
            ("Token  abc", Some(" abc")),
            ("Token a b", Some("a b")),
            ("Token", None),
            ("Token ", None),
            ("Bearer ", None),
            ("abc", None),
            ("Basic abc", None),
            (" Token abc", None),
        ] {
            assert_eq!(token(header), expected, "{header:?}");
        }
    }
}
