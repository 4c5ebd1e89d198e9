//! `/api/v2/setup`: a new store is set up once, by a client without credentials.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::Request;
use portcullis::store::MemoryStore;
use portcullis_http::ServerApi;
use portcullis_testkit::world::builder;
use serde_json::{Value, json};

use crate::support::{Response, Server, send};

const PATH: &str = "/api/v2/setup";

async fn new_server() -> Router {
    let engine = builder(Arc::new(MemoryStore::new().unwrap())).build().await.unwrap();
    ServerApi::new(engine).into_router()
}

async fn post(app: &Router, body: &Value) -> Response {
    send(app, Request::post(PATH).body(Body::from(body.to_string())).unwrap()).await
}

async fn is_allowed(app: &Router) -> Value {
    let response = send(app, Request::get(PATH).body(Body::empty()).unwrap()).await;
    assert_eq!(response.status, 200);
    response.json()["allowed"].clone()
}

fn request() -> Value {
    json!({"username": "ada", "password": "not-kept-anywhere", "org": "acme", "bucket": "telemetry",
        "retentionPeriodSeconds": 3600, "retentionPeriodHrs": 0})
}

/// [SETUP-1] [SETUP-2]
#[tokio::test]
async fn a_new_store_is_set_up_once_and_the_token_works() {
    let app = new_server().await;
    assert_eq!(is_allowed(&app).await, true);
    let done = post(&app, &request()).await;
    assert_eq!(done.status, 201, "{}", done.text);
    assert!(!done.text.contains("not-kept-anywhere"));
    let done = done.json();
    assert_eq!(done["user"]["name"], "ada");
    assert_eq!(done["org"]["name"], "acme");
    assert_eq!(
        (&done["bucket"]["name"], &done["bucket"]["orgID"]),
        (&json!("telemetry"), &done["org"]["id"])
    );
    let auth = &done["auth"];
    assert_eq!((&auth["orgID"], &auth["userID"]), (&done["org"]["id"], &done["user"]["id"]));
    assert_eq!(auth["permissions"].as_array().unwrap().len(), 44);
    let token = auth["token"].as_str().unwrap();
    let me = Request::get("/api/v2/me").header("Authorization", format!("Token {token}"));
    assert_eq!(send(&app, me.body(Body::empty()).unwrap()).await.json(), done["user"]);

    assert_eq!(is_allowed(&app).await, false);
    for body in [request(), json!({}), json!({"username": "eve", "org": "evil", "bucket": "b"})] {
        let again = post(&app, &body).await;
        again.assert_error(422, "conflict", "onboarding has already been completed");
    }
    let with_slash = Request::get(format!("{PATH}/")).body(Body::empty()).unwrap();
    assert_eq!(send(&app, with_slash).await.json()["allowed"], false);
}

/// [SETUP-2]
#[tokio::test]
async fn what_cannot_set_up_a_store_leaves_it_new() {
    let app = new_server().await;
    let missing = |names: &str| format!("onboarding failed: missing required fields [{names}]");
    let with = |member: &str, value: Value| {
        let mut request = request();
        request[member] = value;
        request
    };
    let weak =
        "a token must have 16 to 512 visible ASCII characters: leave it out, and one is generated";
    for (body, status, code, message) in [
        (json!({}), 422, "unprocessable entity", missing("username,org,bucket")),
        (with("bucket", json!("")), 422, "unprocessable entity", missing("bucket")),
        (with("org", Value::Null), 422, "unprocessable entity", missing("org")),
        (with("token", json!("weak")), 400, "invalid", weak.to_owned()),
        (
            with("org", json!("x".repeat(5_000))),
            400,
            "invalid",
            "a name must be between 1 and 4096 bytes long, not 5000".to_owned(),
        ),
        (
            with("password", json!(1)),
            400,
            "invalid",
            "invalid json structure: `password` must be a string".to_owned(),
        ),
    ] {
        post(&app, &body).await.assert_error(status, code, &message);
        assert_eq!(is_allowed(&app).await, true);
    }
    let chosen = with("token", json!("my-super-secret-auth-token"));
    let done = post(&app, &chosen).await.json();
    assert_eq!(done["auth"]["token"], "my-super-secret-auth-token");
}

/// [SETUP-1]
#[tokio::test]
async fn a_store_with_records_cannot_be_set_up_and_a_hosts_router_has_no_setup() {
    let server = Server::new().await;
    assert_eq!(is_allowed(&server.app).await, false);
    let refused = post(&server.app, &request()).await;
    refused.assert_error(422, "conflict", "onboarding has already been completed");
    let host = portcullis_http::ManagementApi::new(server.engine.clone()).into_router();
    assert_eq!(send(&host, Request::get(PATH).body(Body::empty()).unwrap()).await.status, 404);
}
