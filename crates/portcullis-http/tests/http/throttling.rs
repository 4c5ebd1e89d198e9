//! Responses to clients that have failed too often.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::routing::any;
use http::Request;
use portcullis_http::{ClientAddressLayer, V1CredentialLayer};

use crate::support::{PREFIX, Response, Server, send};

const STRANGER: &str = "192.0.2.66";
const OWNER: &str = "198.51.100.7";

/// A host with a route behind the layer, and `telegraf` with a password.
async fn host() -> (Server, Router) {
    let server = Server::new().await;
    server.credential("telegraf").await;
    let host = Router::new()
        .route("/write", any(async || "written"))
        .layer(V1CredentialLayer::new(server.engine.clone()))
        .layer(ClientAddressLayer::new([]));
    (server, host)
}

fn from(peer: &str, uri: &str) -> http::request::Builder {
    let peer = ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 5000));
    Request::get(uri).extension(peer)
}

async fn writes(host: &Router, peer: &str, username: &str, password: &str) -> Response {
    let request = from(peer, &format!("/write?u={username}&p={password}"));
    send(host, request.body(Body::empty()).unwrap()).await
}

/// Tries other passwords until the response is 429.
async fn until_throttled(host: &Router, username: &str) -> Response {
    for number in 0..100 {
        let response = writes(host, STRANGER, username, &format!("wrong-{number}")).await;
        if response.status != 401 {
            return response;
        }
    }
    panic!("never slowed down");
}

fn seconds(response: &Response) -> u64 {
    response.header("retry-after").unwrap().parse().unwrap()
}

#[tokio::test]
async fn too_many_failures_are_429_with_retry_after_on_a_hosts_route_for_every_name() {
    for username in ["telegraf", "unknown"] {
        let (_server, host) = host().await;
        let response = until_throttled(&host, username).await;
        response.assert_error(429, "too many requests", "too many failed logins");
        assert!((1..=300).contains(&seconds(&response)), "{}", seconds(&response));
        assert_eq!(response.header("www-authenticate"), None);
    }
}

/// [FWD-1]
#[tokio::test]
async fn too_many_failures_are_429_with_retry_after_at_forward_auth() {
    let (server, host) = host().await;
    until_throttled(&host, "telegraf").await;
    let uri = "/write?db=telemetry&u=telegraf&p=telegraf-password";
    let request = from(STRANGER, "/forward-auth").header("X-Original-URI", uri);
    let response = server.send(request.body(Body::empty()).unwrap()).await;
    response.assert_error(429, "too many requests", "too many failed logins");
    assert!((1..=300).contains(&seconds(&response)), "{}", seconds(&response));
    assert_eq!(response.header("www-authenticate"), None);
    assert!(response.header("x-portcullis-authorization").is_none());
}

#[tokio::test]
async fn too_many_unknown_api_tokens_are_429_with_retry_after() {
    let (server, _) = host().await;
    let mut last = None;
    for number in 0..=100 {
        // The address that a client claims is not trusted.
        let request = from(STRANGER, PREFIX)
            .header("Authorization", format!("Token wrong-{number}"))
            .header("X-Forwarded-For", format!("203.0.113.{number}"));
        let response = server.send(request.body(Body::empty()).unwrap()).await;
        if number < 100 {
            response.assert_error(401, "unauthorized", "unauthorized access");
        }
        last = Some(response);
    }
    let last = last.unwrap();
    last.assert_error(429, "too many requests", "too many failed logins");
    assert!(seconds(&last) >= 1);
    // Other clients are not affected.
    let operator =
        from(OWNER, PREFIX).header("Authorization", format!("Token {}", server.operator));
    assert_eq!(server.send(operator.body(Body::empty()).unwrap()).await.status, 200);
}

#[tokio::test]
async fn a_familiar_client_is_admitted_while_others_are_throttled() {
    let (_server, host) = host().await;
    assert_eq!(writes(&host, OWNER, "telegraf", "telegraf-password").await.status, 200);
    until_throttled(&host, "telegraf").await;
    assert_eq!(writes(&host, STRANGER, "telegraf", "wrong").await.status, 429);
    // The cache does not reveal the right password to a client that guesses.
    for (peer, status) in [(OWNER, 200), (STRANGER, 429)] {
        assert_eq!(writes(&host, peer, "telegraf", "telegraf-password").await.status, status);
    }
    assert_eq!(writes(&host, OWNER, "telegraf", "mistyped").await.status, 401);
}
