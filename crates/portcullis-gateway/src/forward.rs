//! Passing a decided request on to the upstream, and its response back.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::time::{Instant, sleep_until};

use crate::body::{ClientBody, Upload, UploadError, UpstreamBody};
use crate::log_limit::LogLimit;
use crate::outcome::{Metrics, Outcome};
use crate::parameters::Parameters;
use crate::pool::{Pool, PooledBody};
use crate::refusal::Refusal;
use crate::route::Route;
use crate::upstream::Upstream;

/// The headers of a request that are passed on. No others are: not the credentials, cookies, what names
/// another method or client, what concerns the connection.
const PASSED_ON: [HeaderName; 13] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::ACCESS_CONTROL_REQUEST_HEADERS,
    header::ACCESS_CONTROL_REQUEST_METHOD,
    header::CONTENT_ENCODING,
    header::ORIGIN,
    header::USER_AGENT,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-prometheus-remote-read-version"),
    HeaderName::from_static("x-prometheus-remote-write-version"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("zap-trace-span"),
];

/// The headers of a response that concern one connection, or the gateway's login.
const DROPPED: [HeaderName; 10] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::PROXY_AUTHENTICATE,
    header::SET_COOKIE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("keep-alive"),
];

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// The longest response that is collected for a client of HTTP/1.0, in bytes.
const MAX_COLLECTED: usize = 1024 * 1024;

/// A request that may be passed on.
pub(crate) struct Decided<'a> {
    pub(crate) route: Route,
    pub(crate) method: Method,
    pub(crate) parameters: &'a Parameters<'a>,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) source: Option<IpAddr>,
    pub(crate) body: Body,
}

/// Why there is no response of the upstream.
enum Failure {
    Away(String),
    Client(UploadError),
    Refused(StatusCode),
    Timeout(Duration),
    TooLong,
}

/// Passes requests on.
pub(crate) struct Forwarder {
    upstream: Upstream,
    /// The gateway's own credentials, which can be renewed.
    authorization: RwLock<Option<HeaderValue>>,
    pool: Arc<Pool>,
    host: HeaderValue,
    max_bytes: u64,
    client_timeout: Duration,
    log_limit: LogLimit,
}

impl Forwarder {
    pub(crate) fn new(
        upstream: Upstream,
        pool: Arc<Pool>,
        max_bytes: u64,
        client_timeout: Duration,
    ) -> Self {
        let (host, log_limit) = (upstream.host(), LogLimit::default());
        let authorization = RwLock::new(upstream.authorization.clone());
        Self { upstream, authorization, pool, host, max_bytes, client_timeout, log_limit }
    }

    pub(crate) fn renew_credentials(&self, upstream: &Upstream) {
        let mut current = self.authorization.write().unwrap_or_else(PoisonError::into_inner);
        current.clone_from(&upstream.authorization);
    }

    fn authorization(&self) -> Option<HeaderValue> {
        self.authorization.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Passes the request on, and returns the upstream's response.
    ///
    /// # Errors
    ///
    /// The response where there is none of the upstream.
    pub(crate) async fn forward(
        &self,
        decided: Decided<'_>,
        metrics: &Metrics,
    ) -> Result<Response<Body>, Refusal> {
        let broken = metrics.broken(decided.route);
        let timeout = self.upstream.timeout;
        match self.send(decided).await {
            Ok(response) => {
                let (mut parts, body) = response.into_parts();
                drop_headers(&mut parts.headers);
                let body = match body.is_end_stream() {
                    true => Body::empty(),
                    false => Body::new(UpstreamBody::new(body, timeout, broken)),
                };
                parts.extensions.clear();
                parts.version = http::Version::HTTP_11;
                Ok(Response::from_parts(parts, body))
            }
            Err(failure) => Err(self.refusal(failure)),
        }
    }

    async fn send(&self, decided: Decided<'_>) -> Result<Response<PooledBody>, Failure> {
        let (request, upload) = self.request(decided)?;
        let mut response = pin!(self.pool.send(request));
        let begun = Instant::now();
        let received = loop {
            let progress = upload.as_ref().map_or(begun, |upload| upload.last_progress());
            let until = progress + self.upstream.timeout;
            tokio::select! {
                biased;
                received = response.as_mut() => break received,
                () = sleep_until(until) => {}
            }
            let progress = upload.as_ref().map_or(begun, |upload| upload.last_progress());
            if progress + self.upstream.timeout <= Instant::now() {
                return Err(Failure::Timeout(self.upstream.timeout));
            }
        };
        let response =
            received.map_err(|error| match upload.and_then(|upload| upload.error()) {
                Some(error) => Failure::Client(error),
                None => Failure::Away(error),
            })?;
        check(&response)?;
        Ok(response)
    }

    /// Makes the request to the upstream, of nothing but what was decided.
    fn request(
        &self,
        decided: Decided<'_>,
    ) -> Result<(Request<Body>, Option<Arc<Upload>>), Failure> {
        let Decided { route, method, parameters, headers, source, body } = decided;
        let is_form = route == Route::Query && method == Method::POST;
        let mut path = String::with_capacity(128);
        path.push_str(route.path());
        let mut upload = None;
        let body = if is_form {
            let mut form = String::new();
            parameters.encode_into(&mut form);
            Body::from(form)
        } else {
            path.push('?');
            parameters.encode_into(&mut path);
            if let (Route::WriteV2, Some(org)) = (route, &self.upstream.org) {
                let separator = if path.ends_with('?') { "" } else { "&" };
                path.push_str(separator);
                path.push_str("org=");
                path.extend(form_urlencoded::byte_serialize(org.as_bytes()));
            }
            if path.ends_with('?') {
                path.pop();
            }
            if method != Method::POST || body.is_end_stream() {
                Body::empty()
            } else {
                if body.size_hint().exact().is_some_and(|bytes| bytes > self.max_bytes) {
                    return Err(Failure::Client(UploadError::TooLarge));
                }
                let progress = upload.insert(Upload::begin());
                let (max, idle) = (self.max_bytes, self.client_timeout);
                Body::new(ClientBody::new(body, max, idle, Arc::clone(progress)))
            }
        };
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = self.upstream.uri(path).ok_or(Failure::TooLong)?;
        let passed = request.headers_mut();
        passed.reserve(8);
        passed.insert(header::HOST, self.host.clone());
        for name in PASSED_ON {
            for value in headers.get_all(&name) {
                passed.append(name.clone(), value.clone());
            }
        }
        if is_form {
            passed.insert(header::CONTENT_TYPE, FORM);
            passed.remove(header::CONTENT_ENCODING);
        } else if let Some(content_type) = route.content_type() {
            passed.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        if let Some(authorization) = self.authorization() {
            passed.insert(header::AUTHORIZATION, authorization);
        }
        if let Some(address) = source.and_then(|source| source.to_string().try_into().ok()) {
            passed.insert(X_FORWARDED_FOR, address);
        }
        Ok((request, upload))
    }

    /// Logs a failure of the upstream, and returns what the client receives.
    fn refusal(&self, failure: Failure) -> Refusal {
        match failure {
            Failure::Away(why) => {
                self.log(&format!("does not respond: {why}"));
                Refusal::Upstream(Outcome::UpstreamAway)
            }
            Failure::Refused(status) => {
                self.log(&format!(
                    "responds with {status}, which is not passed on: are the gateway's credentials \
                     there right, and may they do everything?"
                ));
                Refusal::Upstream(Outcome::UpstreamRefused)
            }
            Failure::Timeout(after) => {
                self.log(&format!("has sent nothing for {} seconds", after.as_secs()));
                Refusal::Upstream(Outcome::UpstreamTimeout)
            }
            Failure::Client(UploadError::TooLarge) => {
                let why = format!("the request body is larger than {} bytes", self.max_bytes);
                Refusal::Invalid(StatusCode::PAYLOAD_TOO_LARGE, why.into())
            }
            Failure::Client(UploadError::TooSlow) => {
                let seconds = self.client_timeout.as_secs();
                let why = format!("nothing of the request body has arrived for {seconds} seconds");
                Refusal::Invalid(StatusCode::REQUEST_TIMEOUT, why.into())
            }
            Failure::Client(UploadError::Gone) => {
                Refusal::bad_request("the body ended before it was complete")
            }
            Failure::TooLong => {
                let why = "the parameters are too long for a URL: send them in a form";
                Refusal::Invalid(StatusCode::URI_TOO_LONG, why.into())
            }
        }
    }

    fn log(&self, what: &str) {
        if let Some(suppressed) = self.log_limit.take() {
            let upstream = self.upstream.url();
            let suppressed = (suppressed > 0).then_some(suppressed);
            tracing::warn!(target: "portcullis::gateway", suppressed, "{upstream} {what}");
        }
    }
}

/// Refuses what must not reach the client.
fn check(response: &Response<PooledBody>) -> Result<(), Failure> {
    let status = response.status();
    // Not the client's fault, and redirects lead past the gateway.
    if status.is_redirection()
        || [
            StatusCode::UNAUTHORIZED,
            StatusCode::FORBIDDEN,
            StatusCode::PROXY_AUTHENTICATION_REQUIRED,
        ]
        .contains(&status)
    {
        return Err(Failure::Refused(status));
    }
    // Without any length, half a response looks like a whole one.
    let has = |name| response.headers().contains_key(name);
    let ends_with_connection = !response.body().is_end_stream()
        && !has(header::CONTENT_LENGTH)
        && !has(header::TRANSFER_ENCODING);
    if ends_with_connection {
        return Err(Failure::Away("it sends a response without a length".to_owned()));
    }
    Ok(())
}

/// Removes what concerns the connection to the upstream. The length is that of the body, which hyper sets.
fn drop_headers(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let listed: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .collect();
        for name in listed {
            headers.remove(name);
        }
    }
    for name in DROPPED {
        headers.remove(name);
    }
}

/// Gives the response a length, if it is short, for a client of HTTP/1.0: without one, such a client takes
/// half a response for a whole one.
///
/// # Errors
///
/// The response where the upstream breaks off.
pub(crate) async fn with_length(response: Response<Body>) -> Result<Response<Body>, Refusal> {
    if response.body().size_hint().exact().is_some() {
        return Ok(response);
    }
    let (parts, mut body) = response.into_parts();
    let mut collected = Vec::new();
    while let Some(frame) = body.frame().await {
        let data = frame.ok().and_then(|frame| frame.into_data().ok());
        let data = data.ok_or(Refusal::Upstream(Outcome::UpstreamAway))?;
        collected.extend_from_slice(&data);
        if collected.len() > MAX_COLLECTED {
            let begin = futures_util::stream::iter([Ok(bytes::Bytes::from(collected))]);
            let rest = body.into_data_stream();
            let body = Body::from_stream(futures_util::StreamExt::chain(begin, rest));
            return Ok(Response::from_parts(parts, body));
        }
    }
    Ok(Response::from_parts(parts, Body::from(collected)))
}

/// Returns the error with its causes.
pub(crate) fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
