//! What is logged: the trace context, the path, reasons; never a secret, never a forged line.

use std::io;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::routing::any;
use http::Request;
use portcullis_http::V1CredentialLayer;
use tracing::instrument::WithSubscriber;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{PREFIX, Server, send};

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

/// Runs with everything logged, and returns the log.
async fn logged(run: impl Future<Output = ()>) -> String {
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

#[tokio::test]
async fn the_trace_context_is_picked_up() {
    let server = Server::new().await;
    let log = logged(async {
        let request = Request::get(PREFIX)
            .header("Zap-Trace-Span", "{\"trace_id\":\"zap-1\"}")
            .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        server.send(request.body(Body::empty()).unwrap()).await;
    })
    .await;
    for part in ["zap-1", "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", PREFIX] {
        assert!(log.contains(part), "{part} in {log}");
    }
}

#[tokio::test]
async fn no_secret_and_no_query_reaches_the_log() {
    let server = Server::new().await;
    let id = server.authorization("telegraf").await.id;
    let host = Router::new()
        .route("/write", any(async || "written"))
        .layer(V1CredentialLayer::new(server.engine.clone()));
    let log = logged(async {
        let body = r#"{"password":"s3cret-body"}"#;
        server.call("POST", &format!("{PREFIX}/{id}/password?p=s3cret-query"), body).await;
        server
            .call("POST", &format!("{PREFIX}/{id}/password"), "{\"password\":\"s3cret-broken")
            .await;
        server.call("POST", PREFIX, "{\"password\":[\"s3cret-wrong-type\"]}").await;
        server.call_as("s3cret-token", "GET", PREFIX, "").await;
        for uri in ["/write?u=telegraf&p=s3cret-body", "/write?u=telegraf&p=s3cret-wrong"] {
            send(&host, Request::get(uri).body(Body::empty()).unwrap()).await;
        }
        let basic =
            Request::get("/write").header("Authorization", "Basic dGVsZWdyYWY6czNjcmV0LWJhc2lj");
        send(&host, basic.body(Body::empty()).unwrap()).await;
    })
    .await;
    assert!(log.contains("wrong password"), "{log}");
    for secret in ["s3cret", "czNjcmV0", "$argon2id$", &server.operator] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[tokio::test]
async fn a_client_cannot_forge_a_line() {
    let server = Server::new().await;
    let host = Router::new()
        .route("/write", any(async || "written"))
        .layer(V1CredentialLayer::new(server.engine.clone()));
    let log = logged(async {
        let uri = "/write?u=x%0aINFO%20forged%1b%5b31m&p=wrong-password";
        send(&host, Request::get(uri).body(Body::empty()).unwrap()).await;
    })
    .await;
    assert!(log.contains("log-in refused"), "{log}");
    assert!(!log.contains("\nINFO forged"), "{log}");
    assert!(!log.contains('\u{1b}'), "{log}");
}
