//! Lists: filters over HTTP, pages, streaming, breaking off.

use std::io::Read;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use portcullis::Status;
use serde_json::Value;
use tower::ServiceExt;

use crate::support::{PREFIX, Server};

fn names(list: &Value) -> Vec<String> {
    let list = list["authorizations"].as_array().unwrap();
    list.iter().map(|a| a["token"].as_str().unwrap().to_owned()).collect()
}

/// [LIST-2] [LIST-10]
#[tokio::test]
async fn status_and_permits_filter_too() {
    let server = Server::new().await;
    server.authorization("one").await;
    let two = server.authorization("two").await;
    let off = portcullis::AuthorizationUpdate::status(Status::Inactive);
    server.engine.update_authorization(two.id, off).await.unwrap();
    let permits = format!("write:orgs/{}/buckets/{}", server.org.id, server.bucket.id);
    for (query, expected) in [
        ("status=inactive".to_owned(), &["two"][..]),
        ("status=active".to_owned(), &["one"]),
        ("status=".to_owned(), &["one", "two"]),
        (format!("permits={permits}"), &["one", "two"]),
        (format!("permits={permits}&status=active&org=acme&user=ada"), &["one"]),
        (format!("permits={}", permits.replace("write:", "read:")), &[]),
        (format!("org=acme&orgID={}", server.org.id), &["one", "two"]),
        ("org=acme&orgID=00000000000000ff".to_owned(), &[]),
        (format!("id={}&authID={}", two.id, two.id), &["two"]),
    ] {
        let response = server.get(&format!("{PREFIX}?{query}")).await;
        assert_eq!(response.status, 200, "{query}: {}", response.text);
        // Both may have been created in the same millisecond, in which ids are random.
        let mut found = names(&response.json());
        found.sort_unstable();
        assert_eq!(found, expected, "{query}");
    }
}

/// [LIST-4]
#[tokio::test]
async fn bad_parameters_are_named() {
    let server = Server::new().await;
    for (query, message) in [
        ("status=Active", "`status` must be active or inactive"),
        ("limit=0", "`limit` must be between 1 and 1000"),
        ("limit=1001", "`limit` must be between 1 and 1000"),
        ("limit=ten", "`limit` must be between 1 and 1000"),
        ("after=1", "id must have a length of 16 bytes"),
        ("token=telegraf;", "`token` cannot be read: encode it for a URL"),
        ("orgID=100%", "`orgID` cannot be read: encode it for a URL"),
        ("token=", "`token` must not be empty: leave it out to list all"),
        (
            "permits=write",
            "`permits`: `write` is not a permission: expected ACTION:TYPE, ACTION:TYPE/ID, ACTION:orgs/ORG/TYPE or ACTION:orgs/ORG/TYPE/ID",
        ),
    ] {
        let response = server.get(&format!("{PREFIX}?{query}")).await;
        response.assert_error(400, "invalid", message);
    }
}

/// [LIST-6]
#[tokio::test]
async fn a_selected_authorization_that_is_not_found_is_404() {
    let server = Server::new().await;
    let id = server.authorization("telegraf").await.id;
    let powerless = server.token(vec![]).await;
    let queries = [
        format!("id={id}&status=inactive"),
        format!("id={id}&authID=00000000000000ff"),
        "token=telegraf&status=inactive".to_owned(),
        format!("token=telegraf&org=acme&orgID={}", server.user.id),
        "token=%ff".to_owned(),
        format!("id={id}&after={id}"),
    ];
    for query in queries {
        let response = server.get(&format!("{PREFIX}?{query}")).await;
        response.assert_error(404, "not found", "authorization not found");
    }
    for query in [format!("id={id}"), "token=telegraf".to_owned()] {
        let response = server.call_as(&powerless, "GET", &format!("{PREFIX}?{query}"), "").await;
        response.assert_error(404, "not found", "authorization not found");
    }
}

/// [LIST-1] [LIST-3]
#[tokio::test]
async fn pages_are_full_and_links_lead_through_all_of_them() {
    let server = Server::new().await;
    for i in 0..25 {
        server.authorization(&format!("name-{i:02}")).await;
    }
    let all = names(&server.get(PREFIX).await.json());
    assert_eq!(all.len(), 25);
    let mut found = Vec::new();
    let mut next =
        Some(format!("{PREFIX}?limit=10&org=acme&permits=write%3Abuckets%2F{}", server.bucket.id));
    let mut sizes = Vec::new();
    while let Some(uri) = next {
        let page = server.get(&uri).await.json();
        assert_eq!(page["links"]["self"], PREFIX);
        next = page["links"]["next"].as_str().map(str::to_owned);
        sizes.push(names(&page).len());
        found.extend(names(&page));
    }
    assert_eq!(found, all);
    assert_eq!(sizes, [10, 10, 5]);
    let whole = server.get(&format!("{PREFIX}?limit=25")).await.json();
    assert_eq!(whole["links"]["next"], Value::Null);
}

/// [AUTH-7] [LIST-7] [DELETE-2]
#[tokio::test]
async fn records_without_user_or_org_are_omitted_and_do_not_shorten_pages() {
    let server = Server::new().await;
    let mut lines = String::new();
    for i in 1..=40_u64 {
        // Every second one belongs to a user that never was.
        let user = if i % 2 == 0 { 0xff } else { server.user.id.as_u64() };
        lines.push_str(&format!(
            "{{\"type\":\"authorization\",\"id\":\"{i:016x}\",\"token\":\"n{i}\",\"orgID\":\"{}\",\"userID\":\"{user:016x}\"}}\n",
            server.org.id
        ));
    }
    let snapshot = portcullis::snapshot::Snapshot::read(lines.as_bytes()).unwrap();
    server.engine.import(snapshot, false).await.unwrap();
    let page = server.get(&format!("{PREFIX}?limit=15")).await.json();
    assert_eq!(names(&page).len(), 15);
    assert!(page["links"]["next"].is_string());
    assert_eq!(names(&server.get(PREFIX).await.json()).len(), 20);
    // These were imported without permissions, and have none.
    assert_eq!(page["authorizations"][0]["permissions"], serde_json::json!([]));
    let gone = server.get(&format!("{PREFIX}/0000000000000002")).await;
    gone.assert_error(404, "not found", "user not found");
    let gone = server.call("PATCH", &format!("{PREFIX}/0000000000000002"), "{}").await;
    gone.assert_error(404, "not found", "user not found");
    let gone = server.call("DELETE", &format!("{PREFIX}/0000000000000002"), "").await;
    assert_eq!(gone.status, 204);
}

/// [LIST-3] [LIST-8]
#[tokio::test]
async fn a_long_list_is_one_document_written_in_parts() {
    let server = Server::new().await;
    for i in 0..1_000 {
        server.authorization(&format!("name-{i}")).await;
    }
    let request =
        Request::get(PREFIX).header("Authorization", format!("Token {}", server.operator));
    let request = request.body(Body::empty()).unwrap();
    let mut body = server.app.clone().oneshot(request).await.unwrap().into_body();
    let (mut text, mut parts) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let part = frame.unwrap().into_data().unwrap();
        assert!(part.len() < 512 * 1024);
        parts += 1;
        text.extend_from_slice(&part);
    }
    assert!(parts >= 4, "{parts}");
    let list: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(names(&list).len(), 1_000);
    assert!(text.ends_with(b"\n\t]\n}\n"));
}

#[tokio::test]
async fn large_records_make_small_parts() {
    let server = Server::new().await;
    let megabyte = portcullis::AuthorizationUpdate::description("d".repeat(1024 * 1024));
    for i in 0..30 {
        let id = server.authorization(&format!("name-{i}")).await.id;
        server.engine.update_authorization(id, megabyte.clone()).await.unwrap();
    }
    let request =
        Request::get(PREFIX).header("Authorization", format!("Token {}", server.operator));
    let request = request.body(Body::empty()).unwrap();
    let mut body = server.app.clone().oneshot(request).await.unwrap().into_body();
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        let part = frame.unwrap().into_data().unwrap();
        assert!(part.len() < 3 * 1024 * 1024, "{}", part.len());
        text.extend_from_slice(&part);
    }
    let list: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(names(&list).len(), 30);
    // A page with `limit` is full all the same.
    let page = server.get(&format!("{PREFIX}?limit=20")).await.json();
    assert_eq!(names(&page).len(), 20);
    assert!(page["links"]["next"].is_string());
}

/// [LIST-8]
#[tokio::test]
async fn a_failure_half_way_breaks_off_the_connection_not_the_document() {
    let server = Server::new().await;
    for i in 0..600 {
        server.authorization(&format!("name-{i}")).await;
    }
    let request =
        Request::get(PREFIX).header("Authorization", format!("Token {}", server.operator));
    let request = request.body(Body::empty()).unwrap();
    let response = server.app.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    assert!(body.frame().await.unwrap().is_ok());
    server.store.close().await.unwrap();
    assert!(body.frame().await.unwrap().is_err());
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn pages_show_unchanged_entities_once_during_changes() {
    let server = Server::new().await;
    let mut stays = Vec::new();
    let mut goes = Vec::new();
    for number in 0..40 {
        let authorization = server.authorization(&format!("agent-{number:02}")).await;
        if number % 4 == 0 { &mut goes } else { &mut stays }.push(authorization);
    }
    let mut seen = Vec::new();
    let mut next = Some(format!("{PREFIX}?limit=3"));
    let mut page = 0;
    while let Some(link) = next {
        let list = server.get(&link).await.json();
        seen.extend(names(&list));
        next = list["links"]["next"].as_str().map(str::to_owned);
        // Between pages: one goes, on whichever side of the cursor it is, also the cursor itself.
        if let Some(gone) = goes.pop() {
            server.engine.delete_authorization(gone.id).await.unwrap();
        }
        server.authorization(&format!("new-{page:02}")).await;
        page += 1;
        assert!(page < 100, "the list does not end");
    }
    let mut once = seen.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), seen.len(), "{seen:?}");
    for authorization in stays {
        let name = authorization.username.as_str();
        assert!(seen.iter().any(|seen| seen == name), "{name}");
    }
}

#[tokio::test]
async fn a_list_is_compressed_if_the_client_accepts_it() {
    let server = Server::new().await;
    for number in 0..300 {
        server.authorization(&format!("agent-{number:03}")).await;
    }
    let request = async |uri: &str, accepted: &str| {
        let request = Request::builder().uri(uri).header("Accept-Encoding", accepted);
        let request = request.header("Authorization", format!("Token {}", server.operator));
        let response = server.app.clone().oneshot(request.body(Body::empty()).unwrap()).await;
        let (parts, body) = response.unwrap().into_parts();
        (parts.headers, body.collect().await.unwrap().to_bytes())
    };
    // One page at once, and a stream.
    for uri in [format!("{PREFIX}?limit=200"), PREFIX.to_owned()] {
        let plain = server.get(&uri).await;
        assert_eq!(plain.header("content-encoding"), None);
        let (headers, packed) = request(&uri, "gzip").await;
        assert_eq!(headers["content-encoding"], "gzip");
        assert_eq!(headers["vary"], "accept-encoding");
        assert_eq!(headers["content-type"], "application/json; charset=utf-8");
        let mut unpacked = String::new();
        flate2::read::GzDecoder::new(&*packed).read_to_string(&mut unpacked).unwrap();
        assert_eq!(unpacked, plain.text);
        assert!(packed.len() < plain.text.len() / 5, "{} of {}", packed.len(), plain.text.len());
        let (headers, body) = request(&uri, "identity, br;q=1").await;
        assert_eq!(headers.get("content-encoding"), None);
        assert_eq!(body, plain.text);
    }
    // What is short is not.
    let (headers, _) = request(&format!("{PREFIX}?token=agent-007"), "gzip").await;
    assert_eq!(headers.get("content-encoding"), None);
}

/// [LIST-11]
#[tokio::test]
async fn has_password_is_shown_only_on_request() {
    let server = Server::new().await;
    let without = server.authorization("without").await;
    let with = server.authorization("with").await;
    server.engine.set_password(with.id, "correct horse").await.unwrap();
    for (id, has_password) in [(without.id, false), (with.id, true)] {
        let path = format!("{PREFIX}/{id}");
        assert_eq!(server.get(&path).await.json().get("hasPassword"), None);
        let off = server.get(&format!("{path}?hasPassword=false")).await;
        assert_eq!(off.json().get("hasPassword"), None);
        let shown = server.get(&format!("{path}?hasPassword=true")).await.json();
        assert_eq!(shown["hasPassword"], has_password);
        for query in [format!("id={id}"), format!("id={id}&hasPassword=true&limit=1")] {
            let list = server.get(&format!("{PREFIX}?{query}")).await.json();
            let expected = query.contains("hasPassword").then_some(Value::Bool(has_password));
            assert_eq!(list["authorizations"][0].get("hasPassword").cloned(), expected);
        }
        let refused = server.get(&format!("{path}?hasPassword=yes")).await;
        refused.assert_error(400, "invalid", "`hasPassword` must be true or false");
    }
    // From the second page on as well.
    let page = server.get(&format!("{PREFIX}?limit=1&hasPassword=true")).await.json();
    let next = server.get(page["links"]["next"].as_str().unwrap()).await.json();
    assert!(next["authorizations"][0]["hasPassword"].is_boolean());
}
