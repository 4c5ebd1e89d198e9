//! A tower layer that lets only v1 clients with valid credentials through.

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
/// A request with valid v1 credentials goes through, with its
/// [`Principal`] in the request's extensions ([`Authenticated`](crate::Authenticated) takes it
/// from there); what it may do is for the route to ask. Every other request is answered with the
/// error envelope, in which v1 clients find the reason as `error`: 401 and 403 for what is refused,
/// 429 and 503 with `Retry-After` for what may pass. The path `/ping` goes through without credentials (`docs/spec/login.md`).
///
/// What lies behind the layer sees no credentials, so that it cannot log them: `Authorization` is
/// taken out of the request, and in the query the value of `p` is replaced, as
/// [`redact_uri`](crate::redact_uri) does. Layers around this one still see them. A host that needs
/// them, to pass them on for instance, says so with [`V1CredentialLayer::keep_credentials`].
///
/// With a [`ClientAddressLayer`](crate::ClientAddressLayer) around it, the engine and the log of
/// refused logins are told where the client is.
///
/// [`Router::layer`](axum::Router::layer) puts it around each route. Where all of them are protected
/// it can be put around the whole router instead, which costs a request less: it is routed only when it
/// is known whose it is. A `ClientAddressLayer` belongs around this one then, and of a nested router's
/// `/ping` the whole path is looked at.
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
    /// Lets in whom the engine lets in.
    pub const fn new(engine: Engine) -> Self {
        Self { engine, keep_credentials: false, influxdb: None, preflight: false }
    }

    /// Leaves the credentials in the request. `Authorization` is marked as sensitive, so that
    /// printing the headers does not print it; the URI is as it came.
    #[must_use]
    pub fn keep_credentials(self) -> Self {
        Self { keep_credentials: true, ..self }
    }

    /// Lets CORS preflights through without credentials, which browsers never send with one: an
    /// `OPTIONS` with `Origin` and `Access-Control-Request-Method`. Default: no.
    #[must_use]
    pub fn allow_preflight(self) -> Self {
        Self { preflight: true, ..self }
    }

    /// Tells v1 clients a version of the database, on `/ping` and on every answer of the layer's
    /// own. Default: none, and clients show `unknown`.
    #[must_use]
    pub fn influxdb_version(self, version: InfluxdbVersion) -> Self {
        Self { influxdb: Some(version), ..self }
    }
}

impl<S> Layer<S> for V1CredentialLayer {
    type Service = V1CredentialService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        V1CredentialService { inner, layer: self.clone() }
    }
}

/// The service that [`V1CredentialLayer`] makes.
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
            let answer = self.inner.call(request);
            return Either::Right(Box::pin(async move {
                let mut answer = answer.await?;
                influxdb.apply_to(answer.headers_mut());
                Ok(answer)
            }));
        }
        // A cache hit, which most requests are, goes on at once.
        if is_ping
            || self.layer.admits_preflight(&request, authorization.as_ref())
            || self.layer.admit_cached(&mut request, authorization.as_ref())
        {
            self.layer.hide_credentials(&mut request);
            return Either::Left(self.inner.call(request));
        }
        // The one that is ready is called, its clone waits for the next request.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let layer = self.layer.clone();
        let (mut parts, body) = request.into_parts();
        Either::Right(Box::pin(async move {
            let admitted = admit(&layer.engine, &parts, authorization.as_ref()).await;
            // What lies behind may take its time.
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

    /// Returns the first `Authorization`. What lies behind sees it only if it is to be kept.
    fn take_authorization(&self, headers: &mut HeaderMap) -> Option<HeaderValue> {
        if self.keep_credentials {
            mark_sensitive(headers);
            return headers.get(header::AUTHORIZATION).cloned();
        }
        headers.remove(header::AUTHORIZATION)
    }

    /// Adds who it is to the request, if that is known.
    fn admit_cached<B>(
        &self,
        request: &mut Request<B>,
        authorization: Option<&HeaderValue>,
    ) -> bool {
        let mut decoded = DecodeBuffer::default();
        let found = RawCredentials::find(request.uri(), authorization, &mut decoded);
        let source = source(request.extensions());
        let known = found.and_then(|found| {
            self.engine.authenticate_cached(found.as_credentials().source(source))
        });
        let is_known = known.is_some();
        if let Some(principal) = known {
            request.extensions_mut().insert(principal);
        }
        is_known
    }

    /// Keeps the passwords in the URI from what lies behind.
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
    let mut decoded = DecodeBuffer::default();
    let found = RawCredentials::find(&parts.uri, authorization, &mut decoded);
    let credentials = found.ok_or_else(V1Rejection::unauthorized_access)?;
    authenticate(engine, credentials, source(&parts.extensions)).await.map_err(V1Rejection::from)
}

/// Lets a client in, or logs why not.
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
