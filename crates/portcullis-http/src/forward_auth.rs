//! Forward-auth: a reverse proxy asks whether a request may go on to the database behind it.

use std::convert::Infallible;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::any_service;
use futures_util::FutureExt;
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode};
use percent_encoding::utf8_percent_encode;
use portcullis::{Decision, Engine, Error, ErrorKind, Identity, Permission, Principal, Resource};
use tower_layer::Layer;
use tower_service::Service;

use crate::client_address::{ClientAddressLayer, source};
use crate::envelope::{Envelope, log_failure};
use crate::login::cut;
use crate::original::{Original, OriginalUri};
use crate::query::{self, Encoded, Parameter};
use crate::trace::TraceLayer;
use crate::v1_credentials::Decoded;
use crate::v1_layer::{authenticate, challenge};
use crate::wire::UNRESERVED;

/// The path that proxies ask.
const PATH: &str = "/forward-auth";

/// The one path of the database whose requests say by themselves what they ask for.
const WRITE: &str = "/write";

const AUTHORIZATION: HeaderName = HeaderName::from_static("x-portcullis-authorization");
const ORG: HeaderName = HeaderName::from_static("x-portcullis-org");
const USER: HeaderName = HeaderName::from_static("x-portcullis-user");
const USERNAME: HeaderName = HeaderName::from_static("x-portcullis-username");

/// The longest username that is told, encoded and in bytes: proxies bound the head of an answer to
/// a few kilobytes, and take a larger one for an error.
const MAX_USERNAME: usize = 2_048;

/// When to come again, where nothing says so.
const AGAIN: Duration = Duration::from_secs(5);

/// How many characters of what a client has sent are logged.
const MAX_SHOWN: usize = 256;

/// How forward-auth and the proxy work together.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForwardAuthConfig {
    /// The header in which the proxy tells path and query of the original request. No other is
    /// looked at, and the proxy must not let the client's own through. Default: `X-Original-URI`.
    pub uri_header: HeaderName,
}

impl Default for ForwardAuthConfig {
    fn default() -> Self {
        Self { uri_header: HeaderName::from_static("x-original-uri") }
    }
}

/// Answers reverse proxies at `/forward-auth`: for a host that does so beside its own routes.
///
/// [`server_router`](crate::server_router) has it already. Every answer is 204, 401 or 403
/// (`docs/behaviour.md`, "Forward-auth").
pub fn forward_auth_router(engine: Engine, config: ForwardAuthConfig) -> Router {
    routes(engine, config, None)
}

/// The routes, with a look for the client's address where no layer does it.
pub(crate) fn routes(
    engine: Engine,
    config: ForwardAuthConfig,
    addresses: Option<ClientAddressLayer>,
) -> Router {
    // A service rather than a handler in layers: each of them costs every request an allocation.
    let gate = Gate(Arc::new(Settings { engine, config, addresses }));
    let gate = any_service(TraceLayer.layer(gate));
    Router::new().route(PATH, gate.clone()).route(&format!("{PATH}/"), gate)
}

#[derive(Clone)]
struct Gate(Arc<Settings>);

struct Settings {
    engine: Engine,
    config: ForwardAuthConfig,
    addresses: Option<ClientAddressLayer>,
}

impl Service<Request> for Gate {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let settings = Arc::clone(&self.0);
        Box::pin(async move {
            let (parts, _) = request.into_parts();
            let verdict = AssertUnwindSafe(settings.judge(&parts)).catch_unwind().await;
            let verdict = verdict.unwrap_or_else(|_| Verdict::Failed(panicked()));
            Ok(verdict.into_response())
        })
    }
}

/// What the proxy is told.
enum Verdict {
    /// The request may go on.
    Allowed(Principal),
    /// It is theirs, and they may not do this.
    Denied(Principal),
    /// It is nobody's.
    Nobody { message: String, retry_after: Option<Duration> },
    /// Nothing is known, so it may not go on.
    Failed(Error),
}

fn panicked() -> Error {
    Error::new(ErrorKind::Internal, "an internal error has occurred").with_source("a panic")
}

impl Settings {
    async fn judge(&self, parts: &Parts) -> Verdict {
        let source = match &self.addresses {
            Some(addresses) => addresses.find(&parts.extensions, &parts.headers),
            None => source(&parts.extensions),
        };
        let original = match Original::read(&parts.headers, &self.config.uri_header) {
            Ok(original) => original,
            Err(unclear) => {
                let header = self.config.uri_header.as_str();
                tracing::info!(target: TARGET, header, "request not read: {unclear}");
                return Verdict::nobody();
            }
        };
        let principal = match self.principal(&original, source).await {
            Ok(principal) => principal,
            Err(verdict) => return verdict,
        };
        let case = Case { principal, source, uri: original.uri };
        let asked = match Asked::read(parts.uri.query().unwrap_or_default(), case.uri.as_ref()) {
            Ok(asked) => asked,
            Err(why) => return case.deny(&why),
        };
        match asked {
            Asked::Identity => case.allow("authenticated"),
            Asked::Permission(permission) => case.decide(&permission),
            Asked::Write { bucket: name } => {
                let org = case.principal.org();
                match self.engine.bucket_named(org, &name).await {
                    Ok(Some(bucket)) => {
                        case.decide(&Permission::write(Resource::bucket(org, bucket)))
                    }
                    Ok(None) => {
                        case.deny(&format!("there is no bucket {:?}", cut(&name, MAX_SHOWN)))
                    }
                    Err(error) => Verdict::Failed(error),
                }
            }
        }
    }

    /// Whose the request is.
    async fn principal(
        &self,
        original: &Original<'_>,
        source: Option<IpAddr>,
    ) -> Result<Principal, Verdict> {
        let mut decoded = Decoded::default();
        let credentials = original.credentials(&mut decoded).ok_or_else(Verdict::nobody)?;
        authenticate(&self.engine, credentials, source).await.map_err(Verdict::refused)
    }
}

/// A request of somebody who is known.
struct Case<'a> {
    principal: Principal,
    source: Option<IpAddr>,
    uri: Option<OriginalUri<'a>>,
}

/// Where the verdicts are explained to operators.
const TARGET: &str = "portcullis::forward_auth";

impl Case<'_> {
    fn decide(self, permission: &Permission) -> Verdict {
        let decision = self.principal.check(permission.action, &permission.resource);
        match decision {
            Decision::Allowed(_) => self.allow(&format_args!("{permission} is {decision}")),
            Decision::Denied(_) => self.deny(&format_args!("{permission} is {decision}")),
        }
    }

    fn allow(self, why: &(impl std::fmt::Display + ?Sized)) -> Verdict {
        tracing::debug!(
            target: TARGET,
            address = self.source.map(tracing::field::display),
            authorization = identity(&self.principal),
            path = self.path(),
            "allowed: {why}"
        );
        Verdict::Allowed(self.principal)
    }

    fn deny(self, why: &(impl std::fmt::Display + ?Sized)) -> Verdict {
        tracing::info!(
            target: TARGET,
            address = self.source.map(tracing::field::display),
            authorization = identity(&self.principal),
            path = self.path(),
            "denied: {why}"
        );
        Verdict::Denied(self.principal)
    }

    fn path(&self) -> Option<&str> {
        self.uri.map(|uri| cut(uri.path, MAX_SHOWN))
    }
}

/// What is asked about a request, whose it is known to be.
enum Asked {
    /// Nothing more.
    Identity,
    /// May they do this?
    Permission(Permission),
    /// May they write the bucket of this name?
    Write { bucket: String },
}

impl Asked {
    /// Reads the proxy's own query, and where that asks nothing, the original request.
    fn read(own_query: &str, uri: Option<&OriginalUri<'_>>) -> Result<Self, String> {
        let database = uri.map_or(Ok(None), OriginalUri::database);
        let database = database.map_err(|unclear| unclear.to_string())?;
        // A proxy that passes the client's query on would have the client say what is asked.
        if uri.is_some_and(|uri| uri.asks) {
            return Err("the client asks: the proxy may pass its query on to us".to_owned());
        }
        if let Some(asked) = Self::read_own(own_query)? {
            return Ok(asked);
        }
        let uri = uri.ok_or("the proxy asks nothing and tells no original URI")?;
        if uri.path != WRITE {
            return Err("the proxy asks nothing, and only /write says by itself what it is".into());
        }
        let bucket = database.ok_or("there is no `db`")?;
        Ok(Self::Write { bucket })
    }

    /// Reads `permission` or `check`. What cannot be read must not mean that nothing is asked.
    fn read_own(own_query: &str) -> Result<Option<Self>, String> {
        let mut found = query::parameters(own_query).filter(|parameter| asks(*parameter));
        let Some(parameter) = found.next() else {
            return Ok(None);
        };
        if found.next().is_some() {
            return Err("the proxy asks twice".to_owned());
        }
        let value = parameter.value().map(Encoded::decode);
        let value = value.and_then(|value| String::from_utf8(value).ok());
        let value = value.ok_or("what the proxy asks is not encoded for a URL")?;
        if parameter.is("permission") {
            // The error quotes what was asked, and is logged.
            let permission = value
                .parse::<Permission>()
                .map_err(|error| format!("the proxy asks: {}", error.to_string().escape_debug()))?;
            return Ok(Some(Self::Permission(permission)));
        }
        if value == "none" {
            return Ok(Some(Self::Identity));
        }
        Err("the proxy's `check` is not `none`".to_owned())
    }
}

/// Tells whether the parameter says what is asked.
fn asks(parameter: Parameter<'_>) -> bool {
    parameter.is("permission") || parameter.is("check")
}

impl Verdict {
    fn nobody() -> Self {
        Self::Nobody { message: "unauthorized access".to_owned(), retry_after: None }
    }

    fn refused(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Unavailable | ErrorKind::Internal => Self::Failed(error),
            ErrorKind::TooManyRequests => Self::Nobody {
                message: error.message().to_owned(),
                retry_after: Some(error.retry_after().unwrap_or(AGAIN)),
            },
            ErrorKind::Unauthorized => {
                Self::Nobody { message: error.message().to_owned(), retry_after: None }
            }
            ErrorKind::Conflict
            | ErrorKind::Forbidden
            | ErrorKind::Invalid
            | ErrorKind::NotFound => Self::nobody(),
        }
    }
}

impl IntoResponse for Verdict {
    fn into_response(self) -> Response {
        match self {
            Self::Allowed(principal) => {
                let mut response = StatusCode::NO_CONTENT.into_response();
                tell(&principal, &mut response);
                response
            }
            Self::Denied(principal) => {
                let mut response = forbidden("insufficient permissions").into_compact_response();
                tell(&principal, &mut response);
                response
            }
            Self::Nobody { message, retry_after } => {
                let envelope = Envelope::from(Error::new(ErrorKind::Unauthorized, message));
                let mut response = envelope.retry_after(retry_after).into_compact_response();
                challenge(&mut response);
                response
            }
            // With 401 a client would take its password for wrong and forget it.
            Self::Failed(error) => {
                log_failure(&error);
                let again = error.kind().is_retryable().then_some(AGAIN);
                forbidden(error.message().to_owned())
                    .retry_after(error.retry_after().or(again))
                    .into_compact_response()
            }
        }
    }
}

fn forbidden(message: impl Into<std::borrow::Cow<'static, str>>) -> Envelope {
    Error::new(ErrorKind::Forbidden, message).into()
}

/// Tells who it is. All headers are there, if need be empty, so that none of the client's own is
/// left standing where a proxy replaces headers by those of the answer.
fn tell(principal: &Principal, response: &mut Response) {
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
    headers.insert(USERNAME, encoded(username.unwrap_or_default()));
}

/// The id of the authorization or of the API token.
fn identity(principal: &Principal) -> Option<String> {
    match principal.identity() {
        Identity::Authorization(id, _) => Some(id.to_string()),
        Identity::ApiToken(id) => Some(id.to_string()),
        _ => None,
    }
}

fn encoded(username: &str) -> HeaderValue {
    let text = Some(utf8_percent_encode(username, UNRESERVED).to_string());
    let text = text.filter(|text| text.len() <= MAX_USERNAME);
    let value = text.and_then(|text| HeaderValue::try_from(text).ok());
    value.unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_goes_wrong_with_a_log_in_is_401_or_403() {
        for (kind, status, retry_after) in [
            (ErrorKind::Conflict, 401, None),
            (ErrorKind::Forbidden, 401, None),
            (ErrorKind::Internal, 403, None),
            (ErrorKind::Invalid, 401, None),
            (ErrorKind::NotFound, 401, None),
            (ErrorKind::TooManyRequests, 401, Some("5")),
            (ErrorKind::Unauthorized, 401, None),
            (ErrorKind::Unavailable, 403, Some("5")),
        ] {
            let response = Verdict::refused(Error::new(kind, "m")).into_response();
            let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap());
            assert_eq!(response.status().as_u16(), status, "{kind:?}");
            assert_eq!(header("retry-after"), retry_after, "{kind:?}");
            assert_eq!(header("www-authenticate").is_some(), status == 401, "{kind:?}");
            assert_eq!(header("x-portcullis-user"), None, "{kind:?}");
        }
        let throttled = Error::new(ErrorKind::TooManyRequests, "m");
        let throttled = throttled.with_retry_after(Duration::from_millis(41_001));
        let response = Verdict::refused(throttled).into_response();
        assert_eq!(response.headers().get("retry-after").unwrap(), "42");
    }
}
