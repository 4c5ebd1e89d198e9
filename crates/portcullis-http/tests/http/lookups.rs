//! The lookups that existing clients need around the six operations.

use portcullis::Permission;

use crate::support::{Server, name};

/// [LOOKUP-1] [LOOKUP-2]
#[tokio::test]
async fn orgs_users_and_buckets_are_found_by_name_and_id() {
    let server = Server::new().await;
    let (org, user, bucket) = (server.org.id, server.user.id, server.bucket.id);
    for (path, list, found) in [
        ("/api/v2/orgs?org=acme".to_owned(), "orgs", org.to_string()),
        (format!("/api/v2/orgs?orgID={org}"), "orgs", org.to_string()),
        ("/api/v2/orgs".to_owned(), "orgs", org.to_string()),
        ("/api/v2/users?name=ada".to_owned(), "users", user.to_string()),
        (format!("/api/v2/users?id={user}"), "users", user.to_string()),
        ("/api/v2/users".to_owned(), "users", user.to_string()),
        ("/api/v2/buckets?name=telemetry".to_owned(), "buckets", bucket.to_string()),
        ("/api/v2/buckets?name=telemetry&org=acme".to_owned(), "buckets", bucket.to_string()),
        (format!("/api/v2/buckets?name=telemetry&orgID={org}"), "buckets", bucket.to_string()),
        (format!("/api/v2/buckets?id={bucket}"), "buckets", bucket.to_string()),
        ("/api/v2/buckets".to_owned(), "buckets", bucket.to_string()),
    ] {
        let response = server.get(&path).await;
        assert_eq!(response.status, 200, "{path}: {}", response.text);
        let found_list = response.json()[list].as_array().unwrap().clone();
        assert_eq!(found_list.len(), 1, "{path}");
        assert_eq!(found_list[0]["id"], found.as_str(), "{path}");
    }
    for (path, expected) in [
        (format!("/api/v2/orgs/{org}"), "acme"),
        (format!("/api/v2/users/{user}"), "ada"),
        (format!("/api/v2/buckets/{bucket}"), "telemetry"),
        ("/api/v2/me".to_owned(), "ada"),
    ] {
        assert_eq!(server.get(&path).await.json()["name"], expected);
    }
}

/// [CALLER-5] [LOOKUP-6] [LOOKUP-7]
#[tokio::test]
async fn a_missing_entity_and_an_unreadable_one_look_alike() {
    let server = Server::new().await;
    let powerless = server.token(vec![]).await;
    let (org, user, bucket) = (server.org.id, server.user.id, server.bucket.id);
    let pairs = [
        ("/api/v2/orgs?org=acme".to_owned(), "/api/v2/orgs?org=nope".to_owned()),
        ("/api/v2/users?name=ada".to_owned(), "/api/v2/users?name=nope".to_owned()),
        ("/api/v2/buckets?name=telemetry".to_owned(), "/api/v2/buckets?name=nope".to_owned()),
        (format!("/api/v2/orgs/{org}"), "/api/v2/orgs/00000000000000ff".to_owned()),
        (format!("/api/v2/users/{user}"), "/api/v2/users/00000000000000ff".to_owned()),
        (format!("/api/v2/buckets/{bucket}"), "/api/v2/buckets/00000000000000ff".to_owned()),
    ];
    for (real, made_up) in pairs {
        let real_answer = server.call_as(&powerless, "GET", &real, "").await;
        let made_up_answer = server.call_as(&powerless, "GET", &made_up, "").await;
        assert!(!real_answer.status.is_success(), "{real}");
        assert_eq!(real_answer.status, made_up_answer.status, "{real}");
        // The same text, except for the name or id in the request.
        let neutral = |text: &str| {
            // Ids first: `ada` may stand in one of them.
            let ids = [org.to_string(), user.to_string(), bucket.to_string()];
            let ids = ids.iter().map(|id| (id.as_str(), "00000000000000ff"));
            let names = ["acme", "ada", "telemetry"].map(|name| (name, "nope"));
            ids.chain(names).fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
        };
        assert_eq!(neutral(&real_answer.text), neutral(&made_up_answer.text));
    }
    for path in ["/api/v2/orgs", "/api/v2/users", "/api/v2/buckets"] {
        let response = server.call_as(&powerless, "GET", path, "").await;
        assert_eq!(response.status, 200);
        let list = path.trim_start_matches("/api/v2/");
        assert_eq!(response.json()[list], serde_json::json!([]));
    }
    assert_eq!(server.call_as(&powerless, "GET", "/api/v2/me", "").await.status, 200);
}

#[tokio::test]
async fn pages_are_full_of_what_may_be_read() {
    let server = Server::new().await;
    let mut readable = Vec::new();
    for i in 0..60 {
        let bucket = server.engine.create_bucket(server.org.id, name(&format!("b{i:02}"))).await;
        let bucket = bucket.unwrap().id;
        if i % 2 == 0 {
            readable.push(bucket);
        }
    }
    readable.sort_unstable();
    let permissions: Vec<Permission> =
        readable.iter().map(|id| format!("read:buckets/{id}").parse().unwrap()).collect();
    let token = server.token(permissions).await;
    let mut found = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/api/v2/buckets?limit=7{after}");
        let page = server.call_as(&token, "GET", &path, "").await.json();
        let ids: Vec<_> = page["buckets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|b| b["id"].as_str().unwrap().to_owned())
            .collect();
        let Some(last) = ids.last() else { break };
        after = format!("&after={last}");
        assert!(ids.len() == 7 || found.len() + ids.len() == 30);
        found.extend(ids);
    }
    let expected: Vec<_> = readable.iter().map(ToString::to_string).collect();
    assert_eq!(found, expected);
    for limit in ["0", "101", "-1", "x"] {
        let response = server.get(&format!("/api/v2/buckets?limit={limit}")).await;
        response.assert_error(400, "invalid", "`limit` must be between 1 and 100");
    }
}
