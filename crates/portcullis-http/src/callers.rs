//! Who calls the management API.

use std::net::IpAddr;

use async_trait::async_trait;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header;
use http::request::Parts;
use portcullis::{Credentials, Engine, Error, ErrorKind, OnBehalfOf, Principal};

use crate::client_address::source;
use crate::envelope::Envelope;
use crate::login::log_refusal;
use crate::router::Api;

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

/// Extension of a management request: its caller, and where they are.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    principal: Principal,
    source: Option<IpAddr>,
}

impl Caller {
    /// Checks that the caller's token is active.
    pub(crate) fn require_active(&self) -> Result<(), Envelope> {
        match self.principal.is_active() {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Unauthorized, "token is inactive").into()),
        }
    }

    /// Checks that the caller's credential still counts and permits what it did. It is read again if
    /// it may have been changed since.
    pub(crate) async fn revalidate(&mut self, engine: &Engine) -> Result<(), Error> {
        let now = engine.revalidate(&self.principal).await?;
        let before = std::mem::replace(&mut self.principal, now);
        engine.on_behalf_of(&self.principal).require_active()?;
        if before.permissions() == self.principal.permissions() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unauthorized, "the caller's permissions have been changed"))
    }

    /// The engine's operations on the caller's behalf.
    pub(crate) fn asks<'a>(&'a self, engine: &'a Engine) -> OnBehalfOf<'a> {
        engine.on_behalf_of(&self.principal).source(self.source)
    }
}

/// Lets the request through with its caller, or answers it.
pub(crate) async fn require_caller(
    State(api): State<Api>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let source = source(&parts.extensions);
    match api.callers.caller(&parts).await {
        Ok(principal) => {
            parts.extensions.insert(Caller { principal, source });
            next.run(Request::from_parts(parts, body)).await
        }
        Err(error) => {
            match error.refusal() {
                Some(refusal) => log_refusal(source, "caller", refusal, ""),
                None => tracing::info!("caller refused: {error}"),
            }
            let envelope = Envelope::from(error);
            if envelope.status.is_server_error() {
                return envelope.into_response();
            }
            envelope.into_compact_response()
        }
    }
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
