//! What is logged: the trace context, the path, reasons; never a secret, never a forged line.

use axum::Router;
use axum::body::Body;
use axum::routing::any;
use http::Request;
use portcullis_http::V1CredentialLayer;

use crate::support::{PREFIX, Server, logged, send};

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
    // It logs all it sees.
    let show = async |request: axum::extract::Request| tracing::info!(?request, "written");
    let layer = V1CredentialLayer::new(server.engine.clone());
    let host = Router::new().route("/write", any(show)).route("/ping", any(show)).layer(layer);
    let basic = "Basic dGVsZWdyYWY6czNjcmV0LWJhc2lj";
    let log = logged(async {
        let body = r#"{"password":"s3cret-body"}"#;
        server.call("POST", &format!("{PREFIX}/{id}/password?p=s3cret-query"), body).await;
        server
            .call("POST", &format!("{PREFIX}/{id}/password"), "{\"password\":\"s3cret-broken")
            .await;
        server.call("POST", PREFIX, "{\"password\":[\"s3cret-wrong-type\"]}").await;
        server.call_as("s3cret-token", "GET", PREFIX, "").await;
        let operator = format!("Token {}", server.operator);
        for (query, authorization) in [
            ("u=telegraf&p=s3cret-body&%70=s3cret", None),
            ("u=telegraf&p=s3cret-body&p=s3;cret", Some(basic)),
            ("u=telegraf&p=s3cret-wrong", None),
            ("u=telegraf&p=s3cret%zz", None),
            ("", Some(basic)),
            ("", Some("Basic s3cret")),
            ("p=s3cret", Some(operator.as_str())),
            ("p=s3cret", Some("Token s3cret:s3cret")),
        ] {
            let with = |request: http::request::Builder| {
                let authorization = authorization.map(|value| ("Authorization", value));
                let headers = authorization.into_iter();
                let request =
                    headers.fold(request, |request, (name, value)| request.header(name, value));
                request.body(Body::empty()).unwrap()
            };
            for path in ["/write", "/ping"] {
                send(&host, with(Request::get(format!("{path}?{query}")))).await;
            }
            for own in ["", "?check=none", "?permission=s3cret"] {
                let request = Request::get(format!("/forward-auth{own}"));
                let request = request.header("X-Original-URI", format!("/write?db=x&{query}"));
                server.send(with(request)).await;
            }
        }
    })
    .await;
    for part in ["wrong password", "written", "u=telegraf&p=redacted", "there is no bucket"] {
        assert!(log.contains(part), "{part} in {log}");
    }
    for secret in
        ["s3cret-", "s3cret&", "s3;cret", "s3cret%", "czNjcmV0", "$argon2id$", &server.operator]
    {
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
