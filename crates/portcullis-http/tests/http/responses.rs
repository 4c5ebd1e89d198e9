//! Responses, to the byte.

use axum::body::Body;
use http::Request;
use portcullis_http::ManagementApi;

use crate::support::{PREFIX, Server};

/// [HTTP-14] [CREATE-1] [GET-1] [GET-2]
#[tokio::test]
async fn a_created_authorization_is_shown_to_the_byte() {
    let server = Server::new().await;
    let mut draft = server.draft("<tele&graf>");
    draft["description"] = "ä \u{2028}".into();
    let response = server.call("POST", PREFIX, &draft.to_string()).await;
    assert_eq!(response.status, 201);
    let json = response.json();
    let text = |name: &str| json[name].as_str().unwrap().to_owned();
    let (id, created) = (text("id"), text("createdAt"));
    let (org, user, bucket) = (server.org.id, server.user.id, server.bucket.id);
    let expected = format!(
        "{{\n\t\"id\": \"{id}\",\n\t\"token\": \"\\u003ctele\\u0026graf\\u003e\",\n\t\"status\": \"active\",\n\t\
         \"description\": \"ä \\u2028\",\n\t\"orgID\": \"{org}\",\n\t\"org\": \"acme\",\n\t\
         \"userID\": \"{user}\",\n\t\"user\": \"ada\",\n\t\"permissions\": [\n\t\t{{\n\t\t\t\
         \"action\": \"read\",\n\t\t\t\"resource\": {{\n\t\t\t\t\"type\": \"buckets\",\n\t\t\t\t\
         \"id\": \"{bucket}\",\n\t\t\t\t\"orgID\": \"{org}\",\n\t\t\t\t\"name\": \"telemetry\",\n\t\t\t\t\
         \"org\": \"acme\"\n\t\t\t}}\n\t\t}}\n\t],\n\t\"links\": {{\n\t\t\
         \"self\": \"/private/legacy/authorizations/{id}\",\n\t\t\"user\": \"/api/v2/users/{user}\"\n\t}},\n\t\
         \"createdAt\": \"{created}\",\n\t\"updatedAt\": \"{created}\"\n}}\n"
    );
    assert_eq!(response.text, expected);
    assert!(created.ends_with('Z'));
}

/// [HTTP-15]
#[tokio::test]
async fn an_error_is_shown_to_the_byte() {
    let server = Server::new().await;
    let response = server.get(&format!("{PREFIX}/abc")).await;
    assert_eq!(
        response.text,
        "{\n\t\"code\": \"invalid\",\n\t\"message\": \"id must have a length of 16 bytes\"\n}\n"
    );
}

/// [HTTP-17]
#[tokio::test]
async fn a_failure_reveals_nothing_internal_and_is_never_401() {
    let server = Server::new().await;
    let id = server.authorization("telegraf").await.id;
    server.store.close().await.unwrap();
    for (method, path) in [
        ("GET", PREFIX.to_owned()),
        ("GET", format!("{PREFIX}/{id}")),
        ("DELETE", format!("{PREFIX}/{id}")),
        ("GET", "/api/v2/me".to_owned()),
        ("GET", "/ready".to_owned()),
    ] {
        let response = server.call(method, &path, "").await;
        response.assert_error(503, "unavailable", "the service is unavailable, try again later");
    }
    let ping = Request::get("/ping").body(Body::empty()).unwrap();
    assert_eq!(server.send(ping).await.status, 204);
}

/// [HTTP-17]
#[tokio::test]
async fn a_panic_is_500_without_detail() {
    #[derive(Debug)]
    struct Panicking;

    #[async_trait::async_trait]
    impl portcullis_http::Callers for Panicking {
        async fn caller(
            &self,
            _: &http::request::Parts,
        ) -> Result<portcullis::Principal, portcullis::Error> {
            panic!("s3cret detail")
        }
    }

    let server = Server::new().await;
    let app = ManagementApi::new(server.engine.clone()).callers(Panicking).into_router();
    let request = Request::get(PREFIX).body(Body::empty()).unwrap();
    let response = crate::support::send(&app, request).await;
    response.assert_error(500, "internal error", "an internal error has occurred");
    assert!(!response.text.contains("s3cret"));
}

/// [HTTP-8]
#[tokio::test]
async fn odd_content_types_are_not_refused() {
    let server = Server::new().await;
    for (i, content_type) in
        ["text/plain", "application/x-www-form-urlencoded", "x"].iter().enumerate()
    {
        let request = Request::post(PREFIX)
            .header("Authorization", format!("Token {}", server.operator))
            .header("Content-Type", *content_type);
        let body = server.draft(&format!("name-{i}")).to_string();
        let response = server.send(request.body(Body::from(body)).unwrap()).await;
        assert_eq!(response.status, 201);
    }
}

/// [HTTP-20]
#[tokio::test]
async fn health_shows_name_and_version() {
    let server = Server::new().await;
    let response = server.get("/health").await;
    assert_eq!(response.json()["status"], "pass");
    assert_eq!(response.json()["name"], "portcullis");
}

/// [HTTP-21] [OUTAGE-1]
#[tokio::test]
async fn ready_shows_what_logins_rest_on() {
    let server = Server::new().await;
    while server.engine.change_feed_lag().is_none() {
        tokio::task::yield_now().await;
    }
    let response = server.get("/ready").await;
    assert_eq!(response.status, 200);
    let json = response.json();
    assert_eq!((&json["name"], &json["status"]), (&"portcullis".into(), &"pass".into()));
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(json["state"], "fresh");
    assert!(json["feedAgeSeconds"].as_f64().unwrap() < 2.0, "{json}");

    server.store.close().await.unwrap();
    let response = server.get("/ready").await;
    response.assert_error(503, "unavailable", "the service is unavailable, try again later");
    let json = response.json();
    assert_eq!((&json["status"], &json["state"]), (&"fail".into(), &"fresh".into()));
}
