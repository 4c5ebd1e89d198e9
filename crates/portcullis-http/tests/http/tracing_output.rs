//! What is logged: the trace context, the path, reasons; never a secret, never a forged line.

use axum::Router;
use axum::body::Body;
use axum::routing::any;
use base64::Engine as _;
use http::Request;
use portcullis_http::V1CredentialLayer;

use crate::support::{PREFIX, Server, logged, send};

/// [HTTP-19]
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
                // An address of its own: the lines of each are bounded.
                let peer = std::net::SocketAddr::from(([192, 0, 2, 74], 5000));
                let request = request.extension(axum::extract::ConnectInfo(peer));
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
    assert!(log.contains("login refused"), "{log}");
    assert!(!log.contains("\nINFO forged"), "{log}");
    assert!(!log.contains('\u{1b}'), "{log}");
}

/// Whatever a client says, in every place that is logged: no character that a terminal or a reader
/// of lines would obey.
#[tokio::test]
async fn no_control_character_of_a_client_reaches_the_log() {
    let server = Server::new().await;
    server.credential("telegraf").await;
    let host = Router::new()
        .route("/write", any(async || "written"))
        .layer(V1CredentialLayer::new(server.engine.clone()));
    let controls: Vec<char> = (0..0x20)
        .chain(0x7f..0xa0)
        .filter_map(char::from_u32)
        .chain("\u{2028}\u{202e}".chars())
        .collect();
    let log = logged(async {
        for control in &controls {
            let text = format!("mark{control}end");
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let basic = base64::prelude::BASE64_STANDARD.encode(format!("{text}:wrong"));
            let authorizations = [None, Some(format!("Basic {basic}"))];
            for authorization in authorizations {
                let with = |request: http::request::Builder| {
                    let request =
                        authorization.iter().fold(request, |r, a| r.header("Authorization", a));
                    request
                        .header("Zap-Trace-Span", "{\"trace_id\":\"a\\nb\"}")
                        .body(Body::empty())
                        .unwrap()
                };
                let uri = format!("/write?u={encoded}&p=wrong");
                send(&host, with(Request::get(&uri))).await;
                let request = Request::get("/forward-auth").header("X-Original-URI", &uri);
                server.send(with(request)).await;
                let bucket = format!("/write?u=telegraf&p=telegraf-password&db={encoded}");
                let request = Request::get("/forward-auth").header("X-Original-URI", bucket);
                server.send(with(request)).await;
                let permission = format!("/forward-auth?permission={encoded}");
                let uri = "/write?u=telegraf&p=telegraf-password";
                server.send(with(Request::get(permission).header("X-Original-URI", uri))).await;
            }
            server.get(&format!("{PREFIX}/{encoded}")).await;
            server.get(&format!("{PREFIX}?org={encoded}&token={encoded}")).await;
            let mut draft = server.draft(&text);
            draft["description"] = text.clone().into();
            server.call("POST", PREFIX, &draft.to_string()).await;
        }
    })
    .await;
    assert!(log.matches("mark").count() > controls.len(), "{log}");
    let obeyed = log.lines().find(|line| line.chars().any(|c| controls.contains(&c)));
    assert_eq!(obeyed, None);
    assert!(log.lines().all(|line| !line.starts_with("end")));
}
