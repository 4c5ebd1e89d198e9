//! Names, filters and ids are data, whatever their text, on every store.

use std::collections::BTreeSet;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::world::{Backend, World};

/// Texts with a meaning in SQL, in a path, in a store's key, in JSON or in a URL.
const HOSTILE: &[&str] = &[
    "'",
    "''",
    "\"",
    "\\",
    "' OR 1=1 --",
    "'; DROP TABLE authorizations; --",
    "\") OR (\"1\"=\"1",
    "%",
    "_",
    "*",
    "telegra_",
    "telegraf%",
    "[a-z]*",
    "?1",
    ":name",
    "$1",
    "../telegraf",
    "..\\..\\etc\\passwd",
    "/",
    "//",
    ".",
    "..",
    "%2e%2e%2f",
    "%00",
    "telegraf\0",
    "\0",
    "\0telegraf",
    "\u{1}\u{ff}\u{ffff}",
    "a\nb\r\nc",
    "null",
    "{\"token\":\"telegraf\"}",
    "0000000000000001",
    "write:instance",
    "x&token=telegraf",
    "x;token=telegraf",
    "+ +",
    "\u{feff}telegraf",
    "TELEGRAF",
];

const ORG: &str = "0000000000000001";
const USER: &str = "0000000000000002";

fn world() -> Value {
    let all = |resource_type: &str| {
        ["read", "write"]
            .map(|action| json!({"action": action, "resource": {"type": resource_type}}))
    };
    let permissions = ["authorizations", "users", "orgs", "buckets"].map(all).concat();
    json!({
        "orgs": [{"id": ORG, "name": "acme"}],
        "users": [{"id": USER, "name": "ada"}],
        "api_tokens": [{"id": "0000000000000003", "orgID": ORG, "userID": USER, "token": "operator",
            "permissions": permissions}],
        "authorizations": [{"id": "0000000000000004", "token": "telegraf", "orgID": ORG,
            "userID": USER, "permissions": []}],
    })
}

fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

async fn request(world: &World, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let request = Request::builder().method(method).uri(format!("/legacy/authorizations{path}"));
    let request = request.header("Authorization", "Token operator");
    let request = request.body(Body::from(body.to_string())).unwrap();
    let response = world.app.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

fn usernames(list: &Value) -> BTreeSet<String> {
    let list = list["authorizations"].as_array().unwrap();
    list.iter().map(|one| one["token"].as_str().unwrap().to_owned()).collect()
}

async fn names_filters_and_ids_are_data(backend: Backend) {
    let world = World::new(&world(), backend).await;
    for username in HOSTILE {
        // There is none yet, and it finds none of the others.
        let by_name = format!("?token={}", encode(username));
        let (status, response) = request(&world, "GET", &by_name, &Value::Null).await;
        assert_eq!(status, 404, "{username:?} {response}");
        let body = json!({"token": username, "orgID": ORG, "userID": USER, "description": username,
            "permissions": [{"action": "read", "resource": {"type": "users"}}]});
        let (status, response) = request(&world, "POST", "", &body).await;
        assert_eq!(status, 201, "{username:?} {response}");
        assert_eq!(response["token"], **username);
        let (status, again) = request(&world, "POST", "", &body).await;
        assert_eq!(status, 422, "{username:?} {again}");
    }
    let (_, list) = request(&world, "GET", "", &Value::Null).await;
    let all: BTreeSet<_> =
        HOSTILE.iter().chain(&["telegraf"]).map(|name| (*name).to_owned()).collect();
    assert_eq!(usernames(&list), all);

    for hostile in HOSTILE {
        let encoded = encode(hostile);
        let (status, found) =
            request(&world, "GET", &format!("?token={encoded}"), &Value::Null).await;
        assert_eq!(status, 200, "{hostile:?}");
        assert_eq!(usernames(&found), BTreeSet::from([(*hostile).to_owned()]));
        for filter in ["org", "user"] {
            let (status, response) =
                request(&world, "GET", &format!("?{filter}={encoded}"), &Value::Null).await;
            assert_eq!(status, 404, "{filter} {hostile:?} {response}");
        }
        let is_id = hostile.len() == 16 && hostile.bytes().all(|byte| byte.is_ascii_hexdigit());
        for filter in ["id", "authID", "orgID", "userID", "status", "permits", "limit", "after"] {
            let (status, response) =
                request(&world, "GET", &format!("?{filter}={encoded}"), &Value::Null).await;
            let expected = match filter {
                "id" | "authID" if is_id => 404,
                "orgID" | "userID" | "after" if is_id => 200,
                "permits" if *hostile == "write:instance" => 200,
                // A number: 1.
                "limit" if is_id => 200,
                _ => 400,
            };
            assert_eq!(status, expected, "{filter} {hostile:?} {response}");
        }
        for (method, below) in [
            ("GET", ""),
            ("PATCH", ""),
            ("DELETE", ""),
            ("POST", "/password"),
            ("PUT", "/permissions"),
        ] {
            if is_id {
                continue;
            }
            let (status, response) =
                request(&world, method, &format!("/{encoded}{below}"), &json!({})).await;
            assert!(matches!(status, 400 | 404), "{method} {hostile:?}: {status} {response}");
        }
    }
    let (_, list) = request(&world, "GET", "", &Value::Null).await;
    assert_eq!(usernames(&list), all, "something is gone");
}

#[tokio::test]
async fn names_filters_and_ids_are_data_on_memory() {
    names_filters_and_ids_are_data(Backend::Memory).await;
}

#[tokio::test]
async fn names_filters_and_ids_are_data_on_sqlite() {
    names_filters_and_ids_are_data(Backend::Sqlite).await;
}
