//! Pages of lookups, as clients of the v2 API request them.

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use portcullis::{ApiTokenId, presets};
use portcullis_http::ManagementApi;
use serde_json::Value;
use tower::ServiceExt;

use crate::support::{Response, Server, name};

/// Another operator's token, and its id.
async fn token(server: &Server) -> (String, ApiTokenId) {
    let all = async || {
        let tokens = server.engine.list_api_tokens(None, 100.try_into().unwrap()).await.unwrap();
        tokens.into_iter().map(|token| token.id).collect::<Vec<_>>()
    };
    let before = all().await;
    let secret = server.token(presets::operator()).await;
    let id = all().await.into_iter().find(|id| !before.contains(id)).unwrap();
    (secret, id)
}

/// Forty-six buckets, the numbers of which are in their names.
async fn server() -> Server {
    let server = Server::new().await;
    for number in 1..46 {
        let name = name(&format!("bucket-{number:02}"));
        server.engine.create_bucket(server.org.id, name).await.unwrap();
    }
    server
}

fn names(response: &Response, list: &str) -> Vec<String> {
    assert_eq!(response.status, 200, "{}", response.text);
    let json = response.json();
    let items = json[list].as_array().unwrap().iter();
    items.map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

fn link(response: &Response, name: &str) -> Option<String> {
    response.json()["links"][name].as_str().map(str::to_owned)
}

/// Follows a link as far as it leads.
async fn follow(server: &Server, first: &str, which: &str, list: &str) -> Vec<Vec<String>> {
    let (mut pages, mut next) = (Vec::new(), Some(first.to_owned()));
    while let Some(uri) = next {
        let response = server.get(&uri).await;
        pages.push(names(&response, list));
        next = link(&response, which);
        assert!(pages.len() < 100, "it never ends");
    }
    pages
}

/// [LOOKUP-3]
#[tokio::test]
async fn pages_are_followed_by_offset_by_id_and_backwards() {
    let server = server().await;
    let all: Vec<String> =
        follow(&server, "/api/v2/buckets?limit=100", "next", "buckets").await.concat();
    assert_eq!(all.len(), 46);
    let reversed: Vec<String> = all.iter().rev().cloned().collect();
    let id_of = |response: &Response, at: usize| {
        response.json()["buckets"][at]["id"].as_str().unwrap().to_owned()
    };
    let whole = server.get("/api/v2/buckets?limit=100").await;
    let (first, last) = (id_of(&whole, 0), id_of(&whole, 45));
    for (uri, expected) in [
        ("/api/v2/buckets".to_owned(), &all[..]),
        ("/api/v2/buckets?limit=10".to_owned(), &all[..]),
        ("/api/v2/buckets?limit=10&offset=5".to_owned(), &all[5..]),
        ("/api/v2/buckets?limit=23".to_owned(), &all[..]),
        ("/api/v2/buckets?limit=1&offset=40".to_owned(), &all[40..]),
        (format!("/api/v2/buckets?limit=10&after={first}"), &all[1..]),
        (format!("/api/v2/buckets?limit=100&after={last}"), &all[46..]),
        ("/api/v2/buckets?limit=10&descending=true".to_owned(), &reversed[..]),
        ("/api/v2/buckets?descending=True&limit=7&offset=3".to_owned(), &reversed[3..]),
        (format!("/api/v2/buckets?limit=10&descending=true&after={last}"), &reversed[1..]),
        (format!("/api/v2/buckets?limit=10&descending=true&after={first}"), &reversed[46..]),
        ("/api/v2/buckets?offset=46".to_owned(), &all[46..]),
        ("/api/v2/buckets?offset=4294967295&descending=true".to_owned(), &all[46..]),
    ] {
        let pages = follow(&server, &uri, "next", "buckets").await;
        assert_eq!(pages.concat(), expected, "{uri}");
    }
    let pages = follow(&server, "/api/v2/buckets?limit=10&offset=40", "prev", "buckets").await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [6, 10, 10, 10, 10]);
}

/// What `influx bucket list` does: pages of 20 until one is shorter.
/// [LOOKUP-3]
#[tokio::test]
async fn a_loop_over_limit_and_offset_ends() {
    let server = server().await;
    let (mut found, mut offset) = (Vec::new(), 0);
    loop {
        let uri = format!("/api/v2/buckets?limit=20&offset={offset}&org=acme");
        let page = names(&server.get(&uri).await, "buckets");
        let length = page.len();
        found.extend(page);
        offset += length;
        if length < 20 {
            break;
        }
    }
    assert_eq!(found.len(), 46);
}

/// [LOOKUP-3] [LOOKUP-6]
#[tokio::test]
async fn a_page_shows_and_counts_only_what_may_be_read_and_links_keep_every_filter() {
    let server = server().await;
    let other = server.engine.create_org(name("other & co")).await.unwrap();
    for number in 0..25 {
        server.engine.create_bucket(other.id, name(&format!("other-{number}"))).await.unwrap();
        server.engine.create_user(name(&format!("user-{number}"))).await.unwrap();
        server.engine.create_org(name(&format!("org-{number}"))).await.unwrap();
    }
    for (uri, list, count) in [
        ("/api/v2/buckets?org=other%20%26%20co&limit=10".to_owned(), "buckets", 25),
        (format!("/api/v2/buckets?orgID={}&limit=10", other.id), "buckets", 25),
        ("/api/v2/buckets?org=acme&limit=10&descending=1".to_owned(), "buckets", 46),
        ("/api/v2/users?limit=10".to_owned(), "users", 26),
        ("/api/v2/orgs?limit=10&descending=true".to_owned(), "orgs", 27),
    ] {
        let pages = follow(&server, &uri, "next", list).await;
        assert_eq!(pages.concat().len(), count, "{uri}");
        let this = link(&server.get(&uri).await, "self").unwrap();
        let same = server.get(&this).await;
        assert_eq!(names(&same, list), pages[0], "{this}");
        assert_eq!(link(&same, "self"), Some(this));
    }
    let caller = server.token(presets::member_of_org(other.id)).await;
    let response = server.call_as(&caller, "GET", "/api/v2/buckets?limit=10&offset=20", "").await;
    assert_eq!(names(&response, "buckets").len(), 5);
    assert_eq!(link(&response, "next"), None);
}

/// [LOOKUP-4]
#[tokio::test]
async fn unknown_and_contradictory_parameters_are_refused() {
    let server = server().await;
    let id = server.bucket.id;
    for (query, message) in [
        ("limit=0", "`limit` must be between 1 and 100"),
        ("limit=101", "`limit` must be between 1 and 100"),
        ("limit=ten", "`limit` must be between 1 and 100"),
        ("offset=-1", "`offset` must be a number from 0 to 4294967295, not `-1`"),
        ("offset=x", "`offset` must be a number from 0 to 4294967295, not `x`"),
        ("offset=4294967296", "`offset` must be a number from 0 to 4294967295, not `4294967296`"),
        ("after=x", "id must have a length of 16 bytes"),
        ("descending=yes", "`descending` must be true or false"),
        (
            &*format!("offset=1&after={id}"),
            "`offset` and `after` both say where the page begins: leave one out",
        ),
        ("limit=%zz", "`limit` cannot be read: encode it for a URL"),
        ("limit=5&limit=6", "`limit` is given twice: give it once"),
    ] {
        for path in ["/api/v2/orgs", "/api/v2/users", "/api/v2/buckets"] {
            let response = server.get(&format!("{path}?{query}")).await;
            response.assert_error(400, "invalid", message);
        }
    }
    for (uri, known) in [
        ("/api/v2/orgs?userID=1", "`org`, `orgID`, `limit`, `offset`, `after`, `descending`"),
        ("/api/v2/users?org=x", "`name`, `id`, `limit`, `offset`, `after`, `descending`"),
        ("/api/v2/buckets?Limit=1", "`name`, `id`, `org`, `orgID`, `limit`, `offset`"),
    ] {
        let response = server.get(uri).await;
        assert_eq!(response.status, 400, "{uri}");
        assert!(response.text.contains(known), "{}", response.text);
    }
}

/// Callers whose credential is this one.
#[derive(Debug)]
struct Fixed(portcullis::Principal);

#[async_trait::async_trait]
impl portcullis_http::Callers for Fixed {
    async fn caller(
        &self,
        _: &http::request::Parts,
    ) -> Result<portcullis::Principal, portcullis::Error> {
        Ok(self.0.clone())
    }
}

#[tokio::test]
async fn defaults_that_generated_clients_send_have_no_effect() {
    let server = server().await;
    for query in [
        "buckets?offset=0&name=telemetry".to_owned(),
        format!("buckets?offset=0&limit=20&after={}", server.org.id),
        "orgs?descending=False&offset=0".to_owned(),
        "users?limit=&offset=&name=&after=".to_owned(),
    ] {
        assert_eq!(server.get(&format!("/api/v2/{query}")).await.status, 200, "{query}");
    }
}

/// What is left out from then on would be missing from a list that looks whole.
/// [LIST-9]
#[tokio::test]
async fn a_list_breaks_off_when_its_callers_permissions_are_changed() {
    let server = Server::new().await;
    for number in 0..3_000 {
        server.authorization(&format!("telegraf-{number}")).await;
    }
    let reads = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
    let (engine, id) = (&server.engine, server.authorization("reader").await.id);
    engine.set_permissions(id, reads(&["read:authorizations", "read:users"])).await.unwrap();
    engine.set_password(id, "long-enough").await.unwrap();
    let credentials = portcullis::Credentials::password("reader", "long-enough");
    let caller = engine.authenticate(credentials).await.unwrap();
    let app = ManagementApi::new(engine.clone()).callers(Fixed(caller)).into_router();
    for is_changed in [false, true] {
        let request = Request::get("/private/legacy/authorizations").body(Body::empty()).unwrap();
        let mut body = app.clone().oneshot(request).await.unwrap().into_body();
        body.frame().await.unwrap().unwrap();
        if is_changed {
            engine.set_permissions(id, reads(&["read:authorizations"])).await.unwrap();
        }
        let ended = loop {
            match body.frame().await {
                Some(Ok(_)) => {}
                Some(Err(_)) => break false,
                None => break true,
            }
        };
        assert_eq!(ended, !is_changed);
    }
}

/// A list that is streamed breaks off once its caller is revoked: what was sent is never presented as
/// the whole.
/// [LIST-9]
#[tokio::test]
async fn a_list_ends_with_its_callers_token() {
    let server = Server::new().await;
    for number in 0..3_000 {
        server.authorization(&format!("telegraf-{number}")).await;
    }
    let (stays, _) = token(&server).await;
    let (revoked, revoked_id) = token(&server).await;
    let mut lengths = Vec::new();
    for token in [&stays, &revoked] {
        let request = Request::get("/private/legacy/authorizations");
        let request = request.header("Authorization", format!("Token {token}"));
        let request = request.body(Body::empty()).unwrap();
        let response = server.app.clone().oneshot(request).await.unwrap();
        let mut body = response.into_body();
        let mut text = body.frame().await.unwrap().unwrap().into_data().unwrap().to_vec();
        if token == &revoked {
            server.engine.revoke_api_token(revoked_id).await.unwrap();
        }
        let ended = loop {
            match body.frame().await {
                Some(Ok(frame)) => text.extend_from_slice(&frame.into_data().unwrap()),
                Some(Err(_)) => break false,
                None => break true,
            }
        };
        assert_eq!(ended, token == &stays);
        assert_eq!(serde_json::from_slice::<Value>(&text).is_ok(), token == &stays);
        lengths.push(text.len());
    }
    assert!(lengths[1] < lengths[0] / 2, "{lengths:?}");
}

/// A body that is sent after its answer.
/// [HTTP-6]
#[tokio::test]
async fn a_caller_whose_token_is_inactive_is_refused_before_its_body() {
    let server = Server::new().await;
    let (secret, id) = token(&server).await;
    server.engine.set_api_token_status(id, portcullis::Status::Inactive).await.unwrap();
    let uri = format!("/private/legacy/authorizations/{}", server.authorization("x").await.id);
    for (method, uri) in [
        ("POST", "/private/legacy/authorizations".to_owned()),
        ("PATCH", uri.clone()),
        ("POST", format!("{uri}/password")),
        ("PUT", format!("{uri}/permissions")),
    ] {
        let never =
            Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
        let request = Request::builder().method(method).uri(&uri);
        let request = request.header("Authorization", format!("Token {secret}"));
        let response = server.send(request.body(never).unwrap()).await;
        response.assert_error(401, "unauthorized", "token is inactive");
    }
}
