//! A tower layer that admits only requests with valid v1 credentials.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::Either;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use portcullis::{Engine, Error, Principal};
use tower_layer::Layer;
use tower_service::Service;

use crate::client_address::source;
use crate::extract::query::u_and_p;
use crate::log::refusals::log_refusal;
use crate::v1::credentials::{DecodeBuffer, RawCredentials};
use crate::v1::influxdb_version::InfluxdbVersion;
use crate::v1::redact::{mark_sensitive, remove_passwords};
use crate::v1::rejection::{V1Rejection, without_unreadable_retry_after};

/// Protects a server's own v1 routes, such as `/write` and `/query`.
///
/// A request with valid v1 credentials is passed on, with its [`Principal`] in the extensions, from
/// where [`Authenticated`](crate::Authenticated) extracts it; the route checks what it may do. Every
/// other request is refused with the error envelope, in which v1 clients find the reason as `error`:
/// with 401 or 403 for a refusal, with 429 or 503 and `Retry-After` for a temporary failure. The path
/// `/ping` needs no credentials (`docs/spec/login.md`).
///
/// The inner service receives no credentials, so that it cannot log them: `Authorization` is removed
/// from the request, and in the query the value of `p` is replaced, as
/// [`redact_uri`](crate::redact_uri) does. Layers around this one still receive them. A host that
/// needs them, for instance to pass them on, uses [`V1CredentialLayer::keep_credentials`].
///
/// With a [`ClientAddressLayer`](crate::ClientAddressLayer) around it, the engine and the log of
/// refused logins have the client's address.
///
/// A [`CredentialLimitLayer`](crate::CredentialLimitLayer) inside it limits the requests of each credential.
///
/// [`Router::layer`](axum::Router::layer) puts the layer around each route. If all routes are
/// protected, it can be put around the whole router instead, which costs less: a request is
/// authenticated before it is routed. A `ClientAddressLayer` must then be around this one, and in a
/// nested router only the whole path `/ping` is exempt.
///
/// ```no_run
/// use axum::extract::Request;
/// use axum::routing::{Router, post};
/// use axum::{ServiceExt, http::StatusCode};
/// use portcullis::{Engine, store::MemoryStore};
/// use portcullis_http::V1CredentialLayer;
/// use tower_layer::Layer;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Engine::builder(MemoryStore::new()?).build().await?;
/// let router = Router::new().route("/write", post(async || StatusCode::NO_CONTENT));
/// let app = V1CredentialLayer::new(engine).layer(router);
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8086").await?;
/// axum::serve(listener, ServiceExt::<Request>::into_make_service(app)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct V1CredentialLayer {
    engine: Engine,
    keep_credentials: bool,
    influxdb: Option<InfluxdbVersion>,
    preflight: bool,
}

impl V1CredentialLayer {
    /// Authenticates requests with the engine.
    pub const fn new(engine: Engine) -> Self {
        Self { engine, keep_credentials: false, influxdb: None, preflight: false }
    }

    /// Sets whether the credentials stay in the request. `Authorization` is then marked as sensitive,
    /// so that `Debug` of the headers does not print it; the URI is unchanged. Default: no, they are
    /// removed.
    #[must_use]
    pub fn keep_credentials(self, keep_credentials: bool) -> Self {
        Self { keep_credentials, ..self }
    }

    /// Sets whether CORS preflights are passed on without credentials, which browsers never send with
    /// one: an `OPTIONS` with `Origin` and `Access-Control-Request-Method`. Default: no.
    #[must_use]
    pub fn preflight(self, preflight: bool) -> Self {
        Self { preflight, ..self }
    }

    /// Adds the version of the database to the responses of `/ping` and to refusals. Default: none,
    /// and clients show `unknown`.
    #[must_use]
    pub fn influxdb_version(self, version: impl Into<Option<InfluxdbVersion>>) -> Self {
        Self { influxdb: version.into(), ..self }
    }
}

impl<S> Layer<S> for V1CredentialLayer {
    type Service = V1CredentialService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        V1CredentialService { inner, layer: self.clone() }
    }
}

/// The service of [`V1CredentialLayer`].
#[derive(Clone, Debug)]
pub struct V1CredentialService<S> {
    inner: S,
    layer: V1CredentialLayer,
}

impl<S, B, R> Service<Request<B>> for V1CredentialService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: From<Bytes>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future =
        Either<S::Future, Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let authorization = self.layer.take_authorization(request.headers_mut());
        let is_ping = request.uri().path() == "/ping";
        if let (true, Some(influxdb)) = (is_ping, self.layer.influxdb.clone()) {
            self.layer.hide_credentials(&mut request);
            let response = self.inner.call(request);
            return Either::Right(Box::pin(async move {
                let mut response = response.await?;
                influxdb.apply_to(response.headers_mut());
                Ok(response)
            }));
        }
        // Most requests are cache hits: they are passed on without a boxed future.
        if is_ping
            || self.layer.admits_preflight(&request, authorization.as_ref())
            || self.layer.admit_cached(&mut request, authorization.as_ref())
        {
            self.layer.hide_credentials(&mut request);
            return Either::Left(self.inner.call(request));
        }
        // The service that `poll_ready` has made ready is called; its clone is for the next request.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let layer = self.layer.clone();
        let (mut parts, body) = request.into_parts();
        Either::Right(Box::pin(async move {
            let admitted = admit(&layer.engine, &parts, authorization.as_ref()).await;
            // The inner service may take long, and the secret must not stay in memory meanwhile.
            drop(authorization);
            match admitted {
                Ok(principal) => drop(parts.extensions.insert(principal)),
                Err(rejection) => {
                    let response = rejection.influxdb_version(layer.influxdb.clone()).to_response();
                    return Ok(without_unreadable_retry_after(&parts.headers, response));
                }
            }
            let mut request = Request::from_parts(parts, body);
            layer.hide_credentials(&mut request);
            inner.call(request).await
        }))
    }
}

impl V1CredentialLayer {
    fn admits_preflight<B>(
        &self,
        request: &Request<B>,
        authorization: Option<&HeaderValue>,
    ) -> bool {
        let has = |name| request.headers().contains_key(name);
        self.preflight
            && request.method() == Method::OPTIONS
            && has(header::ORIGIN)
            && has(header::ACCESS_CONTROL_REQUEST_METHOD)
            && authorization.is_none()
            && u_and_p(request.uri().query().unwrap_or_default()).iter().all(Option::is_none)
    }

    /// Returns the first `Authorization`, and removes it from the headers unless credentials are kept.
    fn take_authorization(&self, headers: &mut HeaderMap) -> Option<HeaderValue> {
        if self.keep_credentials {
            mark_sensitive(headers);
            return headers.get(header::AUTHORIZATION).cloned();
        }
        headers.remove(header::AUTHORIZATION)
    }

    /// Adds the principal to the request and returns true, if the login is a cache hit.
    fn admit_cached<B>(
        &self,
        request: &mut Request<B>,
        authorization: Option<&HeaderValue>,
    ) -> bool {
        let mut buffer = DecodeBuffer::default();
        let found = RawCredentials::find(request.uri(), authorization, &mut buffer);
        let source = source(request.extensions());
        let principal = found.and_then(|found| {
            self.engine.authenticate_cached(found.as_credentials().source(source))
        });
        let is_hit = principal.is_some();
        if let Some(principal) = principal {
            request.extensions_mut().insert(principal);
        }
        is_hit
    }

    /// Removes the passwords from the URI, unless credentials are kept.
    fn hide_credentials<B>(&self, request: &mut Request<B>) {
        if !self.keep_credentials {
            remove_passwords(request);
        }
    }
}

async fn admit(
    engine: &Engine,
    parts: &Parts,
    authorization: Option<&HeaderValue>,
) -> Result<Principal, V1Rejection> {
    let mut buffer = DecodeBuffer::default();
    let found = RawCredentials::find(&parts.uri, authorization, &mut buffer);
    let credentials = found.ok_or_else(V1Rejection::unauthorized_access)?;
    authenticate(engine, credentials, source(&parts.extensions)).await.map_err(V1Rejection::from)
}

/// Authenticates a v1 client, and logs a refusal.
pub(crate) async fn authenticate(
    engine: &Engine,
    credentials: RawCredentials<'_>,
    source: Option<IpAddr>,
) -> Result<Principal, Error> {
    let result = engine.authenticate(credentials.as_credentials().source(source)).await;
    if let Err(error) = &result
        && let Some(refusal) = error.refusal()
    {
        log_refusal(source, credentials.scheme.as_str(), refusal, credentials.username);
    }
    result
}
