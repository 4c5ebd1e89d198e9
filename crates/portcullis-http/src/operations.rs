//! For those who operate the server: is it there, is it well?

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use serde::Serialize;

use crate::authorizations::answer;
use crate::envelope::Envelope;
use crate::router::Api;

#[derive(Serialize)]
struct Health {
    name: &'static str,
    message: &'static str,
    status: &'static str,
    version: &'static str,
}

/// The routes that nobody needs to authenticate for.
pub(crate) fn router(api: Api) -> Router {
    Router::new()
        .route("/ping", get(ping))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .method_not_allowed_fallback(async || Envelope::method_not_allowed())
        .with_state(api)
}

/// The process answers.
async fn ping() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// The process answers, and says what it is.
async fn health() -> Response {
    let health = Health {
        name: "portcullis",
        message: "ready to answer",
        status: "pass",
        version: env!("CARGO_PKG_VERSION"),
    };
    answer(StatusCode::OK, &health)
}

/// The store answers as well: requests may be sent here.
async fn ready(State(api): State<Api>) -> Response {
    match api.engine.ready().await {
        Ok(_) => answer(
            StatusCode::OK,
            &Health {
                name: "portcullis",
                message: "the store answers",
                status: "pass",
                version: env!("CARGO_PKG_VERSION"),
            },
        ),
        Err(error) => Envelope::from(error).into_response(),
    }
}
