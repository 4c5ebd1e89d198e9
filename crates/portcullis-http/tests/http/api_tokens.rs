//! `/api/v2/authorizations`: API tokens in the shapes of the v2 API.

use serde_json::{Value, json};

use crate::support::{Server, name};

const PATH: &str = "/api/v2/authorizations";

fn tokens(list: &Value) -> Vec<String> {
    let tokens = list["authorizations"].as_array().unwrap().iter();
    tokens.map(|token| token["id"].as_str().unwrap().to_owned()).collect()
}

/// [TOKEN-1] [TOKEN-2] [TOKEN-4]
#[tokio::test]
async fn a_secret_is_in_the_response_to_its_creation_and_in_no_other() {
    let server = Server::new().await;
    let (org, user, bucket) = (server.org.id, server.user.id, server.bucket.id);
    let resource = json!({"type": "buckets", "id": bucket.to_string(), "orgID": org.to_string()});
    let body = json!({"orgID": org.to_string(), "description": "agents", "permissions": [
        {"action": "write", "resource": resource}]});
    let created = server.post(PATH, &body).await;
    assert_eq!(created.status, 201, "{}", created.text);
    let mut shown = created.json();
    let secret = shown["token"].as_str().unwrap().to_owned();
    let id = shown["id"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("pcl_"));
    shown.as_object_mut().unwrap().remove("token");
    let resource = json!({"type": "buckets", "id": bucket.to_string(), "orgID": org.to_string(),
        "name": "telemetry", "org": "acme"});
    let token = |status: &str, description: &str| {
        json!({"id": id, "status": status, "description": description, "orgID": org.to_string(),
            "org": "acme", "userID": user.to_string(), "user": "ada",
            "permissions": [{"action": "write", "resource": resource}],
            "links": {"self": format!("{PATH}/{id}"), "user": format!("/api/v2/users/{user}")}})
    };
    assert_eq!(shown, token("active", "agents"));
    assert_eq!(server.call_as(&secret, "GET", "/api/v2/me", "").await.status, 200);

    let path = format!("{PATH}/{id}");
    assert_eq!(server.get(&path).await.json(), token("active", "agents"));
    let off = server.patch(&path, &json!({"status": "inactive"})).await;
    assert_eq!((off.status.as_u16(), off.json()), (200, token("inactive", "agents")));
    let refused = server.call_as(&secret, "GET", "/api/v2/me", "").await;
    refused.assert_error(401, "unauthorized", "token is inactive");
    let on =
        server.patch(&path, &json!({"status": "active", "description": "d", "token": "x"})).await;
    assert_eq!(on.json(), token("active", "d"));
    assert_eq!(server.call_as(&secret, "GET", "/api/v2/me", "").await.status, 200);
    let list = server.get(PATH).await;
    assert!(!list.text.contains(&secret) && !list.text.contains("sha256"));
    assert!(list.json()["authorizations"].as_array().unwrap().contains(&token("active", "d")));
    let deleted = server.call("DELETE", &path, "").await;
    assert_eq!((deleted.status.as_u16(), &*deleted.text), (204, ""));
    assert_eq!(server.call_as(&secret, "GET", "/api/v2/me", "").await.status, 401);
    for (method, body) in [("GET", ""), ("PATCH", "{}"), ("DELETE", "")] {
        let gone = server.call(method, &path, body).await;
        gone.assert_error(404, "not found", "authorization not found");
    }
}

/// [TOKEN-1]
#[tokio::test]
async fn a_creation_is_refused_with_the_errors_of_the_v2_api() {
    let server = Server::new().await;
    let org = server.org.id.to_string();
    let read = json!([{"action": "read", "resource": {"type": "buckets"}}]);
    let limited = server.token(vec!["write:users".parse().unwrap()]).await;
    for (body, status, code, message) in [
        (json!({"orgID": org}), 400, "invalid", "authorization must include permissions"),
        (json!({"permissions": read}), 400, "invalid", "org id required: invalid ID"),
        (
            json!({"orgID": org, "permissions": read, "status": "on"}),
            400,
            "invalid",
            "invalid status: must be active or inactive",
        ),
        (
            json!({"orgID": org, "permissions": read, "userID": "1111111111111111"}),
            400,
            "invalid",
            "unable to create token",
        ),
        (
            json!({"orgID": org, "permissions": [{"action": "read", "resource": {"type": "instance"}}]}),
            403,
            "forbidden",
            "permission read:instance is not allowed: read:instance is unauthorized",
        ),
    ] {
        server.post(PATH, &body).await.assert_error(status, code, message);
    }
    let body = json!({"orgID": org, "permissions": read}).to_string();
    let refused = server.call_as(&limited, "POST", PATH, &body).await;
    let message = format!("write:orgs/{org}/authorizations is unauthorized");
    refused.assert_error(401, "unauthorized", &message);
}

/// [TOKEN-3]
#[tokio::test]
async fn a_list_is_filtered_by_every_parameter_and_paged() {
    let server = Server::new().await;
    let (org, user) = (server.org.id, server.user.id);
    let other = server.engine.create_org(name("globex")).await.unwrap();
    let bob = server.engine.create_user(name("bob")).await.unwrap();
    let new = portcullis::NewApiToken::new(other.id, bob.id, vec!["read:tasks".parse().unwrap()]);
    let (of_bob, secret) = server.engine.create_api_token(new).await.unwrap();
    let of_bob = of_bob.id.to_string();
    let all = tokens(&server.get(PATH).await.json());
    assert_eq!(all.len(), 2);
    let operator: Vec<_> = all.iter().filter(|id| **id != of_bob).cloned().collect();
    for (query, expected) in [
        (format!("orgID={org}"), &operator),
        ("org=acme".to_owned(), &operator),
        (format!("userID={user}&status=active"), &operator),
        ("user=ada&org=acme".to_owned(), &operator),
        ("user=ada&org=globex".to_owned(), &vec![]),
        ("status=inactive".to_owned(), &vec![]),
        ("orgID=1111111111111111".to_owned(), &vec![]),
        (format!("user=bob&userID={user}"), &vec![]),
        (format!("id={of_bob}"), &vec![of_bob.clone()]),
        (format!("authID={of_bob}&user=bob"), &vec![of_bob.clone()]),
        (format!("token={}", secret.expose()), &vec![of_bob.clone()]),
    ] {
        let found = server.get(&format!("{PATH}?{query}")).await;
        assert_eq!(&tokens(&found.json()), expected, "{query}");
    }
    let not_found = "authorization not found";
    for (query, status, code, message) in [
        ("user=nope".to_owned(), 404, "not found", "user not found"),
        ("org=nope".to_owned(), 404, "not found", "organization name \"nope\" not found"),
        ("token=nope".to_owned(), 404, "not found", not_found),
        ("id=1111111111111111".to_owned(), 404, "not found", not_found),
        (format!("id={of_bob}&user=ada"), 404, "not found", not_found),
        (format!("token={}&user=ada", secret.expose()), 404, "not found", not_found),
        (
            "token=".to_owned(),
            400,
            "invalid",
            "`token` must not be empty: leave it out to list all",
        ),
        ("limit=0".to_owned(), 400, "invalid", "`limit` must be between 1 and 1000"),
        ("permits=read:buckets".to_owned(), 400, "invalid", "`permits` is no filter of API tokens"),
    ] {
        server.get(&format!("{PATH}?{query}")).await.assert_error(status, code, message);
    }
    let first = server.get(&format!("{PATH}?limit=1")).await.json();
    assert_eq!(tokens(&first), all[..1]);
    assert_eq!(first["links"]["self"], PATH);
    let next = server.get(first["links"]["next"].as_str().unwrap()).await.json();
    assert_eq!((tokens(&next), next["links"].get("next")), (all[1..].to_vec(), None));
}

/// [TOKEN-3]
#[tokio::test]
async fn a_long_list_is_streamed_whole() {
    let server = Server::new().await;
    for _ in 0..1_500 {
        server.token(vec!["read:tasks".parse().unwrap()]).await;
    }
    let found = tokens(&server.get(PATH).await.json());
    assert_eq!(found.len(), 1_501);
    assert!(found.is_sorted());
}
