//! A server in process and a client for it.

use std::io;
use std::ops::Deref;
use std::sync::{Arc, Mutex, Once};

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use portcullis::Permission;
use portcullis_http::ServerApi;
pub(crate) use portcullis_testkit::world::{World, name};
use serde_json::Value;
use tower::ServiceExt;
use tracing::instrument::WithSubscriber;
use tracing_subscriber::fmt::MakeWriter;

use crate::document::Exchange;

pub(crate) const PREFIX: &str = "/private/legacy/authorizations";

/// A server with an org, a user, a bucket and an operator token.
pub(crate) struct Server {
    pub(crate) app: Router,
    pub(crate) operator: String,
    world: World,
}

impl Deref for Server {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {:?}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Asserts that this is an error in the envelope.
    #[track_caller]
    pub(crate) fn assert_error(&self, status: u16, code: &str, message: &str) {
        let json = self.json();
        assert_eq!(
            (self.status.as_u16(), json["code"].as_str(), json["message"].as_str()),
            (status, Some(code), Some(message))
        );
        assert_eq!(self.header("x-platform-error-code"), Some(code));
        assert_eq!(self.header("content-type"), Some("application/json; charset=utf-8"));
    }
}

impl Server {
    pub(crate) async fn new() -> Self {
        let world = World::new().await;
        let app = ServerApi::new(world.engine.clone()).into_router();
        let operator = world.operator_token().await.1.expose().to_owned();
        Self { app, operator, world }
    }

    /// Creates an API token and returns its secret.
    pub(crate) async fn token(&self, permissions: Vec<Permission>) -> String {
        let new = self.new_token(permissions);
        self.engine.create_api_token(new).await.unwrap().1.expose().to_owned()
    }

    /// Sends the request. The response must be one that the OpenAPI document lists.
    pub(crate) async fn send(&self, request: Request<Body>) -> Response {
        send_documented(&self.app, request).await
    }

    /// Sends a request as the operator.
    pub(crate) async fn call(&self, method: &str, uri: &str, body: &str) -> Response {
        self.call_as(&self.operator, method, uri, body).await
    }

    pub(crate) async fn call_as(
        &self,
        token: &str,
        method: &str,
        uri: &str,
        body: &str,
    ) -> Response {
        let request = Request::builder().method(method).uri(uri);
        let request = request.header("Authorization", format!("Token {token}"));
        self.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    pub(crate) async fn get(&self, uri: &str) -> Response {
        self.call("GET", uri, "").await
    }

    /// The body of a creation.
    pub(crate) fn draft(&self, username: &str) -> Value {
        serde_json::json!({
            "token": username,
            "orgID": self.org.id.to_string(),
            "permissions": [{"action": "read", "resource": {
                "type": "buckets", "id": self.bucket.id.to_string(), "orgID": self.org.id.to_string(),
            }}],
        })
    }
}

/// Sends what a proxy sends to request a decision.
pub(crate) async fn forward_auth(app: &Router, query: &str, headers: &[(&str, &str)]) -> Response {
    let request = Request::get(format!("/forward-auth{query}"));
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    send_documented(app, request.body(Body::empty()).unwrap()).await
}

async fn send_documented(app: &Router, request: Request<Body>) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let response = send(app, request).await;
    let exchange = Exchange {
        method: method.as_str(),
        path: uri.path(),
        status: response.status.as_u16(),
        headers: &response.headers,
        body: &response.text,
    };
    if let Err(error) = exchange.check() {
        panic!("{error}");
    }
    response
}

pub(crate) async fn send(app: &Router, request: Request<Body>) -> Response {
    let (parts, body) = app.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    Response { status: parts.status, headers: parts.headers, text }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Sets a global subscriber that wants everything and keeps nothing. Without one, a call site that another
/// test reaches at the same moment could be registered as one that no subscriber wants.
fn enable_call_sites() {
    static ENABLED: Once = Once::new();
    ENABLED.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(io::sink)
            .init();
    });
}

/// Runs with everything logged, and returns the log.
pub(crate) async fn logged(run: impl Future<Output = ()>) -> String {
    enable_call_sites();
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
        .with_writer(log.clone())
        .finish();
    run.with_subscriber(subscriber).await;
    let log = log.0.lock().unwrap().clone();
    String::from_utf8(log).unwrap()
}
