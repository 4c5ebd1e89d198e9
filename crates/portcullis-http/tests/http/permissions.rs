//! `PUT …/{id}/permissions` over HTTP.

use serde_json::{Value, json};

use crate::support::{PREFIX, Server};

fn body(permissions: &[Value]) -> String {
    json!({"permissions": permissions}).to_string()
}

/// [REPLACE-1]
#[tokio::test]
async fn replaces_the_permissions_of_a_living_credential() {
    let server = Server::new().await;
    let before = server.authorization("telegraf").await;
    let bucket = json!({"action": "read", "resource": {
        "type": "buckets", "id": server.bucket.id.to_string(), "orgID": server.org.id.to_string()}});
    for prefix in [PREFIX, "/legacy/authorizations"] {
        let path = format!("{prefix}/{}/permissions", before.id);
        let response = server.call("PUT", &path, &body(std::slice::from_ref(&bucket))).await;
        assert_eq!(response.status, 200, "{}", response.text);
        let json = response.json();
        assert_eq!(json["permissions"][0]["action"], "read");
        assert_eq!(json["permissions"][0]["resource"]["name"], "telemetry");
        assert_eq!(json["token"], "telegraf");
    }
    let after = server.engine.authorization(before.id).await.unwrap().unwrap();
    assert_ne!(after.permissions, before.permissions);
    assert!(after.updated_at > before.updated_at);
    assert_eq!(after.created_at, before.created_at);
}

/// [REPLACE-2]
#[tokio::test]
async fn is_checked_like_a_create_and_changes_nothing_when_refused() {
    let server = Server::new().await;
    let before = server.authorization("telegraf").await;
    let path = format!("{PREFIX}/{}/permissions", before.id);
    let grant = |resource: Value| json!({"action": "write", "resource": resource});
    let unknown_bucket = grant(json!({"type": "buckets", "id": "00000000000000ff"}));
    let other_org = grant(json!({"type": "buckets", "orgID": "00000000000000ff"}));
    let cases = [
        (body(&[]), 400, "authorization must include permissions".to_owned()),
        ("{}".to_owned(), 400, "authorization must include permissions".to_owned()),
        (
            "[]".to_owned(),
            400,
            "invalid json structure: the request body must be an object".to_owned(),
        ),
        (
            body(&[grant(json!({"type": "pizzas"}))]),
            400,
            "invalid resource type for permission: unknown resource type for permission".to_owned(),
        ),
        (
            body(&[grant(json!({"type": "buckets", "id": "1"}))]),
            400,
            "invalid json structure: id must have a length of 16 bytes".to_owned(),
        ),
        (body(&[unknown_bucket]), 404, "bucket not found when creating auth".to_owned()),
        (
            body(&[other_org]),
            400,
            format!(
                "permission write:orgs/00000000000000ff/buckets is not for org id {}",
                server.org.id
            ),
        ),
        (
            body(&[grant(json!({"type": "instance"}))]),
            403,
            "permission write:instance is not allowed: write:instance is unauthorized".to_owned(),
        ),
    ];
    for (body, status, message) in cases {
        let response = server.call("PUT", &path, &body).await;
        assert_eq!(
            (response.status.as_u16(), response.json()["message"].as_str()),
            (status, Some(message.as_str()))
        );
    }
    let missing = format!("{PREFIX}/00000000000000ff/permissions");
    let good = body(&[grant(json!({"type": "buckets"}))]);
    server.call("PUT", &missing, &good).await.assert_error(
        404,
        "not found",
        "authorization not found",
    );
    let powerless = server.token(vec![]).await;
    let response = server.call_as(&powerless, "PUT", &path, &good).await;
    assert_eq!(response.status, 401);
    let after = server.engine.authorization(before.id).await.unwrap().unwrap();
    assert_eq!(after, before);
}
