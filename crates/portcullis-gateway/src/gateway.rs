//! The gateway: from a request to a decision, and on to the upstream.

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use futures_util::FutureExt as _;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use portcullis::{Action, Engine, OrgId, Principal, Resource, ResourceType};
use portcullis_http::{
    AllowedStatement, ClientAddress, CredentialLimiter, InfluxdbVersion, StatementKind,
    UpstreamSemantics, V1CredentialLayer, V1CredentialService, V1Decision, V1Policy,
};
use tower_layer::Layer as _;
use tower_service::Service;

use crate::denial::Denials;
use crate::form::Form;
use crate::forward::{Decided, Forwarder, with_length};
use crate::outcome::{Metrics, Outcome};
use crate::parameters::Parameters;
use crate::refusal::Refusal;
use crate::route::Route;
use crate::show_databases;
use crate::upstream::{InvalidUpstream, Upstream};

/// A gateway before a database: a reverse proxy that passes on what its clients may do, and nothing else.
///
/// ```no_run
/// use axum::Router;
/// use portcullis::{Engine, store::MemoryStore};
/// use portcullis_gateway::{Gateway, Upstream};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Engine::builder(MemoryStore::new()?).build().await?;
/// let upstream = Upstream::new("http://127.0.0.1:8186")?.password("portcullis", "s3cret")?;
/// let gateway = Gateway::new(engine, upstream).into_service()?;
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8086").await?;
/// axum::serve(listener, Router::new().fallback_service(gateway)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Gateway {
    engine: Engine,
    upstream: Upstream,
    policy: V1Policy,
    influxdb: Option<InfluxdbVersion>,
    preflight: bool,
    shows_literals: bool,
    max_bytes: u64,
    client_timeout: Duration,
    limiter: Option<CredentialLimiter>,
}

impl Gateway {
    /// The largest body of a write by default, in bytes: 25 MiB.
    pub const DEFAULT_MAX_BYTES: u64 = 25 * 1024 * 1024;

    /// A gateway before the upstream, for the credentials of the engine.
    pub fn new(engine: Engine, upstream: Upstream) -> Self {
        Self {
            policy: V1Policy::new(engine.clone()).filters_databases(true),
            engine,
            upstream,
            influxdb: None,
            preflight: false,
            shows_literals: false,
            max_bytes: Self::DEFAULT_MAX_BYTES,
            client_timeout: Duration::from_secs(30),
            limiter: None,
        }
    }

    /// Sets the only org whose credentials are allowed. Default: any org, and two orgs with a bucket of
    /// the same name share the database of that name.
    pub fn org(self, org: impl Into<Option<OrgId>>) -> Self {
        Self { policy: self.policy.org(org), ..self }
    }

    /// Sets what a retention policy means to the database. Default: [`UpstreamSemantics::V1`].
    pub fn semantics(self, semantics: UpstreamSemantics) -> Self {
        Self { policy: self.policy.upstream(semantics), ..self }
    }

    /// Sets the version of the database in refusals. Responses of the upstream have its own. Default:
    /// none.
    pub fn influxdb_version(self, version: impl Into<Option<InfluxdbVersion>>) -> Self {
        Self { influxdb: version.into(), ..self }
    }

    /// Sets whether CORS preflights, which browsers send without credentials, are passed on. Default: no.
    pub fn preflight(self, preflight: bool) -> Self {
        Self { preflight, ..self }
    }

    /// Sets whether the log and the audit log show the literals of denied statements, which may be
    /// passwords. Default: no.
    pub fn show_literals(self, shows_literals: bool) -> Self {
        Self { shows_literals, ..self }
    }

    /// Sets the largest body of a write, in bytes as they are sent. A larger one is 413. Default:
    /// [`Gateway::DEFAULT_MAX_BYTES`].
    pub fn max_body_bytes(self, max_bytes: u64) -> Self {
        Self { max_bytes, ..self }
    }

    /// Sets the longest time in which a client may send nothing of a write's body, or all of a query's:
    /// 408. Default: 30 seconds.
    pub fn client_timeout(self, client_timeout: Duration) -> Self {
        Self { client_timeout, ..self }
    }

    /// Sets what limits the requests of each credential, from its login to the end of the response: 429 beyond a
    /// limit. Default: nothing is limited.
    pub fn limiter(self, limiter: impl Into<Option<CredentialLimiter>>) -> Self {
        Self { limiter: limiter.into(), ..self }
    }

    /// Returns the service. It connects to the upstream when there is a request. The recorder of the
    /// `metrics` crate must have been installed before.
    ///
    /// A [`ClientAddressLayer`](portcullis_http::ClientAddressLayer) around it finds the client's address.
    ///
    /// # Errors
    ///
    /// [`InvalidUpstream::NoRoots`] and [`InvalidUpstream::Tls`].
    pub fn into_service(self) -> Result<GatewayService, InvalidUpstream> {
        let pool = self.upstream.pool()?;
        let mut credentials = V1CredentialLayer::new(self.engine.clone());
        if let Some(influxdb) = self.influxdb.clone() {
            credentials = credentials.influxdb_version(influxdb);
        }
        let inner = Arc::new(Inner {
            forwarder: Forwarder::new(self.upstream, pool, self.max_bytes, self.client_timeout),
            metrics: Metrics::register(),
            denials: Denials { shows_literals: self.shows_literals },
            engine: self.engine,
            policy: self.policy,
            influxdb: self.influxdb,
            preflight: self.preflight,
            client_timeout: self.client_timeout,
            limiter: self.limiter,
        });
        let authenticated = credentials.layer(Authenticated(Arc::clone(&inner)));
        Ok(GatewayService { inner, authenticated })
    }
}

/// The service of a [`Gateway`]. Each of its responses has an [`Outcome`] in its extensions.
#[derive(Clone)]
pub struct GatewayService {
    inner: Arc<Inner>,
    authenticated: V1CredentialService<Authenticated>,
}

impl GatewayService {
    /// Takes the credentials of this upstream for all further requests, and nothing else of it: for
    /// credentials that are renewed while the gateway serves.
    pub fn renew_credentials(&self, upstream: &Upstream) {
        self.inner.forwarder.renew_credentials(upstream);
    }
}

impl fmt::Debug for GatewayService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayService").finish_non_exhaustive()
    }
}

struct Inner {
    engine: Engine,
    policy: V1Policy,
    forwarder: Forwarder,
    metrics: Metrics,
    denials: Denials,
    influxdb: Option<InfluxdbVersion>,
    preflight: bool,
    client_timeout: Duration,
    limiter: Option<CredentialLimiter>,
}

type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl Service<Request<Body>> for GatewayService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { inner, mut authenticated } = self.clone();
        Box::pin(async move {
            let begun = Instant::now();
            let route = Route::of(request.uri().path());
            let respond = AssertUnwindSafe(inner.respond(route, request, &mut authenticated));
            let mut response = respond.catch_unwind().await.unwrap_or_else(|_| {
                tracing::error!(target: "portcullis::gateway", "a request was not decided: a panic");
                Refusal::Defect.into_response(&HeaderMap::new(), inner.influxdb.as_ref())
            });
            let status = response.status();
            let outcome =
                *response.extensions_mut().get_or_insert_with(|| Outcome::of_status(status));
            inner.metrics.record(route, outcome, begun.elapsed());
            Ok(response)
        })
    }
}

/// The most `SHOW DATABASES` in one query: each repeats all names in the response.
const MAX_SHOW_DATABASES: usize = 100;

/// How a request goes on.
enum Admission {
    /// It needs no credentials.
    Open(Route),
    /// It is authenticated first.
    Login,
}

impl Inner {
    async fn respond(
        &self,
        route: Option<Route>,
        request: Request<Body>,
        authenticated: &mut V1CredentialService<Authenticated>,
    ) -> Response<Body> {
        match self.admit(route, &request) {
            Ok(Admission::Login) => {
                let Ok(response) = authenticated.call(request).await;
                response
            }
            Ok(Admission::Open(route)) => {
                let (parts, _) = request.into_parts();
                let result = self.forward_open(route, &parts).await;
                self.finish(&parts.headers, result)
            }
            Err(refusal) => self.finish(request.headers(), Err(refusal)),
        }
    }

    fn finish(
        &self,
        client: &HeaderMap,
        result: Result<Response<Body>, Refusal>,
    ) -> Response<Body> {
        result.unwrap_or_else(|refusal| refusal.into_response(client, self.influxdb.as_ref()))
    }

    /// Refuses a request by its path, method and headers.
    fn admit(&self, route: Option<Route>, request: &Request<Body>) -> Result<Admission, Refusal> {
        let not_found = || Refusal::Invalid(StatusCode::NOT_FOUND, "path not found".into());
        let route = route.ok_or_else(not_found)?;
        if self.is_preflight(route, request) {
            return Ok(Admission::Open(route));
        }
        if !route.allows(request.method()) {
            return Err(Refusal::Method(route));
        }
        if request.headers().get_all(header::AUTHORIZATION).iter().nth(1).is_some() {
            return Err(Refusal::bad_request("there are several lines of `Authorization`"));
        }
        Ok(if route.is_open() { Admission::Open(route) } else { Admission::Login })
    }

    fn is_preflight(&self, route: Route, request: &Request<Body>) -> bool {
        let has = |name| request.headers().contains_key(name);
        self.preflight
            && route.is_of_browsers()
            && request.method() == Method::OPTIONS
            && has(header::ORIGIN)
            && has(header::ACCESS_CONTROL_REQUEST_METHOD)
            && !has(header::AUTHORIZATION)
            && Parameters::parse(route, request.uri().query().unwrap_or_default())
                .is_ok_and(|parameters| !parameters.has_credentials())
    }

    /// Passes on a request that needs no credentials, without any, and without a body.
    async fn forward_open(&self, route: Route, parts: &Parts) -> Result<Response<Body>, Refusal> {
        let query = parts.uri.query().unwrap_or_default();
        let parameters = Parameters::parse(route, query)?;
        let (headers, source) = (&parts.headers, source(&parts.extensions));
        let (method, body) = (parts.method.clone(), Body::empty());
        let parameters = &parameters;
        let decided = Decided { route, method, parameters, headers, source, body };
        let response = self.forwarder.forward(decided, &self.metrics).await?;
        Ok(with_outcome(response, Outcome::Open))
    }

    /// Decides a request within the limits of its credential. It is in flight until the body of its response has
    /// ended or is dropped.
    async fn decide_limited(
        &self,
        limiter: &CredentialLimiter,
        parts: &Parts,
        body: Body,
    ) -> Result<Response<Body>, Refusal> {
        let principal = parts.extensions.get::<Principal>().ok_or(Refusal::Defect)?;
        let permit = limiter.begin(principal).map_err(Refusal::Limited)?;
        let response = self.decide(parts, body).await?;
        Ok(match permit.is_counted() {
            true => response.map(|body| Body::new(permit.hold_by(body))),
            false => response,
        })
    }

    /// Decides an authenticated request, and passes it on.
    async fn decide(&self, parts: &Parts, body: Body) -> Result<Response<Body>, Refusal> {
        let principal = parts.extensions.get::<Principal>().ok_or(Refusal::Defect)?;
        let route = Route::of(parts.uri.path()).ok_or(Refusal::Defect)?;
        let (headers, source) = (&parts.headers, source(&parts.extensions));
        let of_url = Parameters::parse(route, parts.uri.query().unwrap_or_default())?;
        let (form, body) = match route {
            Route::Query if parts.method == Method::POST => {
                (Form::read(headers, body, self.client_timeout).await?, Body::empty())
            }
            Route::Query => (Form::None, Body::empty()),
            _ => (Form::None, body),
        };
        let parameters = of_url.merge(form.parameters(route)?)?;
        let statements = match self.policy.decide(principal, parameters.request(route)).await {
            Ok(V1Decision::Allowed(statements)) => statements,
            Ok(V1Decision::Denied(denial)) => {
                self.denials.record(&self.engine, route, principal, source, &denial, &parameters);
                return Err(Refusal::Denied(denial.to_string()));
            }
            Ok(V1Decision::Invalid(why)) => return Err(Refusal::bad_request(why)),
            Ok(V1Decision::Unreadable(why)) => return Err(Refusal::bad_request(why.to_string())),
            Ok(_) => return Err(Refusal::Defect),
            Err(error) => return Err(Refusal::Undecided(error)),
        };
        let count = count_of_show_databases(principal, &statements).inspect_err(|refusal| {
            if let Refusal::Denied(why) = refusal {
                let statement = "SHOW DATABASES";
                Denials::record_query(&self.engine, route, principal, source, why, statement);
            }
        })?;
        if let Some(count) = count {
            let names = self.policy.queries().databases(principal).await;
            let names = names.map_err(Refusal::Undecided)?;
            let response = show_databases::response(count, &names, &parameters, headers);
            return Ok(with_outcome(response, Outcome::Answered));
        }
        let method = parts.method.clone();
        let parameters = &parameters;
        let decided = Decided { route, method, parameters, headers, source, body };
        let mut response = self.forwarder.forward(decided, &self.metrics).await?;
        if parts.version == Version::HTTP_10 {
            response = with_length(response).await?;
        }
        Ok(with_outcome(response, Outcome::Forwarded))
    }
}

/// Returns the number of the statements, if all of them are `SHOW DATABASES`, which the gateway answers.
///
/// # Errors
///
/// The upstream would show every database. Beside other statements it is therefore refused, unless the
/// credential may read every bucket.
fn count_of_show_databases(
    principal: &Principal,
    statements: &[AllowedStatement],
) -> Result<Option<usize>, Refusal> {
    let shows = |statement: &AllowedStatement| statement.kind() == StatementKind::ShowDatabases;
    if !statements.iter().any(shows) {
        return Ok(None);
    }
    if statements.iter().all(shows) {
        return match statements.len() {
            count @ ..=MAX_SHOW_DATABASES => Ok(Some(count)),
            _ => Err(Refusal::bad_request("there are more than 100 SHOW DATABASES in one query")),
        };
    }
    let buckets = Resource::all(ResourceType::Buckets).in_org(principal.org());
    if principal.check(Action::Read, &buckets).is_allowed() {
        return Ok(None);
    }
    Err(Refusal::Denied(
        "not authorized to execute SHOW DATABASES beside other statements, which needs read of every \
         database: send it in a query of its own"
            .to_owned(),
    ))
}

/// The service behind the layer of credentials.
#[derive(Clone)]
struct Authenticated(Arc<Inner>);

impl Service<Request<Body>> for Authenticated {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let response = match inner.limiter {
                None => inner.decide(&parts, body).await,
                Some(ref limiter) => inner.decide_limited(limiter, &parts, body).await,
            };
            Ok(inner.finish(&parts.headers, response))
        })
    }
}

fn source(extensions: &http::Extensions) -> Option<IpAddr> {
    extensions.get::<ClientAddress>().map(|client| client.0)
}

fn with_outcome(mut response: Response<Body>, outcome: Outcome) -> Response<Body> {
    response.extensions_mut().insert(outcome);
    response
}
