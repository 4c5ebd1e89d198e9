//! Forward-auth: a reverse proxy asks whether a request may go on to the database behind it.

mod request;

use std::convert::Infallible;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::any_service;
use futures_util::FutureExt;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use percent_encoding::utf8_percent_encode;
use portcullis::{
    BucketId, Decision, Engine, Error, ErrorKind, Identity, OrgId, Permission, Principal, Resource,
};
use tower_layer::Layer;
use tower_service::Service;

use crate::client_address::{ClientAddressLayer, source};
use crate::extract::query::{self, Encoded, Parameter, UNRESERVED};
use crate::forward_auth::request::{Original, OriginalUri, Unclear};
use crate::log::refusals::cut;
use crate::trace::TraceLayer;
use crate::v1::credentials::Decoded;
use crate::v1::influxdb_version::InfluxdbVersion;
use crate::v1::layer::authenticate;
use crate::v1::rejection::{V1Rejection, without_unreadable_time};

/// The path that proxies ask.
const PATH: &str = "/forward-auth";

/// The paths of the database whose requests say by themselves what they ask for.
const WRITE: &str = "/write";
const WRITE_V2: &str = "/api/v2/write";

const AUTHORIZATION: HeaderName = HeaderName::from_static("x-portcullis-authorization");
const ORG: HeaderName = HeaderName::from_static("x-portcullis-org");
const USER: HeaderName = HeaderName::from_static("x-portcullis-user");
const USERNAME: HeaderName = HeaderName::from_static("x-portcullis-username");

/// The longest username that is told, encoded and in bytes: proxies bound the head of an answer to
/// a few kilobytes, and take a larger one for an error.
const MAX_USERNAME: usize = 2_048;

/// How many characters of what a client has sent are logged.
const MAX_SHOWN: usize = 256;

/// How forward-auth and the proxy work together.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct ForwardAuthConfig {
    uri_header: HeaderName,
    method_header: HeaderName,
    preflight: bool,
    org: Option<OrgId>,
    upstream: UpstreamSemantics,
    pub(crate) influxdb: Option<InfluxdbVersion>,
}

/// What a database takes `db=DB&rp=RP` for, where there is no bucket `DB/RP`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpstreamSemantics {
    /// The retention policy is a part of the database, as in InfluxDB 1.x. Write on the bucket `DB`
    /// covers it.
    #[default]
    V1,
    /// It is a bucket of its own, as in InfluxDB 2.x: it is refused. So is a `bucket` that could be
    /// read as an id.
    V2,
}

impl ForwardAuthConfig {
    /// The defaults, as the setters document them.
    pub fn new() -> Self {
        Self {
            uri_header: HeaderName::from_static("x-original-uri"),
            method_header: HeaderName::from_static("x-original-method"),
            preflight: false,
            org: None,
            upstream: UpstreamSemantics::default(),
            influxdb: None,
        }
    }

    /// Sets the header in which the proxy sends path and query of the original request. No other
    /// header is read for it, and the proxy must not pass on the client's own. Default:
    /// `X-Original-URI`.
    pub fn uri_header(self, uri_header: HeaderName) -> Self {
        Self { uri_header, ..self }
    }

    /// Sets the header in which the proxy sends the method of the original request. It is read for
    /// preflights alone. Default: `X-Original-Method`.
    pub fn method_header(self, method_header: HeaderName) -> Self {
        Self { method_header, ..self }
    }

    /// Sets whether a CORS preflight is allowed without credentials, which browsers never send with
    /// one: an `OPTIONS` of `/write` or `/api/v2/write` with `Origin` and
    /// `Access-Control-Request-Method`. Default: no.
    pub fn preflight(self, preflight: bool) -> Self {
        Self { preflight, ..self }
    }

    /// Sets the only org whose credentials are allowed; those of other orgs are denied with 403.
    /// Without it, two orgs with a bucket of the same name share the database of that name.
    /// Default: any org.
    pub fn org(self, org: impl Into<Option<OrgId>>) -> Self {
        Self { org: org.into(), ..self }
    }

    /// Sets what a retention policy means to the database. Default: [`UpstreamSemantics::V1`].
    pub fn upstream(self, upstream: UpstreamSemantics) -> Self {
        Self { upstream, ..self }
    }

    /// Sets the version of the database that v1 clients are shown, on `/ping` and on refusals.
    /// Default: none.
    pub fn influxdb_version(self, version: impl Into<Option<InfluxdbVersion>>) -> Self {
        Self { influxdb: version.into(), ..self }
    }
}

impl Default for ForwardAuthConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// Forward-auth at `/forward-auth`: a router for a host that serves it beside its own routes.
///
/// [`ServerApi`](crate::ServerApi) has it already. The response is 204 for what is allowed, 401 or
/// 403 for what is refused, and 429 or 503 with `Retry-After` for what may pass
/// (`docs/spec/forward-auth.md`).
#[derive(Clone, Debug)]
#[must_use]
pub struct ForwardAuth {
    engine: Engine,
    config: ForwardAuthConfig,
}

impl ForwardAuth {
    /// Forward-auth by the engine, with the default configuration.
    pub fn new(engine: Engine) -> Self {
        Self { engine, config: ForwardAuthConfig::new() }
    }

    /// Sets the configuration. Default: [`ForwardAuthConfig::new`].
    pub fn config(self, config: ForwardAuthConfig) -> Self {
        Self { config, ..self }
    }

    /// Returns the router.
    pub fn into_router(self) -> Router {
        routes(self.engine, self.config, None)
    }
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
            let verdict = verdict.unwrap_or_else(|_| Verdict::Undecided(panicked()));
            let response = verdict.respond(settings.config.influxdb.as_ref());
            Ok(without_unreadable_time(&parts.headers, response))
        })
    }
}

/// What the proxy is told.
enum Verdict {
    /// The request may go on.
    Allowed(Principal),
    /// It is a preflight, which may go on without an identity.
    Preflight,
    /// It is theirs, and they may not do this.
    Denied(Principal),
    /// Its credentials are refused, or nothing is known of it.
    Undecided(Error),
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
                return Verdict::unauthorized();
            }
        };
        if self.is_preflight(&parts.headers, &original) {
            tracing::debug!(target: TARGET, "allowed: a preflight");
            return Verdict::Preflight;
        }
        let principal = match self.principal(&original, source).await {
            Ok(principal) => principal,
            Err(verdict) => return verdict,
        };
        let case = Case { principal, source, uri: original.uri };
        if self.config.org.is_some_and(|org| org != case.principal.org()) {
            return case.deny("the credential is of another org than this proxy is for");
        }
        let asked = match Asked::read(parts.uri.query().unwrap_or_default(), case.uri.as_ref()) {
            Ok(asked) => asked,
            Err(why) => return case.deny(&why),
        };
        match asked {
            Asked::Identity => case.allow("authenticated"),
            Asked::Permission(permission) => case.decide(&permission),
            Asked::Write(target) if self.is_id_upstream(&target) => {
                case.deny("the database could take the bucket's name for an id")
            }
            Asked::Write(target) => match self.bucket(&target, case.principal.org()).await {
                Ok(Ok(bucket)) => {
                    let bucket = Resource::bucket(case.principal.org(), bucket);
                    case.decide(&Permission::write(bucket))
                }
                Ok(Err(name)) => {
                    case.deny(&format!("there is no bucket {:?}", cut(&name, MAX_SHOWN)))
                }
                Err(error) => Verdict::Undecided(error),
            },
        }
    }

    /// Finds the bucket that is written: that of the retention policy, if there is one.
    ///
    /// The inner error is the name that no bucket has.
    async fn bucket(&self, target: &Target, org: OrgId) -> Result<Result<BucketId, String>, Error> {
        if let Some(policy) = &target.policy {
            let name = format!("{}/{policy}", target.database);
            match (self.engine.bucket_id(org, &name).await?, self.config.upstream) {
                (Some(bucket), _) => return Ok(Ok(bucket)),
                (None, UpstreamSemantics::V2) => return Ok(Err(name)),
                (None, UpstreamSemantics::V1) => {}
            }
        }
        let found = self.engine.bucket_id(org, &target.database).await?;
        Ok(found.ok_or_else(|| target.database.clone()))
    }

    /// InfluxDB 2.x takes a bucket for an id first, and only then for a name.
    fn is_id_upstream(&self, target: &Target) -> bool {
        self.config.upstream == UpstreamSemantics::V2
            && target.policy.is_none()
            && target.database.parse::<BucketId>().is_ok()
    }

    /// Tells whether a browser asks what it may send, which it does without credentials.
    fn is_preflight(&self, headers: &HeaderMap, original: &Original<'_>) -> bool {
        let has = |name| headers.contains_key(name);
        let mut methods = headers.get_all(&self.config.method_header).into_iter();
        self.config.preflight
            && methods.next().is_some_and(|method| method == "OPTIONS")
            && methods.next().is_none()
            && has(header::ORIGIN)
            && has(header::ACCESS_CONTROL_REQUEST_METHOD)
            && original.uri.is_some_and(|uri| [WRITE, WRITE_V2].contains(&uri.path))
            && !original.has_credentials()
    }

    /// Whose the request is.
    async fn principal(
        &self,
        original: &Original<'_>,
        source: Option<IpAddr>,
    ) -> Result<Principal, Verdict> {
        let mut decoded = Decoded::default();
        let credentials = original.credentials(&mut decoded).ok_or_else(Verdict::unauthorized)?;
        authenticate(&self.engine, credentials, source).await.map_err(Verdict::Undecided)
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
    /// May they write there?
    Write(Target),
}

/// Where a request writes.
struct Target {
    database: String,
    /// The retention policy, if the request names one.
    policy: Option<String>,
}

impl Target {
    /// Takes `db` and `rp` of `/write`.
    fn of_database(database: String, policy: Option<String>) -> Result<Self, &'static str> {
        // Of `a/b/c`, which part is the database?
        if policy.is_some() && database.contains('/') {
            return Err("there is a `/` in `db`, and an `rp` beside it");
        }
        Ok(Self { database, policy })
    }

    /// Reads `DB` or `DB/RP`, the `bucket` of `/api/v2/write`.
    fn of_bucket(name: &str) -> Result<Self, &'static str> {
        let Some((database, policy)) = name.split_once('/') else {
            return Ok(Self { database: name.to_owned(), policy: None });
        };
        // To InfluxDB 1.8 `DB/` is `DB`, to 2.x it is a name of its own.
        if database.is_empty() || policy.is_empty() {
            return Err("a `/` in `bucket` has nothing before or after it");
        }
        Ok(Self { database: database.to_owned(), policy: Some(policy.to_owned()) })
    }
}

impl Asked {
    /// Reads the proxy's own query, and where that asks nothing, the original request.
    fn read(own_query: &str, uri: Option<&OriginalUri<'_>>) -> Result<Self, String> {
        let database = uri.map_or(Ok(None), OriginalUri::database).map_err(unclear)?;
        let policy = uri.map_or(Ok(None), OriginalUri::policy).map_err(unclear)?;
        let bucket = uri.map_or(Ok(None), OriginalUri::bucket).map_err(unclear)?;
        // A proxy that passes the client's query on would have the client say what is asked.
        if uri.is_some_and(|uri| uri.asks) {
            return Err("the client asks: the proxy may pass its query on to us".to_owned());
        }
        if uri.is_some_and(|uri| uri.relabels) {
            return Err("`extra_label` and `extra_filters` are for the proxy to set".to_owned());
        }
        if let Some(asked) = Self::read_own(own_query)? {
            return Ok(asked);
        }
        let uri = uri.ok_or("the proxy asks nothing and tells no original URI")?;
        match uri.path {
            // VictoriaMetrics looks for `db` at both paths.
            WRITE if bucket.is_some() => {
                Err("there is a `bucket`, which /write does not have".to_owned())
            }
            WRITE_V2 if database.is_some() || policy.is_some() => {
                Err("there is a `db` or `rp`, which /api/v2/write does not have".to_owned())
            }
            WRITE => {
                let database = database.ok_or("there is no `db`")?;
                Ok(Self::Write(Target::of_database(database, policy)?))
            }
            WRITE_V2 => {
                let bucket = bucket.ok_or("there is no `bucket`")?;
                Ok(Self::Write(Target::of_bucket(&bucket)?))
            }
            _ => {
                Err("the proxy asks nothing, and only /write and /api/v2/write say by themselves \
                      what they are"
                    .to_owned())
            }
        }
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

fn unclear(unclear: Unclear) -> String {
    unclear.to_string()
}

/// Tells whether the parameter says what is asked.
fn asks(parameter: Parameter<'_>) -> bool {
    parameter.is("permission") || parameter.is("check")
}

impl Verdict {
    /// Without credentials, or with such as cannot be read.
    fn unauthorized() -> Self {
        Self::Undecided(Error::new(ErrorKind::Unauthorized, "unauthorized access"))
    }

    fn respond(self, influxdb: Option<&InfluxdbVersion>) -> Response {
        match self {
            Self::Allowed(principal) => {
                let mut response = allowed();
                tell(&principal, &mut response);
                response
            }
            Self::Preflight => {
                let mut response = allowed();
                for name in [AUTHORIZATION, ORG, USER, USERNAME] {
                    response.headers_mut().insert(name, HeaderValue::from_static(""));
                }
                response
            }
            Self::Denied(principal) => {
                let denied = Error::new(ErrorKind::Forbidden, "insufficient permissions");
                let rejection = V1Rejection::from(denied).influxdb_version(influxdb.cloned());
                let mut response = rejection.into_response();
                tell(&principal, &mut response);
                response
            }
            Self::Undecided(error) => {
                // The identity of the request is not known, so no kind of error is about its
                // permissions.
                let rejection = match error.kind() {
                    ErrorKind::Forbidden => V1Rejection::unauthorized_access(),
                    _ => V1Rejection::from(error),
                };
                rejection.influxdb_version(influxdb.cloned()).into_response()
            }
        }
    }
}

/// A proxy that kept this answer would let a credential through that has been revoked meanwhile.
fn allowed() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().reserve(5);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
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
