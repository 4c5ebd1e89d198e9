//! A host's own routes behind the v1 credential layer.

use axum::body::Body;
use axum::extract::{OriginalUri, Request as AnyRequest};
use axum::routing::any;
use axum::{Extension, Router};
use http::Request;
use portcullis::{ErrorKind, Principal};
use portcullis_http::{Authenticated, InfluxdbVersion, V1CredentialLayer, V1Rejection};
use tower::Layer as _;

use crate::support::{Response, Server, send};

async fn host() -> (Server, Router) {
    let server = Server::new().await;
    server.credential("telegraf").await;
    let identity =
        async |Extension(principal): Extension<Principal>| format!("{:?}", principal.identity());
    let app = Router::new()
        .route("/write", any(identity))
        .route("/ping", any(async || "pong"))
        .layer(V1CredentialLayer::new(server.engine.clone()));
    (server, app)
}

async fn get(app: &Router, uri: &str, authorization: Option<&str>) -> Response {
    let mut request = Request::get(uri);
    if let Some(authorization) = authorization {
        request = request.header("Authorization", authorization);
    }
    send(app, request.body(Body::empty()).unwrap()).await
}

/// [LOGIN-1]
#[tokio::test]
async fn valid_credentials_reach_the_route_in_every_form() {
    let (server, app) = host().await;
    for (query, header) in [
        ("?u=telegraf&p=telegraf-password", None),
        ("", Some("Basic dGVsZWdyYWY6dGVsZWdyYWYtcGFzc3dvcmQ=".to_owned())),
        ("", Some("Token telegraf:telegraf-password".to_owned())),
        ("", Some(format!("Token {}", server.operator))),
        ("", Some(format!("Token :{}", server.operator))),
        ("", Some(format!("Token unknown:{}", server.operator))),
    ] {
        let response = get(&app, &format!("/write{query}"), header.as_deref()).await;
        assert_eq!(response.status, 200, "{query} {header:?}: {}", response.text);
    }
}

/// [LOGIN-8]
#[tokio::test]
async fn refusals_look_alike_and_challenge() {
    let (server, app) = host().await;
    let operator_for_telegraf = format!("Token telegraf:{}", server.operator);
    for (query, header) in [
        ("?u=telegraf&p=wrong", None),
        ("?u=unknown&p=wrong", None),
        ("", Some("Token nope")),
        ("", Some("Token telegraf:wrong")),
        ("", Some(operator_for_telegraf.as_str())),
    ] {
        let response = get(&app, &format!("/write{query}"), header).await;
        response.assert_error(401, "unauthorized", "Unauthorized");
        assert_eq!(
            response.header("www-authenticate"),
            Some("Basic realm=\"portcullis\", charset=\"UTF-8\"")
        );
    }
    for header in [None, Some("Bearer"), Some("Basic !"), Some("nonsense")] {
        let response = get(&app, "/write", header).await;
        response.assert_error(401, "unauthorized", "unauthorized access");
        assert_eq!(
            response.header("www-authenticate"),
            Some("Basic realm=\"portcullis\", charset=\"UTF-8\"")
        );
    }
}

/// [LOGIN-3]
#[tokio::test]
async fn bearer_means_what_token_means() {
    let (server, app) = host().await;
    for scheme in ["Token", "token", "Bearer", "bearer", "BEARER"] {
        for (secret, status) in [
            (server.operator.as_str(), 200),
            ("telegraf:telegraf-password", 200),
            ("telegraf:wrong", 401),
            ("wrong", 401),
        ] {
            let response = get(&app, "/write", Some(&format!("{scheme} {secret}"))).await;
            assert_eq!(response.status, status, "{scheme} {secret}");
        }
    }
}

/// [LOGIN-11]
#[tokio::test]
async fn v1_clients_find_the_reason_as_error_and_a_version_where_one_is_set() {
    let (server, plain) = host().await;
    let version = InfluxdbVersion::new("1.8.10").unwrap();
    let layer = V1CredentialLayer::new(server.engine.clone()).influxdb_version(version);
    let routes = Router::new().route("/ping", any(async || "pong")).layer(layer);
    for (app, version) in [(&plain, None), (&routes, Some("1.8.10"))] {
        assert_eq!(get(app, "/ping", None).await.header("x-influxdb-version"), version);
    }
    let response = get(&plain, "/write?u=telegraf&p=wrong", None).await;
    assert_eq!(response.json()["error"], "Unauthorized");
    assert_eq!(response.header("cache-control"), Some("no-store"));
    server.store.close().await.unwrap();
    let response = get(&plain, "/write?u=telegraf&p=another", None).await;
    assert_eq!(response.json()["error"], "the service is unavailable, try again later");
    assert_eq!(response.header("retry-after"), Some("5"));
}

/// [LOGIN-4]
#[tokio::test]
async fn a_preflight_is_admitted_only_if_configured() {
    let (server, off) = host().await;
    let layer = V1CredentialLayer::new(server.engine.clone()).preflight(true);
    let on = Router::new().route("/write", any(async || "passed on")).layer(layer);
    let preflight = |method: &str, headers: &[&str]| {
        let mut request = Request::builder().method(method).uri("/write");
        for header in headers {
            request = request.header(*header, "POST");
        }
        request.body(Body::empty()).unwrap()
    };
    let all = ["origin", "access-control-request-method"];
    assert_eq!(send(&off, preflight("OPTIONS", &all)).await.status, 401);
    assert_eq!(send(&on, preflight("OPTIONS", &all)).await.text, "passed on");
    assert_eq!(send(&on, preflight("POST", &all)).await.status, 401);
    assert_eq!(send(&on, preflight("OPTIONS", &all[..1])).await.status, 401);
    assert_eq!(send(&on, preflight("OPTIONS", &["origin", "authorization"])).await.status, 401);
}

/// [LOGIN-4]
#[tokio::test]
async fn ping_needs_no_credentials() {
    let (_server, app) = host().await;
    assert_eq!(get(&app, "/ping", None).await.text, "pong");
    assert_eq!(get(&app, "/ping/", None).await.status, 401);
}

/// [LOGIN-9]
#[tokio::test]
async fn a_failure_is_a_failure_not_a_refusal() {
    let (server, app) = host().await;
    server.store.close().await.unwrap();
    let response = get(&app, "/write?u=telegraf&p=telegraf-password", None).await;
    response.assert_error(503, "unavailable", "the service is unavailable, try again later");
    assert_eq!(response.header("www-authenticate"), None);
}

/// [LOGIN-10]
#[tokio::test]
async fn a_client_that_misreads_retry_after_gets_none() {
    let (server, app) = host().await;
    server.store.close().await.unwrap();
    let uri = "/write?u=telegraf&p=telegraf-password";
    for (agent, has_header) in [
        ("influxdb-client-js/1.35.0", false),
        ("influxdb-client-python/1.50.0", true),
        ("Mozilla/5.0 influxdb-client-js/1.35.0", true),
        ("", true),
    ] {
        let direct = Request::get(uri).header("User-Agent", agent);
        // A proxy passes on the client's.
        let asked = Request::get("/forward-auth").header("User-Agent", agent);
        let asked = asked.header("X-Original-URI", format!("{uri}&db=telemetry"));
        for (app, request) in [(&app, direct), (&server.app, asked)] {
            let response = send(app, request.body(Body::empty()).unwrap()).await;
            assert_eq!(response.status, 503);
            assert_eq!(response.header("retry-after").is_some(), has_header, "{agent}");
        }
    }
}

/// Shows what a route is given.
async fn show(OriginalUri(original): OriginalUri, request: AnyRequest) -> String {
    let authorization = request.headers().get_all("authorization");
    format!("{original} {} {:?}", request.uri(), authorization.iter().collect::<Vec<_>>())
}

/// [LOGIN-12] [LOGIN-13]
#[tokio::test]
async fn the_inner_service_gets_no_credentials_unless_configured() {
    let (server, _) = host().await;
    let layer = V1CredentialLayer::new(server.engine.clone());
    let route = Router::new().route("/write", any(show)).route("/ping", any(show));
    let nested = |layer| Router::new().nest("/db", route.clone().layer(layer));
    let basic = "Basic dGVsZWdyYWY6dGVsZWdyYWYtcGFzc3dvcmQ=";
    let (hidden, kept) = (nested(layer.clone()), nested(layer.keep_credentials(true)));
    let (query, redacted) = ("u=telegraf&p=telegraf-password&db=x", "u=telegraf&p=redacted&db=x");
    for path in ["/write", "/ping"] {
        let uri = format!("/db{path}?{query}");
        let response = get(&hidden, &uri, Some(basic)).await;
        assert_eq!(response.text, format!("/db{path}?{redacted} {path}?{redacted} []"));
        let response = get(&kept, &uri, Some(basic)).await;
        assert_eq!(response.text, format!("{uri} {path}?{query} [Sensitive]"));
        let response = get(&hidden, &format!("/db{path}?db=x&p=alone"), Some(basic)).await;
        assert_eq!(response.text, format!("/db{path}?db=x&p=redacted {path}?db=x&p=redacted []"));
        // The first line counts, and none is left.
        let twice = Request::get(format!("/db{path}?db=x"));
        let twice = twice.header("Authorization", basic).header("Authorization", "Basic !");
        let response = send(&hidden, twice.body(Body::empty()).unwrap()).await;
        assert_eq!(response.text, format!("/db{path}?db=x {path}?db=x []"));
    }
}

#[tokio::test]
async fn the_layer_does_the_same_around_a_router_and_around_each_route() {
    let (server, _) = host().await;
    let layer = V1CredentialLayer::new(server.engine.clone());
    let route = Router::new().route("/write", any(show)).route("/ping", any(show));
    let (inside, around) = (route.clone().layer(layer.clone()), layer.layer(route));
    let around = Router::new().fallback_service(around);
    for (uri, status) in [
        ("/write?u=telegraf&p=telegraf-password", 200),
        ("/write?u=telegraf&p=wrong", 401),
        ("/ping?p=alone", 200),
        ("/nowhere", 401),
        ("/nowhere?u=telegraf&p=telegraf-password", 404),
    ] {
        let responses = [get(&inside, uri, None).await, get(&around, uri, None).await];
        assert_eq!(
            responses.each_ref().map(|response| response.status.as_u16()),
            [status; 2],
            "{uri}"
        );
        assert_eq!(responses[0].text, responses[1].text);
        assert!(!responses[0].text.contains("password") && !responses[0].text.contains("alone"));
    }
}

/// [LOGIN-14]
#[tokio::test]
async fn a_handler_gets_the_principal_and_is_closed_where_there_is_none() {
    let (server, _) = host().await;
    let identity =
        async |Authenticated(principal): Authenticated| format!("{:?}", principal.identity());
    let perhaps = async |principal: Option<Authenticated>| principal.is_some().to_string();
    let open = Router::new().route("/ping", any(identity)).route("/perhaps", any(perhaps));
    let routes = Router::new().route("/write", any(identity)).merge(open);
    let protected = routes.clone().layer(V1CredentialLayer::new(server.engine.clone()));
    let query = "u=telegraf&p=telegraf-password";
    let response = get(&protected, &format!("/write?{query}"), None).await;
    assert!(response.text.contains("telegraf"), "{}", response.text);
    assert_eq!(get(&protected, &format!("/perhaps?{query}"), None).await.text, "true");
    assert_eq!(get(&routes, &format!("/perhaps?{query}"), None).await.text, "false");
    for (app, path) in [(&protected, "/ping"), (&routes, "/write"), (&routes, "/ping")] {
        let response = get(app, &format!("{path}?{query}"), None).await;
        response.assert_error(401, "unauthorized", "unauthorized access");
        assert_eq!(
            response.header("www-authenticate"),
            Some("Basic realm=\"portcullis\", charset=\"UTF-8\"")
        );
    }
}

#[test]
fn a_hosts_own_refusals_have_the_same_status_and_message() {
    for (kind, status, message) in [
        (ErrorKind::Forbidden, 403, "m"),
        (ErrorKind::Unauthorized, 401, "m"),
        (ErrorKind::Invalid, 401, "unauthorized access"),
        (ErrorKind::NotFound, 401, "unauthorized access"),
        (ErrorKind::Conflict, 401, "unauthorized access"),
        (ErrorKind::TooManyRequests, 429, "m"),
        (ErrorKind::Unavailable, 503, "m"),
        (ErrorKind::Internal, 503, "m"),
    ] {
        let rejection = V1Rejection::from(portcullis::Error::new(kind, "m"));
        let found = (rejection.status().as_u16(), rejection.message());
        assert_eq!(found, (status, message), "{kind:?}");
    }
}
