//! Bodies of the management API, through the real router as the operator. The first byte chooses
//! the operation, the rest is the body. No body causes a server error, and every status but 2xx has an
//! error body. An accepted body is JSON; a created or changed record is stored as the response shows it,
//! and a created one can be deleted, once. A password is never in a response.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portcullis_fuzz::CANARY;
use portcullis_fuzz::response::Response;
use portcullis_fuzz::world::{GRAFANA_ID, PREFIX, World};
use serde_json::Value;

static WORLD: LazyLock<World> = LazyLock::new(World::new);

fuzz_target!(|data: &[u8]| {
    let Some((operation, body)) = data.split_first() else { return };
    WORLD.run(async {
        match operation % 4 {
            0 => create(body).await,
            1 => update(body).await,
            2 => set_password(body).await,
            _ => set_permissions(body).await,
        }
    });
});

async fn call(method: &str, path: &str, body: &[u8]) -> Response {
    WORLD.call(method, path, body.to_vec()).await.expect("a valid request")
}

/// Reads an accepted body. `null` counts as an object without members.
fn accepted(body: &[u8]) -> Value {
    serde_json::from_slice(body).expect("what is accepted is JSON")
}

async fn create(body: &[u8]) {
    let response = call("POST", PREFIX, body).await;
    if response.status != 201 {
        return;
    }
    let (requested, created) = (accepted(body), response.json());
    assert_eq!(created["token"], requested["token"]);
    assert_same_permissions(&created, &requested);
    let description = requested["description"].as_str().unwrap_or_default();
    assert_eq!(created["description"], description);

    let path = format!("{PREFIX}/{}", created["id"].as_str().expect("an id"));
    assert_eq!(call("GET", &path, b"").await.json(), created);
    let again = call("POST", PREFIX, body).await;
    assert_eq!(again.status, 422, "a username is unique: {again:?}");
    assert_eq!(call("DELETE", &path, b"").await.status, 204);
    assert_eq!(call("DELETE", &path, b"").await.status, 404);
}

async fn update(body: &[u8]) {
    let path = format!("{PREFIX}/{GRAFANA_ID}");
    let before = call("GET", &path, b"").await.json();
    let response = call("PATCH", &path, body).await;
    let after = call("GET", &path, b"").await.json();
    if response.status != 200 {
        assert_eq!(after, before);
        return;
    }
    let requested = accepted(body);
    assert_eq!(after, response.json());
    for member in ["status", "description"] {
        let expected =
            if requested[member].is_null() { &before[member] } else { &requested[member] };
        assert_eq!(&after[member], expected, "{member}");
    }
    for member in ["id", "token", "orgID", "userID", "permissions", "createdAt"] {
        assert_eq!(after[member], before[member], "{member}");
    }
}

async fn set_password(body: &[u8]) {
    let response = call("POST", &format!("{PREFIX}/{GRAFANA_ID}/password"), body).await;
    if canary_is_a_value(body) {
        assert!(!response.text.contains(CANARY), "{response:?}");
    }
    if response.status != 204 {
        return;
    }
    let requested = accepted(body);
    let password = requested["password"].as_str().expect("a password");
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("u", "grafana")
        .append_pair("p", password)
        .finish();
    if query.len() < 60_000 {
        let request = http::Request::builder().uri(format!("/query?{query}"));
        let request = request.body(axum::body::Body::empty()).expect("a request");
        let login = Response::of(&WORLD.protected, request).await;
        assert_eq!(login.status, 200, "the new password is the password: {login:?}");
    }
}

async fn set_permissions(body: &[u8]) {
    let path = format!("{PREFIX}/{GRAFANA_ID}");
    let before = call("GET", &path, b"").await.json();
    let response = call("PUT", &format!("{path}/permissions"), body).await;
    let after = call("GET", &path, b"").await.json();
    if response.status != 200 {
        assert_eq!(after, before);
        return;
    }
    assert_eq!(after, response.json());
    assert_same_permissions(&after, &accepted(body));
}

fn assert_same_permissions(shown: &Value, requested: &Value) {
    let shown = shown["permissions"].as_array().expect("permissions");
    let requested = requested["permissions"].as_array().expect("what is accepted has permissions");
    assert_eq!(shown.len(), requested.len());
    for (shown, requested) in shown.iter().zip(requested) {
        assert_eq!(shown["action"], requested["action"]);
        let (shown, requested) = (&shown["resource"], &requested["resource"]);
        assert_eq!(shown["type"], requested["type"]);
        for id in ["id", "orgID"] {
            let lower = requested[id].as_str().map(str::to_ascii_lowercase);
            assert_eq!(shown[id].as_str(), lower.as_deref());
        }
    }
}

/// Whether the canary is in a value and in no name: names are no secrets.
fn canary_is_a_value(body: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(body) else { return false };
    let mut parts = text.split(CANARY);
    parts.next();
    parts.all(|after| {
        let after = after.split_once('"').map_or("", |(_, after)| after);
        !after.trim_start().starts_with(':')
    })
}
