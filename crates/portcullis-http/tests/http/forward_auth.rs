//! Responses to a reverse proxy, line by line of `docs/spec/forward-auth.md`.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{HeaderName, Request};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use portcullis::{Bucket, Engine, Permission, Resource, ResourceType, StaticDirectory, Status};
use portcullis_http::{ForwardAuth, ForwardAuthConfig, ServerApi};
use portcullis_testkit::HookedDirectory;
use proptest::prelude::*;

use crate::support::{Response, Server, forward_auth, name};

/// `telegraf:telegraf-password`.
const BASIC: &str = "Basic dGVsZWdyYWY6dGVsZWdyYWYtcGFzc3dvcmQ=";
const U_P: &str = "u=telegraf&p=telegraf-password";
const URI: &str = "X-Original-URI";

/// `telegraf` may write `telemetry`, and there is another bucket, `events`.
async fn server() -> (Server, Bucket) {
    let server = Server::new().await;
    server.credential("telegraf").await;
    let events = server.engine.create_bucket(server.org.id, name("events")).await.unwrap();
    (server, events)
}

fn identity(response: &Response) -> Vec<Option<&str>> {
    ["authorization", "org", "user", "username"]
        .iter()
        .map(|name| response.header(&format!("x-portcullis-{name}")))
        .collect()
}

#[track_caller]
fn assert_no_identity(response: &Response, message: &str) {
    response.assert_error(401, "unauthorized", message);
    assert_eq!(
        response.header("www-authenticate"),
        Some("Basic realm=\"portcullis\", charset=\"UTF-8\"")
    );
    assert_eq!(identity(response), [None; 4]);
}

/// [FWD-10] [FWD-13] [FWD-15]
#[tokio::test]
async fn a_write_requests_the_bucket_by_its_name() {
    let (server, events) = server().await;
    for (uri, status) in [
        ("/write?db=telemetry", 204),
        ("/write?%64b=telemetry&precision=s", 204),
        ("/write?db=telem%65try", 204),
        ("/write?db=telemetry&rp=autogen", 204),
        ("/write?db=events", 403),
        ("/write?db=nowhere", 403),
        // By name, never by id.
        (&format!("/write?db={}", server.bucket.id), 403),
        ("/write?db=", 403),
        ("/write?db", 403),
        ("/write", 403),
        ("/write?DB=telemetry", 403),
        ("/write?db=Telemetry", 403),
        ("/write?db=telemetry+", 403),
        ("/write?db=telemetry%00", 403),
        ("/write?db=%ff", 403),
        // Twice, or in a way that another parser could read differently.
        ("/write?db=telemetry&db=telemetry", 403),
        ("/write?db=telemetry&db=events", 403),
        ("/write?db=events&db=telemetry", 403),
        ("/write?db=telemetry&%64b=events", 403),
        ("/write?db=telemetry&db=%zz", 403),
        ("/write?db=telemetry&db", 403),
        ("/write?db=%zz", 403),
        // Only this very path.
        ("/write/?db=telemetry", 403),
        ("//write?db=telemetry", 403),
        ("/Write?db=telemetry", 403),
        ("/%77rite?db=telemetry", 403),
        ("/write/../query?db=telemetry", 403),
        ("/x/../write?db=telemetry", 403),
        ("/write%3Fdb=telemetry", 403),
        ("/query?db=telemetry&q=SELECT", 403),
        ("/api/v2/write?db=telemetry", 403),
        ("/write?bucket=telemetry", 403),
        ("/?db=telemetry", 403),
    ] {
        let response = forward_auth(&server.app, "", &[(URI, uri), ("Authorization", BASIC)]).await;
        assert_eq!(response.status, status, "{uri}");
        // A proxy that cached a response would admit a revoked credential.
        assert_eq!(response.header("cache-control"), Some("no-store"), "{uri}");
        assert_eq!(response.header("www-authenticate"), None, "{uri}");
        assert_ne!(response.header("x-portcullis-authorization"), None, "{uri}");
    }

    // A bucket whose name is the id of another is reached by its name.
    let named = server.engine.create_bucket(server.org.id, name(&events.id.to_string())).await;
    let grant = [Permission::write(Resource::bucket(server.org.id, named.unwrap().id))];
    server.credential_with("named", grant).await;
    let uri = format!("/write?db={}&u=named&p=named-password", events.id);
    assert_eq!(forward_auth(&server.app, "", &[(URI, &uri)]).await.status, 204);
    let response =
        forward_auth(&server.app, "", &[(URI, "/write?db=events&u=named&p=named-password")]).await;
    assert_eq!(response.status, 403);
}

/// [FWD-13]
#[tokio::test]
async fn the_bucket_is_looked_up_in_the_org_of_the_authorization() {
    let (server, _) = server().await;
    let other = server.engine.create_org(name("other")).await.unwrap();
    server.engine.create_bucket(other.id, name("foreign")).await.unwrap();
    let everywhere = [Permission::write(Resource::all(ResourceType::Buckets))];
    server.credential_with("root", everywhere).await;
    for (db, status) in [("telemetry", 204), ("events", 204), ("foreign", 403)] {
        let uri = format!("/write?u=root&p=root-password&db={db}");
        assert_eq!(forward_auth(&server.app, "", &[(URI, &uri)]).await.status, status, "{db}");
    }
}

/// [FWD-9] [FWD-10] [FWD-17]
#[tokio::test]
async fn the_proxy_names_the_requested_permission() {
    let (server, events) = server().await;
    let (org, bucket) = (server.org.id, server.bucket.id);
    for (query, status) in [
        (format!("?permission=write:orgs/{org}/buckets/{bucket}"), 204),
        (format!("?permission=write:buckets/{bucket}"), 204),
        (format!("?permission=write%3Abuckets%2F{bucket}"), 204),
        (format!("?other=1&permission=write:buckets/{bucket}"), 204),
        (format!("?permission=read:buckets/{bucket}"), 403),
        (format!("?permission=write:buckets/{}", events.id), 403),
        (format!("?permission=write:orgs/{org}/buckets"), 403),
        ("?permission=write:buckets".to_owned(), 403),
        ("?check=none".to_owned(), 204),
        // A parameter that cannot be read does not count as absent.
        ("?permission=".to_owned(), 403),
        ("?permission".to_owned(), 403),
        ("?permission=nonsense".to_owned(), 403),
        ("?permission=write:buckets/telemetry".to_owned(), 403),
        ("?permission=%zz".to_owned(), 403),
        ("?permission=%ff".to_owned(), 403),
        ("?check=".to_owned(), 403),
        ("?check=all".to_owned(), 403),
        ("?check=none&check=none".to_owned(), 403),
        (format!("?check=none&permission=write:buckets/{bucket}"), 403),
        (format!("?permission=write:buckets/{bucket}&permission=write:buckets/{bucket}"), 403),
    ] {
        for uri in [None, Some("/any?q=x"), Some("/write?db=telemetry"), Some("/write?db=events")] {
            let mut headers = vec![("Authorization", BASIC)];
            headers.extend(uri.map(|uri| (URI, uri)));
            let response = forward_auth(&server.app, &query, &headers).await;
            assert_eq!(response.status, status, "{query} {uri:?}");
        }
        // With any permission, a `db` that could be read in two ways is refused. So is a permission in
        // the client's query, which a proxy may pass on.
        for uri in [
            "/write?db=telemetry&db=events",
            "/write?db=telemetry&check=none",
            "/write?db=telemetry&%63heck",
            "/write?db=telemetry&permission=write:buckets",
        ] {
            let headers = [("Authorization", BASIC), (URI, uri)];
            assert_eq!(
                forward_auth(&server.app, &query, &headers).await.status,
                403,
                "{query} {uri}"
            );
        }
    }
}

/// [FWD-7] [LOGIN-1]
#[tokio::test]
async fn every_form_of_credentials_counts() {
    let (server, _) = server().await;
    let operator = format!("Token {}", server.operator);
    let bearer = format!("bearer {}", server.operator);
    let uri = format!("/write?db=telemetry&{U_P}");
    let encoded = "/write?db=telemetry&%75=telegraf&p=telegraf%2Dpassword";
    for (uri, authorization, known) in [
        ("/write?db=telemetry", Some(BASIC), true),
        ("/write?db=telemetry", Some("Token telegraf:telegraf-password"), true),
        ("/write?db=telemetry", Some(operator.as_str()), true),
        (&uri, None, true),
        (encoded, None, true),
        // They win over the header.
        (&uri, Some("Token nope"), true),
        ("/write?db=telemetry&u=telegraf&p=wrong", Some(BASIC), false),
        ("/write?db=telemetry&u=telegraf&p=", Some(BASIC), true),
        ("/write?db=telemetry&U=telegraf&P=telegraf-password", None, false),
        ("/write?db=telemetry", None, false),
        ("/write?db=telemetry", Some("Bearer telegraf:telegraf-password"), true),
        ("/write?db=telemetry", Some("token telegraf:telegraf-password"), true),
        ("/write?db=telemetry", Some(bearer.as_str()), true),
        ("/write?db=telemetry", Some("Bearer x"), false),
        ("/write?db=telemetry", Some("Basic !"), false),
        ("/write?db=telemetry", Some("Token telegraf:wrong"), false),
        ("/write?db=telemetry", Some("Token nope"), false),
        // Another parser could take the other one.
        (&format!("{uri}&u=telegraf"), None, false),
        (&format!("{uri}&%75=ada"), None, false),
        (&format!("{uri}&p=telegraf-password"), None, false),
        (&format!("{uri}&p"), None, false),
        (&format!("{uri}&p=%zz"), Some(BASIC), false),
        ("/write?db=telemetry&u=%zz", Some(BASIC), false),
        (&format!("{uri};u=ada"), None, false),
        (&format!("{uri}&x=1;u=ada"), Some(BASIC), false),
    ] {
        let mut headers = vec![(URI, uri)];
        headers.extend(authorization.map(|value| ("Authorization", value)));
        let response = forward_auth(&server.app, "", &headers).await;
        assert_eq!(response.status, if known { 204 } else { 401 }, "{uri} {authorization:?}");
        assert_eq!(
            response.header("www-authenticate").is_some(),
            !known,
            "{uri} {authorization:?}"
        );
    }
    // They are read from the original request, not from the proxy's.
    let response =
        forward_auth(&server.app, &format!("?check=none&{U_P}"), &[(URI, "/write")]).await;
    assert_no_identity(&response, "unauthorized access");
    let response = forward_auth(&server.app, "?check=none", &[("Authorization", BASIC); 2]).await;
    assert_no_identity(&response, "unauthorized access");
    let response = forward_auth(&server.app, "", &[(URI, "/write?u=telegraf&p=wrong")]).await;
    assert_no_identity(&response, "Unauthorized");
}

/// [FWD-7]
#[tokio::test]
async fn the_original_uri_is_read_from_one_header() {
    let (server, _) = server().await;
    let uri = "/write?db=telemetry";
    let known = ("Authorization", BASIC);
    for other in ["X-Forwarded-Uri", "X-Original-URL", "X-Rewrite-URL", "Referer", "Forwarded"] {
        assert_eq!(
            forward_auth(&server.app, "", &[known, (other, uri)]).await.status,
            403,
            "{other}"
        );
        let headers = [known, (URI, "/query"), (other, uri)];
        assert_eq!(forward_auth(&server.app, "", &headers).await.status, 403, "{other}");
    }
    // Two lines of the header are ambiguous.
    assert_no_identity(
        &forward_auth(&server.app, "", &[known, (URI, uri), (URI, uri)]).await,
        "unauthorized access",
    );
    for unreadable in [
        "",
        "write?db=telemetry",
        "http:/write?db=telemetry",
        "http:///write?db=telemetry",
        "http://db?db=telemetry",
        "http://u:p@db/write?db=telemetry",
        "ftp://db/write?db=telemetry",
        "x:/write?db=telemetry",
        "*",
        "/write?db=telemetry#x",
        "/write?x=#&db=telemetry",
        "/write ?db=telemetry",
        "/write?db=telemetry;db=events",
        "/write?db=a\tb",
        "/write?db=telemetryä",
    ] {
        for query in ["", "?check=none"] {
            let headers = [known, (URI, unreadable)];
            assert_no_identity(
                &forward_auth(&server.app, query, &headers).await,
                "unauthorized access",
            );
        }
    }

    let uri_header = HeaderName::from_static("x-forwarded-uri");
    let config = ForwardAuthConfig::new().uri_header(uri_header);
    let app = ServerApi::new(server.engine.clone()).forward_auth(config).into_router();
    assert_eq!(forward_auth(&app, "", &[known, ("X-Forwarded-Uri", uri)]).await.status, 204);
    assert_eq!(forward_auth(&app, "", &[known, (URI, uri)]).await.status, 403);
    assert_eq!(
        forward_auth(&app, "", &[known, ("X-Forwarded-Uri", "/query"), (URI, uri)]).await.status,
        403
    );
}

/// [HTTP-2]
#[tokio::test]
async fn every_method_has_the_same_response_with_and_without_a_slash() {
    let (server, _) = server().await;
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        for path in ["/forward-auth", "/forward-auth/"] {
            for (uri, status) in [("/write?db=telemetry", 204), ("/query", 403)] {
                let request = Request::builder().method(method).uri(path);
                let request = request.header(URI, uri).header("Authorization", BASIC);
                let response = server.send(request.body(Body::from("a body")).unwrap()).await;
                assert_eq!(response.status, status, "{method} {path}");
            }
            let request = Request::builder().method(method).uri(path).header(URI, "/write");
            let response = server.send(request.body(Body::from("a body")).unwrap()).await;
            assert_eq!(response.status, 401, "{method} {path}");
        }
    }
}

/// [FWD-6]
#[tokio::test]
async fn the_identity_is_in_204_and_403() {
    let (server, _) = server().await;
    let (org, user) = (server.org.id.to_string(), server.user.id.to_string());
    for username in
        ["plain-._~", "ä b", "a\r\nX-Portcullis-User: 0", "\u{0}\u{7f}\u{202e}", "a:b/%"]
    {
        let id = server.authorization(username).await.id;
        server.engine.set_password(id, "some-password").await.unwrap();
        let encoded = utf8_percent_encode(username, NON_ALPHANUMERIC);
        for (db, status) in [("telemetry", 204), ("events", 403)] {
            let uri = format!("/write?u={encoded}&p=some-password&db={db}");
            let response = forward_auth(&server.app, "", &[(URI, &uri)]).await;
            assert_eq!(response.status, status);
            let id = id.to_string();
            let shown = identity(&response);
            assert_eq!(shown[..3], [Some(id.as_str()), Some(&org), Some(&user)]);
            let shown = shown[3].unwrap();
            let decoded = percent_encoding::percent_decode_str(shown).decode_utf8().unwrap();
            assert_eq!(decoded, username);
            assert!(shown.bytes().all(|byte| byte.is_ascii_graphic()), "{shown}");
        }
    }

    // Too long for the head of a response.
    let long = "ä".repeat(400);
    let id = server.authorization(&long).await.id;
    server.engine.set_password(id, "some-password").await.unwrap();
    let uri = format!("/write?u={}&p=some-password", utf8_percent_encode(&long, NON_ALPHANUMERIC));
    let response = forward_auth(&server.app, "?check=none", &[(URI, &uri)]).await;
    assert_eq!((response.status.as_u16(), identity(&response)[3]), (204, Some("")));

    // Of an API token its id, and no username.
    let token = server.token(vec![]).await;
    let authorization = format!("Token {token}");
    for (query, status) in [("?check=none", 204), ("?permission=read:buckets", 403)] {
        let response = forward_auth(&server.app, query, &[("Authorization", &authorization)]).await;
        assert_eq!(response.status, status);
        let shown = identity(&response);
        assert_eq!(shown[0].unwrap().len(), 16);
        assert_eq!(shown[1..], [Some(org.as_str()), Some(&user), Some("")]);
    }
}

#[tokio::test]
async fn a_change_of_status_takes_effect_at_once() {
    let (server, _) = server().await;
    let headers = [("Authorization", BASIC), (URI, "/write?db=telemetry")];
    assert_eq!(forward_auth(&server.app, "", &headers).await.status, 204);
    server.engine.set_user_status(server.user.id, Status::Inactive).await.unwrap();
    assert_no_identity(&forward_auth(&server.app, "", &headers).await, "Unauthorized");
}

/// [FWD-1] [LOGIN-9]
#[tokio::test]
async fn a_failure_is_503_with_retry_after_without_an_identity_and_never_a_grant() {
    let (server, _) = server().await;
    server.store.close().await.unwrap();
    for query in ["", "?check=none", "?permission=write:buckets"] {
        let headers = [("Authorization", BASIC), (URI, "/write?db=telemetry")];
        let response = forward_auth(&server.app, query, &headers).await;
        let message = "the service is unavailable, try again later";
        response.assert_error(503, "unavailable", message);
        assert_eq!(response.header("retry-after"), Some("5"));
        assert_eq!(response.header("www-authenticate"), None);
        assert_eq!(identity(&response), [None; 4]);
    }
}

/// [FWD-1]
#[tokio::test]
async fn a_panic_is_503_with_retry_after() {
    let (server, _) = server().await;
    let known = StaticDirectory::new().with_user(server.user.clone()).with_org(server.org.clone());
    let directory = HookedDirectory(move |method: &str| match method {
        "bucket_by_name" => panic!("s3cret detail"),
        _ => Ok(known.clone()),
    });
    let store = Arc::clone(&server.store);
    let engine = Engine::builder(store).directory(directory).build().await.unwrap();
    let app = ForwardAuth::new(engine).into_router();
    let response =
        forward_auth(&app, "", &[("Authorization", BASIC), (URI, "/write?db=telemetry")]).await;
    response.assert_error(503, "unavailable", "an internal error has occurred");
    assert_eq!(response.header("retry-after"), Some("5"));
    assert_eq!(identity(&response), [None; 4]);
}

#[tokio::test]
async fn a_host_serves_forward_auth_beside_its_own_routes() {
    let (server, _) = server().await;
    let app = Router::new()
        .fallback(async || "the host's")
        .merge(ForwardAuth::new(server.engine.clone()).into_router());
    let headers = [("Authorization", BASIC), (URI, "/write?db=telemetry")];
    assert_eq!(forward_auth(&app, "", &headers).await.status, 204);
    assert_eq!(forward_auth(&app, "/x", &headers).await.text, "the host's");
}

/// Headers that a client sends and that must decide nothing.
const SPOOFED: &[(&str, &str)] = &[
    ("X-Forwarded-Uri", "/write?db=telemetry&u=telegraf&p=telegraf-password"),
    ("X-Original-URL", "/write?db=telemetry"),
    ("X-Original-Method", "POST"),
    ("X-Forwarded-Method", "POST"),
    ("X-Forwarded-For", "127.0.0.1"),
    ("X-Real-IP", "127.0.0.1"),
    ("Forwarded", "for=127.0.0.1"),
    ("X-HTTP-Method-Override", "POST"),
    ("X-Portcullis-Authorization", "0000000000000001"),
    ("X-Portcullis-Org", "0000000000000001"),
    ("X-Portcullis-User", "0000000000000001"),
    ("X-Portcullis-Username", "telegraf"),
    ("Proxy-Authorization", BASIC),
    ("Cookie", "session=1"),
    ("Content-Type", "application/x-www-form-urlencoded"),
];

fn part() -> impl Strategy<Value = String> {
    let known = [
        "/write",
        "?",
        "&",
        "=",
        ";",
        "%",
        "%64b",
        "db=telemetry",
        "db=events",
        "u=telegraf",
        "p=telegraf-password",
        "permission=",
        "check=none",
        "write:buckets",
        "#",
        "/forward-auth",
        "Basic dGVsZWdyYWY6dGVsZWdyYWYtcGFzc3dvcmQ=",
        "Token telegraf:telegraf-password",
        "Token x",
    ];
    prop_oneof![
        4 => prop::sample::select(known.to_vec()).prop_map(str::to_owned),
        1 => "[ -~äé]{0,6}",
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(part(), 0..6).prop_map(|parts| parts.concat())
}

/// [FWD-1] [FWD-3]
#[test]
fn only_four_statuses_occur_and_no_spoofed_header_changes_the_decision() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (server, _) = runtime.block_on(server());
    let statuses = std::cell::RefCell::new(std::collections::BTreeSet::new());
    // Each part is good, or anything.
    let query = prop_oneof![Just(String::new()), text()];
    let lines =
        |good: &str| prop_oneof![Just(vec![good.to_owned()]), prop::collection::vec(text(), 0..3)];
    let parts = ("[A-Z]{1,7}", query, lines("/write?db=telemetry"), lines(BASIC));
    let spoofed = prop::collection::vec(prop::sample::select(SPOOFED.to_vec()), 0..4);
    proptest!(|(
        (method, query, uris, authorizations) in parts,
        spoofed in spoofed,
    )| {
        let build = |spoofed: &[(&str, &str)]| {
            let mut request = Request::builder().method(method.as_str());
            request = request.uri(format!("/forward-auth?{query}"));
            for uri in &uris {
                request = request.header(URI, uri.as_bytes());
            }
            for authorization in &authorizations {
                request = request.header("Authorization", authorization.as_bytes());
            }
            for (name, value) in spoofed {
                request = request.header(*name, *value);
            }
            request.body(Body::empty())
        };
        let Ok(request) = build(&[]) else { return Ok(()) };
        let plain = runtime.block_on(server.send(request));
        prop_assert!([204, 401, 403, 429].contains(&plain.status.as_u16()), "{}", plain.status);
        let response = runtime.block_on(server.send(build(&spoofed).unwrap()));
        prop_assert_eq!(plain.status, response.status);
        prop_assert_eq!(plain.headers, response.headers);
        statuses.borrow_mut().insert(plain.status.as_u16());
    });
    assert_eq!(statuses.into_inner().into_iter().collect::<Vec<_>>(), [204, 401, 403]);
}
