//! Setting up a new store: the only operation without a caller, as there is no credential yet.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use http::request::Parts;
use portcullis::{Error, ErrorKind};
use serde::Serialize;

use crate::api::wire::{SetupBody, setup_draft};
use crate::client_address::source;
use crate::extract::body::{InvalidJson, LimitedBody};
use crate::respond::{ErrorBody, json_response};
use crate::state::Api;

const PATH: &str = "/api/v2/setup";

/// Whether the store can be set up.
#[derive(Serialize)]
struct SetupAllowed {
    allowed: bool,
}

/// The routes that need no authentication.
pub(crate) fn router(api: Api) -> Router {
    let methods = get(is_allowed).post(set_up);
    Router::new()
        .route(&format!("{PATH}/"), methods.clone())
        .route(PATH, methods)
        .method_not_allowed_fallback(async || ErrorBody::method_not_allowed())
        .with_state(api)
}

/// `GET`: tells whether `POST` is possible.
async fn is_allowed(State(api): State<Api>) -> Result<Response, ErrorBody> {
    let allowed = api.engine.is_setup_allowed().await?;
    Ok(json_response(StatusCode::OK, &SetupAllowed { allowed }))
}

/// `POST`: creates the first org, user, bucket and operator token.
async fn set_up(
    State(api): State<Api>,
    parts: Parts,
    LimitedBody(body): LimitedBody,
) -> Result<Response, ErrorBody> {
    let completed = || Error::new(ErrorKind::Conflict, "onboarding has already been completed");
    let draft = setup_draft(&body).map_err(InvalidJson::into_error_body)?;
    // Before the parts are checked: a store that is set up has nothing else to tell.
    if !api.engine.is_setup_allowed().await? {
        return Err(completed().into());
    }
    let (setup, secret) = draft.validate()?;
    let source = source(&parts.extensions);
    let done = api.engine.setup_by_client(setup, secret, source).await;
    let done = done.map_err(|error| match error.kind() {
        ErrorKind::Conflict => completed(),
        _ => error,
    })?;
    tracing::info!(org = %done.org.id, user = %done.user.id, "a client set up the new store");
    Ok(json_response(StatusCode::CREATED, &SetupBody::from(&done)))
}
