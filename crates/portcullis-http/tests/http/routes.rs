//! The exact list of routes, those that need no credentials, and unknown paths.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode};
use portcullis_http::ManagementApi;
use regex::Regex;

use crate::support::{PREFIX, Server};

/// Every route below a prefix of the management API, with its methods.
const MANAGEMENT: &[(&str, &str)] = &[
    ("", "GET,HEAD,POST"),
    ("/0000000000000001", "DELETE,GET,HEAD,PATCH"),
    ("/0000000000000001/password", "POST"),
    ("/0000000000000001/password/previous", "DELETE"),
    ("/0000000000000001/permissions", "PUT"),
];

const V2: &[(&str, &str)] = &[
    ("/api/v2/authorizations", "GET,HEAD,POST"),
    ("/api/v2/authorizations/0000000000000001", "DELETE,GET,HEAD,PATCH"),
    ("/api/v2/dbrps", "GET,HEAD,POST"),
    ("/api/v2/dbrps/0000000000000001", "DELETE,GET,HEAD,PATCH"),
    ("/api/v2/orgs", "GET,HEAD,POST"),
    ("/api/v2/orgs/0000000000000001", "DELETE,GET,HEAD,PATCH"),
    ("/api/v2/users", "GET,HEAD,POST"),
    ("/api/v2/users/0000000000000001", "DELETE,GET,HEAD,PATCH"),
    ("/api/v2/users/0000000000000001/password", "POST,PUT"),
    ("/api/v2/buckets", "GET,HEAD,POST"),
    ("/api/v2/buckets/0000000000000001", "DELETE,GET,HEAD,PATCH"),
    ("/api/v2/me", "GET,HEAD"),
    ("/api/v2/me/password", "POST,PUT"),
];

/// Routes that need no credentials.
const OPEN: &[(&str, &str)] = &[
    ("/ping", "GET,HEAD"),
    ("/health", "GET,HEAD"),
    ("/ready", "GET,HEAD"),
    ("/openapi.json", "GET,HEAD"),
    SETUP,
];

/// Needs no credentials, and may end with a slash, as a path of the v2 API.
const SETUP: (&str, &str) = ("/api/v2/setup", "GET,HEAD,POST");

const METHODS: &[&str] = &["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

fn protected() -> Vec<(String, &'static str)> {
    let prefixed = [PREFIX, "/legacy/authorizations"].into_iter().flat_map(|prefix| {
        MANAGEMENT.iter().map(move |(path, methods)| (format!("{prefix}{path}"), *methods))
    });
    prefixed.chain(V2.iter().map(|(path, methods)| ((*path).to_owned(), *methods))).collect()
}

/// The routes of the router with their methods, in alphabetical order.
pub(crate) fn routes_of(router: &Router) -> BTreeMap<String, String> {
    let printed = format!("{router:?}");
    // Not the router of what has no route, whose routes have numbers of their own.
    let (printed, _) = printed.split_once("fallback_router").unwrap();
    let paths = Regex::new(r#"RouteId\((\d+)\): "([^"]*)""#).unwrap();
    let methods = Regex::new(
        r#"RouteId\((\d+)\): MethodRouter\([^}]*allow_header: (?:Bytes\(b"([^"]*)"\)|\w+) \}"#,
    )
    .unwrap();
    let methods: BTreeMap<_, _> = methods
        .captures_iter(printed)
        .map(|found| {
            let mut methods: Vec<_> =
                found.get(2).map_or("any", |m| m.as_str()).split(',').collect();
            methods.sort_unstable();
            (found[1].to_owned(), methods.join(","))
        })
        .collect();
    let routes = paths.captures_iter(printed);
    routes.map(|found| (found[2].to_owned(), methods[&found[1]].clone())).collect()
}

/// Every route that is added to the router must be added here: to those for callers, which are tried
/// without credentials below, or to the public ones.
/// [HTTP-1] [HTTP-20]
#[tokio::test]
async fn there_are_exactly_these_routes_and_no_metrics_or_debug_pages() {
    let server = Server::new().await;
    let mut expected = BTreeMap::new();
    let mut expect = |path: String, methods: &str| {
        expected.insert(path, methods.to_owned());
    };
    for (path, methods) in protected() {
        let path = path.replace("0000000000000001", "{id}");
        expect(format!("{path}/"), methods);
        expect(path, methods);
    }
    // Answered with 404 to callers, and with 401 to others.
    for prefix in [PREFIX, "/legacy/authorizations"] {
        expect(format!("{prefix}//"), "any");
        expect(format!("{prefix}/{{id}}/{{*rest}}"), "any");
    }
    let of_a_host = expected.clone();
    for (path, methods) in OPEN {
        expected.insert((*path).to_owned(), (*methods).to_owned());
    }
    expected.insert(format!("{}/", SETUP.0), SETUP.1.to_owned());
    for path in ["/forward-auth", "/forward-auth/"] {
        expected.insert(path.to_owned(), "any".to_owned());
    }
    assert_eq!(routes_of(&server.app), expected);
    assert_eq!(routes_of(&ManagementApi::new(server.engine.clone()).into_router()), of_a_host);
    for path in ["/metrics", "/debug", "/debug/pprof"] {
        server.get(path).await.assert_error(404, "not found", "path not found");
    }
}

fn anonymous(method: &str, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
}

/// [HTTP-5] [HTTP-20]
#[tokio::test]
async fn only_public_routes_respond_without_credentials() {
    let server = Server::new().await;
    let unknown = ["/private", "/private/x", "/legacy/x", "/api/v2", "/api/v2/write"];
    let unknown = unknown.into_iter().map(str::to_owned);
    let unknown =
        unknown.chain([format!("{PREFIX}/0000000000000001/members"), format!("{PREFIX}//")]);
    for path in protected().into_iter().map(|(path, _)| path).chain(unknown) {
        for method in METHODS {
            let response = server.send(anonymous(method, &path)).await;
            assert_eq!(response.status, StatusCode::UNAUTHORIZED, "{method} {path}");
            assert_eq!(response.header("www-authenticate"), None, "{method} {path}");
            if *method != "HEAD" {
                let compact = "{\"code\":\"unauthorized\",\"message\":\"unauthorized access\"}";
                assert_eq!(response.text, compact, "{method} {path}");
            }
        }
    }
    for method in METHODS {
        let response = server.send(anonymous(method, "/forward-auth?check=none")).await;
        assert_eq!(response.status, StatusCode::UNAUTHORIZED, "{method}");
    }
    for (path, _) in OPEN {
        let response = server.send(anonymous("GET", path)).await;
        assert!(response.status.is_success(), "{path}");
    }
}

/// [HTTP-2]
#[tokio::test]
async fn other_methods_are_405_in_the_envelope_with_those_allowed() {
    let server = Server::new().await;
    let open = OPEN.iter().map(|(path, methods)| ((*path).to_owned(), *methods));
    for (path, allowed) in protected().into_iter().chain(open) {
        for path in [path.clone(), format!("{path}/")] {
            if OPEN
                .iter()
                .any(|(open, _)| path.trim_end_matches('/') == *open && path.ends_with('/'))
            {
                continue;
            }
            for method in METHODS.iter().filter(|m| !allowed.split(',').any(|a| a == **m)) {
                let response = server.call(method, &path, "").await;
                assert_eq!(response.status, 405, "{method} {path}");
                let mut allow: Vec<_> = response.header("allow").unwrap().split(',').collect();
                allow.sort_unstable();
                assert_eq!(allow.join(","), allowed, "{method} {path}");
                if *method == "HEAD" {
                    continue;
                }
                response.assert_error(
                    405,
                    "method not allowed",
                    "method not allowed, the header Allow lists those that are",
                );
            }
        }
    }
}

/// [HTTP-17] [HTTP-20]
#[tokio::test]
async fn unknown_paths_are_404_in_the_envelope() {
    let server = Server::new().await;
    for path in [
        "/",
        "/x",
        "/private",
        "/private/legacy",
        "/private/legacy/authorization",
        "/Private/legacy/authorizations",
        "/legacy/authorizationsx",
        "/api/v2",
        "/api/v2/authorizations/0000000000000001/x",
        "/api/v2/orgs/0000000000000001/members",
        "/api/v2/setup/user",
        "/pingx",
        &format!("{PREFIX}/0000000000000001/members"),
        &format!("{PREFIX}/0000000000000001/password/x"),
        &format!("{PREFIX}/0000000000000001//"),
        &format!("{PREFIX}//"),
        &format!("{PREFIX}/a/b/c/d"),
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let response = server.call(method, path, "").await;
            response.assert_error(404, "not found", "path not found");
        }
    }
}

/// [HTTP-2]
#[tokio::test]
async fn head_responds_like_get_without_a_body() {
    let server = Server::new().await;
    let id = server.authorization("telegraf").await.id;
    for path in [PREFIX.to_owned(), format!("{PREFIX}/{id}"), format!("{PREFIX}/abc")] {
        let (get, head) = (server.get(&path).await, server.call("HEAD", &path, "").await);
        assert_eq!(head.status, get.status, "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"));
        assert_eq!(head.text, "");
    }
}

#[tokio::test]
async fn a_host_keeps_its_own_paths() {
    let server = Server::new().await;
    let host = Router::new()
        .route("/api/v2/write", axum::routing::post(async || "written"))
        .fallback(async || "the host's")
        .merge(ManagementApi::new(server.engine.clone()).into_router());
    for (method, path, expected) in [
        ("POST", "/api/v2/write", "written"),
        ("GET", "/", "the host's"),
        ("GET", "/ping", "the host's"),
    ] {
        let response = crate::support::send(&host, anonymous(method, path)).await;
        assert_eq!((response.status, response.text.as_str()), (StatusCode::OK, expected));
    }
    let response = crate::support::send(&host, anonymous("GET", PREFIX)).await;
    assert_eq!(response.status, StatusCode::UNAUTHORIZED);
}

/// [HTTP-19]
#[tokio::test]
async fn no_response_has_headers_that_were_not_requested() {
    let server = Server::new().await;
    let mut request = anonymous("GET", PREFIX);
    request.headers_mut().insert("Origin", "https://example.org".parse().unwrap());
    for response in [server.get(PREFIX).await, server.send(request).await] {
        for header in response.headers.keys() {
            let known = ["content-type", "x-platform-error-code", "content-length"];
            assert!(known.contains(&header.as_str()), "{header}");
        }
    }
}
