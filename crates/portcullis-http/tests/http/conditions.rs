//! `ETag`, `If-Match` and `If-None-Match`.

use axum::body::Body;
use http::Request;
use portcullis::{Permission, Resource};
use portcullis_http::ManagementApi;
use portcullis_testkit::world::builder;
use serde_json::{Value, json};

use crate::support::{PREFIX, Response, Server, send};

/// A tag of no record.
const OTHER: &str = "\"00000000000000000000000000000001\"";

/// A kind of record: where it is created and with what, and a change of it.
struct Kind {
    path: &'static str,
    new: Value,
    change: Value,
    /// What `PATCH`, `GET` and `DELETE` need in the query.
    query: String,
    /// Whether its name is unique.
    has_name: bool,
}

fn kinds(server: &Server) -> [Kind; 6] {
    let org = server.org.id.to_string();
    let kind = |path, new: Value, change: Value| {
        let (query, has_name) = (String::new(), true);
        Kind { path, new, change, query, has_name }
    };
    let mut token = server.draft("ignored");
    token.as_object_mut().unwrap().remove("token");
    [
        kind(PREFIX, server.draft("telegraf"), json!({"description": "changed"})),
        Kind {
            has_name: false,
            ..kind("/api/v2/authorizations", token, json!({"description": "changed"}))
        },
        kind("/api/v2/orgs", json!({"name": "other"}), json!({"status": "inactive"})),
        kind("/api/v2/users", json!({"name": "other"}), json!({"status": "inactive"})),
        kind("/api/v2/buckets", json!({"name": "other", "orgID": org}), json!({"name": "renamed"})),
        Kind {
            query: format!("?orgID={org}"),
            ..kind(
                "/api/v2/dbrps",
                json!({"database": "db", "retention_policy": "rp", "orgID": org,
                       "bucketID": server.bucket.id.to_string()}),
                json!({"retention_policy": "other"}),
            )
        },
    ]
}

async fn call(
    server: &Server,
    (method, uri): (&str, &str),
    headers: &[(&str, &str)],
    body: &Value,
) -> Response {
    let request = Request::builder().method(method).uri(uri);
    let request = request.header("Authorization", format!("Token {}", server.operator));
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let body = if body.is_null() { String::new() } else { body.to_string() };
    server.send(request.body(Body::from(body)).unwrap()).await
}

fn tag(response: &Response) -> String {
    let tag = response.header("etag").unwrap_or_else(|| panic!("no tag: {}", response.text));
    let digits = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap();
    assert_eq!(digits.len(), 32, "{tag}");
    assert!(digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{tag}");
    tag.to_owned()
}

#[track_caller]
fn assert_changed_meanwhile(response: &Response, current: &str) {
    response.assert_error(
        412,
        "precondition failed",
        "the record has another revision than expected: it was changed meanwhile",
    );
    assert_eq!(response.header("etag"), Some(current));
}

/// [ETAG-1] [ETAG-3] [ETAG-4]
#[tokio::test]
async fn a_record_is_changed_and_deleted_only_as_it_was_read() {
    let server = Server::new().await;
    for Kind { path, new, change, query, .. } in kinds(&server) {
        let created = call(&server, ("POST", path), &[], &new).await;
        assert_eq!(created.status, 201, "{path}: {}", created.text);
        let first = tag(&created);
        let item = format!("{path}/{}{query}", created.json()["id"].as_str().unwrap());
        let item = item.as_str();
        let get = async |headers: &[(&str, &str)]| {
            call(&server, ("GET", item), headers, &Value::Null).await
        };
        assert_eq!(tag(&get(&[]).await), first, "{path}");
        assert_eq!(tag(&call(&server, ("HEAD", item), &[], &Value::Null).await), first);
        // A client that has it does not receive it again.
        let weak = format!("{OTHER}, W/{first}");
        for held in [first.as_str(), weak.as_str(), "*"] {
            let response = get(&[("If-None-Match", held)]).await;
            assert_eq!((response.status.as_u16(), response.text.as_str()), (304, ""), "{path}");
            assert_eq!(tag(&response), first);
        }
        assert_eq!(get(&[("If-None-Match", OTHER)]).await.status, 200);

        let patch =
            async |tags: &str| call(&server, ("PATCH", item), &[("If-Match", tags)], &change).await;
        let of_no_record = format!("W/{first}, {OTHER}");
        for tags in [OTHER, of_no_record.as_str(), "\"5-a\"", ""] {
            assert_changed_meanwhile(&patch(tags).await, &first);
        }
        let changed = patch(&format!("{OTHER},{first}")).await;
        assert_eq!(changed.status, 200, "{path}: {}", changed.text);
        let second = tag(&changed);
        assert_ne!(first, second, "{path}");
        assert_changed_meanwhile(&patch(&first).await, &second);
        assert_eq!(tag(&get(&[("If-None-Match", &first)]).await), second);
        let third = patch("*").await;
        assert_eq!(third.status, 200, "{path}: {}", third.text);
        let third = tag(&third);

        let delete = async |tags: &str| {
            call(&server, ("DELETE", item), &[("If-Match", tags)], &Value::Null).await
        };
        assert_changed_meanwhile(&delete(&second).await, &third);
        assert_eq!(get(&[]).await.status, 200, "{path}");
        let deleted = delete(&third).await;
        assert_eq!((deleted.status.as_u16(), deleted.header("etag")), (204, None), "{path}");
        // What does not exist is 404 whatever the condition is.
        assert_eq!(delete("*").await.status, 404, "{path}");
        assert_eq!(delete(OTHER).await.status, 404, "{path}");
    }
}

/// [ETAG-3]
#[tokio::test]
async fn passwords_and_permissions_are_changed_under_the_same_condition() {
    let server = Server::new().await;
    let id = server.credential("telegraf").await.id;
    let item = format!("{PREFIX}/{id}");
    let read = async || tag(&call(&server, ("GET", &item), &[], &Value::Null).await);
    let first = read().await;
    let permissions = json!({"permissions": server.draft("ignored")["permissions"]});
    let changes = [
        ("POST", format!("{item}/password"), json!({"password": "another-password"})),
        ("PUT", format!("{item}/permissions"), permissions),
    ];
    for (method, uri, body) in &changes {
        let refused = call(&server, (method, uri), &[("If-Match", OTHER)], body).await;
        assert_changed_meanwhile(&refused, &first);
    }
    assert!(server.login("telegraf", "telegraf-password").await.is_ok());
    for (method, uri, body) in &changes {
        let before = read().await;
        let made = call(&server, (method, uri), &[("If-Match", &before)], body).await;
        assert!(made.status.is_success(), "{}", made.text);
        assert_ne!(read().await, before);
    }
    assert!(server.login("telegraf", "another-password").await.is_ok());
    assert!(server.login("telegraf", "telegraf-password").await.is_err());
}

/// [ETAG-7]
#[tokio::test]
async fn a_taken_name_is_412_for_a_client_that_requires_a_free_one() {
    let server = Server::new().await;
    for Kind { path, new, has_name, .. } in kinds(&server) {
        let create =
            async |headers: &[(&str, &str)]| call(&server, ("POST", path), headers, &new).await;
        assert_eq!(create(&[("If-None-Match", "*")]).await.status, 201, "{path}");
        let again = create(&[("If-None-Match", "*")]).await;
        if !has_name {
            assert_eq!(again.status, 201, "{path}");
            continue;
        }
        let without = create(&[]).await;
        assert_eq!((without.status.as_u16(), again.status.as_u16()), (422, 412), "{path}");
        assert_eq!(without.json()["message"], again.json()["message"], "{path}");
        assert_eq!(again.json()["code"], "precondition failed");
        // The caller may not know more of the record that has the name.
        assert_eq!(again.header("etag"), None, "{path}");
        assert_eq!(create(&[("If-None-Match", OTHER)]).await.status, 422, "{path}");
    }
}

/// [ETAG-5]
#[tokio::test]
async fn every_other_refusal_comes_before_the_condition() {
    let server = Server::new().await;
    let id = server.authorization("telegraf").await.id;
    let item = format!("{PREFIX}/{id}");
    let password = format!("{item}/password");
    let reader = server.token(vec![Permission::read(Resource::org(server.org.id))]).await;
    let send = async |token: &str, (method, uri): (&str, &str), body: &str| {
        let request = Request::builder().method(method).uri(uri).header("If-Match", OTHER);
        let request = request.header("Authorization", format!("Token {token}"));
        server.send(request.body(Body::from(body.to_owned())).unwrap()).await.status.as_u16()
    };
    let operator = server.operator.as_str();
    for (token, request, body, status) in [
        ("wrong", ("PATCH", item.as_str()), "{}", 401),
        (&reader, ("PATCH", &item), "{}", 401),
        (&reader, ("DELETE", &item), "", 401),
        (&reader, ("POST", &password), r#"{"password": "another-password"}"#, 401),
        (operator, ("PATCH", &item), "[", 400),
        (operator, ("PATCH", &item), r#"{"status": "asleep"}"#, 400),
        (operator, ("POST", &password), r#"{"password": "short"}"#, 400),
        (operator, ("DELETE", &format!("{PREFIX}/0000000000000fff")), "", 404),
        (operator, ("PATCH", &item), "{}", 412),
        (operator, ("DELETE", &item), "", 412),
        // A dry run changes nothing.
        (operator, ("DELETE", &format!("{item}?dryRun=true")), "", 200),
    ] {
        assert_eq!(send(token, request, body).await, status, "{request:?} {body}");
    }
}

/// [ETAG-3] [ETAG-4]
#[tokio::test]
async fn a_condition_that_cannot_be_read_is_never_no_condition() {
    let server = Server::new().await;
    let id = server.authorization("telegraf").await.id;
    let item = format!("{PREFIX}/{id}");
    for (method, name, value) in [
        ("PATCH", "If-Match", "1"),
        ("DELETE", "If-Match", "\"1"),
        ("DELETE", "If-Match", "*, \"1\""),
        ("DELETE", "If-None-Match", "*"),
        ("PATCH", "If-None-Match", OTHER),
        ("GET", "If-None-Match", "1"),
    ] {
        let response = call(&server, (method, &item), &[(name, value)], &Value::Null).await;
        assert_eq!(response.status, 400, "{method} {name}: {value}");
        assert_eq!(response.json()["code"], "invalid");
    }
    let password = json!({"password": "another-password"});
    let request = ("POST", &*format!("{item}/password"));
    assert_eq!(call(&server, request, &[("If-None-Match", "*")], &password).await.status, 400);
    assert!(server.engine.authorization(id).await.unwrap().is_some());
}

/// [ETAG-1] [ETAG-2]
#[tokio::test]
async fn lists_and_what_is_no_record_have_no_tag() {
    let server = Server::new().await;
    server.authorization("telegraf").await;
    let org = server.org.id;
    for path in [
        PREFIX.to_owned(),
        "/api/v2/authorizations".to_owned(),
        "/api/v2/orgs".to_owned(),
        "/api/v2/users".to_owned(),
        "/api/v2/buckets".to_owned(),
        format!("/api/v2/dbrps?orgID={org}"),
        // A virtual mapping.
        format!("/api/v2/dbrps/{}?orgID={org}", server.bucket.id),
    ] {
        let response = server.get(&path).await;
        assert_eq!((response.status.as_u16(), response.header("etag")), (200, None), "{path}");
    }
    assert!(server.get("/api/v2/me").await.header("etag").is_some());
    // The users and orgs of a host.
    let directory = portcullis::StaticDirectory::new()
        .with_user(server.user.clone())
        .with_org(server.org.clone());
    let engine = builder(server.store.clone()).directory(directory).build().await.unwrap();
    let app = ManagementApi::new(engine).into_router();
    for path in [format!("/api/v2/orgs/{org}"), format!("/api/v2/users/{}", server.user.id)] {
        let request =
            Request::get(&path).header("Authorization", format!("Token {}", server.operator));
        let request = request.header("If-None-Match", "*").body(Body::empty()).unwrap();
        let response = send(&app, request).await;
        assert_eq!((response.status.as_u16(), response.header("etag")), (200, None), "{path}");
    }
}
