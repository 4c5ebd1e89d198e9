//! Routes for operators and load balancers: does the server respond, and are logins possible?

use std::borrow::Cow;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use portcullis::TrustState;
use serde::Serialize;

use crate::respond::{ErrorBody, json_response};
use crate::state::Api;
use crate::v1::influxdb_version::InfluxdbVersion;

#[derive(Serialize)]
struct Health {
    name: &'static str,
    message: Cow<'static, str>,
    status: &'static str,
    version: &'static str,
}

/// Whether logins are possible, and what they rest on.
#[derive(Serialize)]
struct Readiness {
    #[serde(flatten)]
    health: Health,
    /// The name of the [`TrustState`].
    state: &'static str,
    /// Seconds since the change feed's last event; `None` before its first.
    #[serde(rename = "feedAgeSeconds")]
    feed_age_seconds: Option<f64>,
    /// Whether the last change could not be written.
    #[serde(rename = "changesFail")]
    changes_fail: bool,
}

/// The same with the code of an error.
#[derive(Serialize)]
struct NotReady<'a> {
    code: &'a str,
    #[serde(flatten)]
    readiness: Readiness,
}

/// The routes that need no authentication.
pub(crate) fn router(api: Api, influxdb: Option<InfluxdbVersion>) -> Router {
    Router::new()
        .route("/ping", get(async move || ping(influxdb.as_ref())))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .method_not_allowed_fallback(async || ErrorBody::method_not_allowed())
        .with_state(api)
}

/// 204: the process responds.
fn ping(influxdb: Option<&InfluxdbVersion>) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Some(influxdb) = influxdb {
        influxdb.apply_to(response.headers_mut());
    }
    response
}

/// 200: the process responds, with its version.
async fn health() -> Response {
    let health = Health {
        name: "portcullis",
        message: "ready to answer".into(),
        status: "pass",
        version: env!("CARGO_PKG_VERSION"),
    };
    json_response(StatusCode::OK, &health)
}

/// 200 if logins are possible, so that a load balancer may send requests here.
async fn ready(State(api): State<Api>) -> Response {
    let outcome = api.engine.ready().await;
    let state = api.engine.trust_state();
    let readiness = |status, message: Cow<'static, str>| Readiness {
        health: Health { name: "portcullis", message, status, version: env!("CARGO_PKG_VERSION") },
        state: state.as_str(),
        feed_age_seconds: api.engine.change_feed_lag().map(in_seconds),
        changes_fail: api.engine.changes_fail(),
    };
    match outcome {
        Ok(()) => {
            let message = match state {
                TrustState::StaleIfError => {
                    "the store does not respond, logins are admitted from the cache"
                }
                _ if api.engine.changes_fail() => {
                    "logins are answered, changes are refused: the last one could not be written"
                }
                TrustState::Fresh | TrustState::Stale | TrustState::Unavailable => {
                    "logins are answered"
                }
            };
            json_response(StatusCode::OK, &readiness("pass", message.into()))
        }
        Err(error) => {
            let envelope = ErrorBody::from(error);
            let readiness = readiness("fail", envelope.message.clone().into());
            let body = NotReady { code: envelope.code, readiness };
            envelope.with_body(&body)
        }
    }
}

/// Rounds down to the millisecond.
fn in_seconds(age: Duration) -> f64 {
    age.as_millis() as f64 / 1_000.0
}
