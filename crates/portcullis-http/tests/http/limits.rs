//! Limits of each credential: the layer for a host's routes, and forward-auth.

use std::num::NonZeroU32;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::Request;
use http_body_util::BodyExt;
use portcullis_http::{
    CredentialLimitLayer, CredentialLimiter, CredentialLimits, ForwardAuth, RequestRate, ServerApi,
    V1CredentialLayer,
};
use tower::ServiceExt;

use crate::support::{PREFIX, Server, forward_auth, send};

fn rate(rate: &str) -> CredentialLimits {
    let rate: RequestRate = rate.parse().unwrap();
    CredentialLimits::none().rate(rate)
}

fn request(username: &str) -> Request<Body> {
    let authorization = format!("Token {username}:{username}-password");
    Request::get("/").header("Authorization", authorization).body(Body::empty()).unwrap()
}

async fn routes(server: &Server, limits: CredentialLimits) -> Router {
    server.credential("telegraf").await;
    server.credential("vector").await;
    let limit = CredentialLimitLayer::new(CredentialLimiter::new(limits));
    let route = get(async || "served").layer(limit);
    Router::new()
        .route("/", route.clone())
        .route("/ping", route)
        .layer(V1CredentialLayer::new(server.engine.clone()))
}

/// [LIMIT-2] [LIMIT-4]
#[tokio::test]
async fn a_route_of_a_host_is_limited_for_each_credential_by_itself() {
    let server = Server::new().await;
    let app = routes(&server, rate("1/h")).await;
    for username in ["telegraf", "vector"] {
        let response = send(&app, request(username)).await;
        assert_eq!((response.status.as_u16(), response.text.as_str()), (200, "served"));
        let response = send(&app, request(username)).await;
        response.assert_error(429, "too many requests", "too many requests with this credential");
        assert_eq!(response.json()["error"], response.json()["message"]);
        assert_eq!(response.header("retry-after"), Some("3600"));
    }
    for _ in 0..3 {
        let ping = Request::get("/ping").body(Body::empty()).unwrap();
        assert_eq!(send(&app, ping).await.status, 200);
    }
}

/// [LIMIT-3]
#[tokio::test]
async fn a_request_ends_with_the_body_of_its_response() {
    let server = Server::new().await;
    let app = routes(&server, CredentialLimits::none().in_flight(NonZeroU32::new(1))).await;
    let begin = async |username| app.clone().oneshot(request(username)).await.unwrap();
    let read = begin("telegraf").await;
    assert_eq!(begin("telegraf").await.status(), 429);
    assert_eq!(begin("vector").await.status(), 200);
    let mut body = read.into_body();
    while body.frame().await.is_some() {}
    // The end was read, though the body is still there.
    let dropped = begin("telegraf").await;
    assert_eq!((dropped.status().as_u16(), begin("telegraf").await.status().as_u16()), (200, 429));
    drop(dropped);
    assert_eq!(begin("telegraf").await.status(), 200);
    drop(body);
}

/// [LIMIT-3] [LIMIT-4]
#[tokio::test]
async fn forward_auth_limits_the_rate_and_the_management_api_has_no_limits() {
    let server = Server::new().await;
    server.credential("telegraf").await;
    let limits = rate("2/h").burst(NonZeroU32::new(2)).in_flight(NonZeroU32::new(1));
    let limiter = CredentialLimiter::new(limits);
    let app = ServerApi::new(server.engine.clone()).limiter(limiter.clone()).into_router();
    let other = ForwardAuth::new(server.engine.clone()).limiter(limiter).into_router();
    let uri = ("X-Original-URI", "/write?db=telemetry");
    let headers = [uri, ("Authorization", "Token telegraf:telegraf-password")];
    let decide = async |app: &Router| forward_auth(app, "", &headers).await;
    // Both count together.
    assert_eq!(decide(&app).await.status, 204);
    assert_eq!(decide(&other).await.status, 204);
    let refused = decide(&app).await;
    refused.assert_error(429, "too many requests", "too many requests with this credential");
    let wait: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1_790..=1_800).contains(&wait), "{wait}");
    let list = || {
        let request = Request::get(PREFIX);
        let request = request.header("Authorization", format!("Token {}", server.operator));
        request.body(Body::empty()).unwrap()
    };
    for _ in 0..5 {
        assert_eq!(send(&app, list()).await.status, 200);
    }
}
