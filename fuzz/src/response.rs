//! Responses of the server under test.

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

/// A response, read to its end.
#[derive(Debug)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub text: String,
}

impl Response {
    /// Sends the request and checks the properties of every response.
    pub async fn of(app: &Router, request: Request<Body>) -> Self {
        let response = app.clone().oneshot(request).await.expect("a router is infallible");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        let text = String::from_utf8(body.to_vec()).expect("UTF-8");
        let response = Self { status: parts.status, headers: parts.headers, text };
        response.check();
        response
    }

    /// Returns the body, which must be JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// No status is a server error; every status but 2xx has an error body.
    fn check(&self) {
        assert!(!self.status.is_server_error(), "{self:?}");
        if self.status == StatusCode::NO_CONTENT {
            assert_eq!(self.text, "");
            return;
        }
        let json = self.json();
        if self.status.is_success() {
            return;
        }
        let members = json.as_object().expect("an envelope");
        // v1 clients find the message once more.
        assert!(members.get("error").is_none_or(|error| *error == members["message"]), "{self:?}");
        let expected = 2 + usize::from(members.contains_key("error"));
        assert_eq!(members.len(), expected, "{self:?}");
        let header = self.headers.get("x-platform-error-code").and_then(|code| code.to_str().ok());
        assert_eq!(members["code"].as_str(), header, "{self:?}");
        assert!(!members["message"].as_str().expect("a message").is_empty(), "{self:?}");
        assert_eq!(self.headers["content-type"], "application/json; charset=utf-8");
    }
}
