//! How callers of the management API are authenticated.

use async_trait::async_trait;
use http::header;
use http::request::Parts;
use portcullis::{Credentials, Engine, Error, ErrorKind, Principal};

use crate::client_address::source;

/// Finds out on whose behalf a management request is made.
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
    /// Returns the caller.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`] for nobody, [`ErrorKind::Forbidden`] for somebody who may not
    /// call at all, any other kind for a failure. Its message is shown to the client.
    async fn caller(&self, request: &Parts) -> Result<Principal, Error>;
}

/// Callers that present an API token: `Authorization: Token T` or `Authorization: Bearer T`.
#[derive(Debug)]
pub struct ApiTokenCallers {
    engine: Engine,
}

impl ApiTokenCallers {
    /// Looks the tokens up in the engine.
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

/// Returns the token of a header: after the scheme, in any case, exactly one blank is taken.
fn token(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    let known = ["token", "bearer"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    (known && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

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
