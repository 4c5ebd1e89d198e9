//! Forward-auth: a reverse proxy requests a decision on a request before it passes it on to the
//! database.

mod config;
mod decision;
mod question;
mod request;

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::any_service;
use futures_util::FutureExt;
use http::request::Parts;
use http::{HeaderMap, header};
use portcullis::{Action, Decision, Engine, Permission, Principal};
use tower_layer::Layer;
use tower_service::Service;

pub use self::config::ForwardAuthConfig;
use self::decision::{AuthDecision, identity};
use self::question::{OF_BROWSERS, Question, Unclear};
use self::request::{OriginalRequest, OriginalUri};
use crate::client_address::{ClientAddressLayer, source};
use crate::limits::CredentialLimiter;
use crate::log::refusals::cut;
use crate::trace::TraceLayer;
use crate::v1::credentials::DecodeBuffer;
use crate::v1::layer::authenticate;
use crate::v1::policy::{Operation, Target, V1Denial, V1Policy, V1Request};
use crate::v1::query::{QueryDecision, QueryRequest};
use crate::v1::rejection::without_unreadable_retry_after;

/// The path that proxies send their requests to.
const PATH: &str = "/forward-auth";

/// The target of the log in which operators find the reasons of decisions.
const TARGET: &str = "portcullis::forward_auth";

/// How many characters of what a client has sent are logged.
const MAX_SHOWN: usize = 256;

/// Forward-auth at `/forward-auth`: a router for a host that serves it beside its own routes.
///
/// [`ServerApi`](crate::ServerApi) has it already. The response is 204 if the request is allowed, 401 or
/// 403 if it is refused, and 429 or 503 with `Retry-After` for a temporary failure
/// (`docs/spec/forward-auth.md`).
#[derive(Clone, Debug)]
#[must_use]
pub struct ForwardAuth {
    engine: Engine,
    config: ForwardAuthConfig,
    limiter: Option<CredentialLimiter>,
}

impl ForwardAuth {
    /// Forward-auth by the engine, with the default configuration.
    pub fn new(engine: Engine) -> Self {
        Self { engine, config: ForwardAuthConfig::new(), limiter: None }
    }

    /// Sets the configuration. Default: [`ForwardAuthConfig::new`].
    pub fn config(self, config: ForwardAuthConfig) -> Self {
        Self { config, ..self }
    }

    /// Sets what limits the rate of each credential: 429 beyond it. When a request ends is not known here, so
    /// those in flight are not limited. Default: nothing is limited.
    pub fn limiter(self, limiter: impl Into<Option<CredentialLimiter>>) -> Self {
        Self { limiter: limiter.into(), ..self }
    }

    /// Returns the router.
    pub fn into_router(self) -> Router {
        routes(self.engine, self.config, self.limiter, None)
    }
}

/// Returns the routes. With `addresses` they find the client's address themselves; otherwise a
/// layer around them has to.
pub(crate) fn routes(
    engine: Engine,
    config: ForwardAuthConfig,
    limiter: Option<CredentialLimiter>,
    addresses: Option<ClientAddressLayer>,
) -> Router {
    // A service rather than a handler in layers: each layer costs every request an allocation.
    let policy = V1Policy::new(engine.clone()).org(config.org).upstream(config.upstream);
    let service =
        ForwardAuthService(Arc::new(Inner { engine, config, policy, limiter, addresses }));
    let service = any_service(TraceLayer.layer(service));
    Router::new().route(PATH, service.clone()).route(&format!("{PATH}/"), service)
}

#[derive(Clone)]
struct ForwardAuthService(Arc<Inner>);

struct Inner {
    engine: Engine,
    config: ForwardAuthConfig,
    policy: V1Policy,
    limiter: Option<CredentialLimiter>,
    addresses: Option<ClientAddressLayer>,
}

impl Service<Request> for ForwardAuthService {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let (parts, _) = request.into_parts();
            let decision = AssertUnwindSafe(inner.decide(&parts)).catch_unwind().await;
            let decision = decision.unwrap_or_else(|_| AuthDecision::panicked());
            let response = decision.into_response(inner.config.influxdb.as_ref());
            Ok(without_unreadable_retry_after(&parts.headers, response))
        })
    }
}

impl Inner {
    async fn decide(&self, parts: &Parts) -> AuthDecision {
        let source = match &self.addresses {
            Some(addresses) => addresses.find(&parts.extensions, &parts.headers),
            None => source(&parts.extensions),
        };
        let original = match OriginalRequest::read(&parts.headers, &self.config.uri_header) {
            Ok(original) => original,
            Err(ambiguous) => {
                let header = self.config.uri_header.as_str();
                tracing::info!(target: TARGET, header, "request not read: {ambiguous}");
                return AuthDecision::unauthorized();
            }
        };
        if self.is_preflight(&parts.headers, &original) {
            tracing::debug!(target: TARGET, "allowed: a preflight");
            return AuthDecision::Preflight;
        }
        let principal = match self.principal(&original, source).await {
            Ok(principal) => principal,
            Err(decision) => return decision,
        };
        if let Some(limiter) = &self.limiter
            && let Err(error) = limiter.count(&principal)
        {
            return AuthDecision::Undecided(error);
        }
        let request = RequestInfo { principal, source, uri: original.uri };
        if !self.policy.allows_org(&request.principal) {
            return request.deny("the credential is of another org than this proxy is for");
        }
        let own_query = parts.uri.query().unwrap_or_default();
        let question = Question::read(own_query, request.uri.as_ref(), original.may_have_form);
        match question {
            Err(Unclear::Other(why)) => request.deny(&why),
            Err(Unclear::Body(why)) => request.deny_with_reason(why, why.to_owned()),
            Ok(Question::Identity) => request.allow("authenticated"),
            Ok(Question::Permission(permission)) => request.check(&permission),
            Ok(Question::Request(permission, parameters)) => {
                self.check_request(request, permission, parameters.request()).await
            }
        }
    }

    /// Checks the permission that the proxy names, if it does, and what the original request needs.
    async fn check_request(
        &self,
        request: RequestInfo<'_>,
        permission: Option<Permission>,
        original: V1Request<'_>,
    ) -> AuthDecision {
        if let Some(permission) = permission
            && !request.principal.check(permission.action, &permission.resource).is_allowed()
        {
            return request.check(&permission);
        }
        match Operation::of(original) {
            Err(why) => request.deny(why),
            Ok(Operation::Access(action, target)) => {
                self.check_access(request, action, target).await
            }
            Ok(Operation::Query(query)) => self.check_query(request, query).await,
        }
    }

    async fn check_access(
        &self,
        request: RequestInfo<'_>,
        action: Action,
        target: Target<'_>,
    ) -> AuthDecision {
        match self.policy.permission(&request.principal, action, target).await {
            Ok(Ok(permission)) => request.check(&permission),
            Ok(Err(V1Denial::Access { name, .. })) => {
                request.deny(&format_args!("there is no bucket {}", cut(&name, MAX_SHOWN)))
            }
            Ok(Err(denial)) => request.deny(&denial),
            Err(error) => AuthDecision::Undecided(error),
        }
    }

    async fn check_query(&self, request: RequestInfo<'_>, query: QueryRequest<'_>) -> AuthDecision {
        match self.policy.queries().decide(&request.principal, query).await {
            Ok(QueryDecision::Allowed(_)) => request.allow("the statements are allowed"),
            Ok(QueryDecision::Denied(denial)) => {
                let why = denial.to_string();
                request.deny_with_reason(&why, why.clone())
            }
            // The message quotes the query, which may hold a password: it is not logged.
            Ok(QueryDecision::Unreadable(why)) => {
                request.deny_with_reason("the query cannot be parsed", why.to_string())
            }
            Err(error) => AuthDecision::Undecided(error),
        }
    }

    /// Returns whether the request is a CORS preflight, which browsers send without credentials.
    fn is_preflight(&self, headers: &HeaderMap, original: &OriginalRequest<'_>) -> bool {
        let has = |name| headers.contains_key(name);
        let mut methods = headers.get_all(&self.config.method_header).into_iter();
        self.config.preflight
            && methods.next().is_some_and(|method| method == "OPTIONS")
            && methods.next().is_none()
            && has(header::ORIGIN)
            && has(header::ACCESS_CONTROL_REQUEST_METHOD)
            && original.uri.is_some_and(|uri| OF_BROWSERS.contains(&uri.path))
            && !original.has_credentials()
    }

    /// Authenticates the original request.
    async fn principal(
        &self,
        original: &OriginalRequest<'_>,
        source: Option<IpAddr>,
    ) -> Result<Principal, AuthDecision> {
        let mut buffer = DecodeBuffer::default();
        let credentials =
            original.credentials(&mut buffer).ok_or_else(AuthDecision::unauthorized)?;
        authenticate(&self.engine, credentials, source).await.map_err(AuthDecision::Undecided)
    }
}

/// An authenticated request, with what is logged of it.
struct RequestInfo<'a> {
    principal: Principal,
    source: Option<IpAddr>,
    uri: Option<OriginalUri<'a>>,
}

impl RequestInfo<'_> {
    fn check(self, permission: &Permission) -> AuthDecision {
        let decision = self.principal.check(permission.action, &permission.resource);
        match decision {
            Decision::Allowed(_) => self.allow(&format_args!("{permission} is {decision}")),
            Decision::Denied(_) => self.deny(&format_args!("{permission} is {decision}")),
        }
    }

    fn allow(self, why: &(impl fmt::Display + ?Sized)) -> AuthDecision {
        tracing::debug!(
            target: TARGET,
            address = self.source.map(tracing::field::display),
            authorization = identity(&self.principal),
            path = self.path(),
            "allowed: {why}"
        );
        AuthDecision::Allowed(self.principal)
    }

    fn deny(self, why: &(impl fmt::Display + ?Sized)) -> AuthDecision {
        tracing::info!(
            target: TARGET,
            address = self.source.map(tracing::field::display),
            authorization = identity(&self.principal),
            path = self.path(),
            "denied: {why}"
        );
        AuthDecision::Denied(self.principal, None)
    }

    /// Denies it, and tells the client why.
    fn deny_with_reason(self, logged: &str, why: String) -> AuthDecision {
        match self.deny(&cut(logged, MAX_SHOWN).escape_debug()) {
            AuthDecision::Denied(principal, _) => AuthDecision::Denied(principal, Some(why)),
            other => other,
        }
    }

    fn path(&self) -> Option<&str> {
        self.uri.map(|uri| cut(uri.path, MAX_SHOWN))
    }
}
