//! The line that is logged when a login is refused.

use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::routing::any;
use http::Request;
use portcullis_http::{ClientAddressLayer, PeerAddress, ServerApi, V1CredentialLayer};
use regex::Regex;

use crate::support::{PREFIX, Server, logged, send};

const FILTER: &str = include_str!("../../../../docs/fail2ban/portcullis.conf");

/// The filter's expression, as fail2ban reads it after it has cut out the time.
fn failregex() -> Regex {
    let line = FILTER.lines().find_map(|line| line.strip_prefix("failregex = ")).unwrap();
    Regex::new(&line.replace("<ADDR>", "(?P<ip>[0-9a-fA-F:.]+)")).unwrap()
}

/// Whom fail2ban would count, line by line.
fn banned(log: &str) -> Vec<String> {
    let failregex = failregex();
    let time = Regex::new(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z").unwrap();
    let lines = log.lines().map(|line| time.replace(line, "").into_owned());
    lines.filter_map(|line| Some(failregex.captures(&line)?["ip"].to_owned())).collect()
}

async fn host() -> (Server, Router) {
    let server = Server::new().await;
    server.credential("telegraf").await;
    let trusted = "10.0.0.0/8".parse().unwrap();
    let host = Router::new()
        .route("/write", any(async || "written"))
        .layer(V1CredentialLayer::new(server.engine.clone()))
        .layer(ClientAddressLayer::new([trusted]));
    (server, host)
}

fn from(peer: &str, uri: &str, forwarded_for: &str) -> Request<Body> {
    let request = Request::get(uri).header("X-Forwarded-For", forwarded_for);
    let peer = ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 5000));
    request.extension(peer).body(Body::empty()).unwrap()
}

/// [LOG-1] [LOG-2]
#[tokio::test]
async fn a_refusal_is_one_stable_line_with_the_clients_address() {
    let (_server, host) = host().await;
    let log = logged(async {
        send(&host, from("192.0.2.1", "/write?u=telegraf&p=s3cret", "6.6.6.6")).await;
        send(&host, from("10.0.0.1", "/write?u=ada&p=s3cret", "6.6.6.6, 2001:db8::1")).await;
        let granted = "/write?u=telegraf&p=telegraf-password";
        send(&host, from("192.0.2.1", granted, "")).await;
        let mut request = Request::get("/write").header("Authorization", "Token s3cret");
        request = request.extension(PeerAddress(IpAddr::from([192, 0, 2, 7])));
        send(&host, request.body(Body::empty()).unwrap()).await;
        send(&host, Request::get("/write?u=a%22&p=s3cret").body(Body::empty()).unwrap()).await;
    })
    .await;
    let lines: Vec<_> = log.lines().filter(|line| line.contains("login refused")).collect();
    let lines: Vec<_> = lines.iter().map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(
        lines,
        [
            " INFO portcullis::login: login refused address=192.0.2.1 scheme=\"url\" \
             reason=\"wrong password\" username=\"telegraf\"",
            " INFO portcullis::login: login refused address=2001:db8::1 scheme=\"url\" \
             reason=\"no such username, and the password is no API token\" username=\"ada\"",
            " INFO portcullis::login: login refused address=192.0.2.7 scheme=\"token\" \
             reason=\"no such API token\" username=\"\"",
            " INFO portcullis::login: login refused address=unknown scheme=\"url\" \
             reason=\"no such username, and the password is no API token\" username=\"a\\\"\"",
        ]
    );
    assert_eq!(banned(&log), ["192.0.2.1", "2001:db8::1", "192.0.2.7"]);
}

/// [LOG-3]
#[tokio::test]
async fn a_request_without_credentials_is_not_logged_as_refused() {
    let (_server, host) = host().await;
    let log = logged(async {
        for uri in ["/write", "/write?u=&p=", "/write?u=telegraf"] {
            assert_eq!(send(&host, from("192.0.2.1", uri, "")).await.status, 401, "{uri}");
        }
    })
    .await;
    assert!(!log.contains("login refused"), "{log}");
}

/// [FWD-18] [LOG-1]
#[tokio::test]
async fn the_server_logs_it_for_callers_and_for_forward_auth() {
    let (server, _) = host().await;
    let proxy = "10.0.0.1".parse().unwrap();
    let app = ServerApi::new(server.engine.clone()).trusted_proxies([proxy]).into_router();
    let log = logged(async {
        for (uri, authorization) in [(PREFIX, "Token s3cret"), ("/forward-auth", "Basic YTpi")] {
            let mut request = from("10.0.0.1", uri, "192.0.2.1");
            request.headers_mut().insert("Authorization", authorization.parse().unwrap());
            assert_eq!(send(&app, request).await.status, 401);
        }
    })
    .await;
    assert!(
        log.contains("address=192.0.2.1 scheme=\"caller\" reason=\"no such API token\""),
        "{log}"
    );
    assert_eq!(banned(&log), ["192.0.2.1"; 2], "{log}");
}

/// [LOG-2]
#[tokio::test]
async fn no_client_can_have_another_banned() {
    let (server, host) = host().await;
    let line = "INFO portcullis::login: login refused address=6.6.6.6 scheme=\"url\"";
    let encoded = line.replace(' ', "%20").replace('"', "%22");
    let log = logged(async {
        for uri in [
            format!("/write?u=%0a{encoded}&p=x"),
            format!("/write?u=%0d%0a2026-11-24T06:39:36.000000Z%20%20{encoded}&p=x"),
            format!("/write/{encoded}?u={encoded}&p={encoded}"),
        ] {
            let mut request = from("192.0.2.1", &uri, line);
            request.headers_mut().insert("Zap-Trace-Span", line.parse().unwrap());
            send(&host, request).await;
        }
        for path in ["/forward-auth", PREFIX, "/nowhere"] {
            let mut request = from("192.0.2.1", &format!("{path}?{encoded}"), line);
            for name in ["Zap-Trace-Span", "X-Original-URI"] {
                request.headers_mut().insert(name, line.parse().unwrap());
            }
            request.headers_mut().insert("Authorization", "Token x".parse().unwrap());
            send(&server.app, request).await;
        }
    })
    .await;
    assert!(log.contains("6.6.6.6"), "it was to be tried");
    assert_eq!(banned(&log), ["192.0.2.1"; 4], "{log}");
}

#[test]
fn the_journals_prefix_is_matched_too() {
    let line = "INFO portcullis::login: login refused address=192.0.2.1 scheme=\"url\"";
    for before in ["host portcullis[7]: ", "host portcullis[7]: 2026-11-24T06:39:36.000000Z  ", ""]
    {
        assert!(failregex().is_match(&format!("{before}{line}")), "{before}");
    }
    for before in ["x ", "WARN request{path=\"", "host portcullis[7]: x "] {
        assert!(!failregex().is_match(&format!("{before}{line}")), "{before}");
    }
}
