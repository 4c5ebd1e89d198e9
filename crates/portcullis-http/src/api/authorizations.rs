//! The operations on one authorization.
//!
//! Each checks the size of the body, then the id, then the content of the body: the API's order.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use portcullis::{AuthorizationId, AuthorizationView, Error, Permission};

use crate::api::wire;
use crate::extract::body::{InvalidJson, LimitedBody};
use crate::extract::caller::Caller;
use crate::extract::id::{PathId, path_id};
use crate::respond::{ErrorBody, json_response};
use crate::state::Api;

fn show(status: StatusCode, described: &AuthorizationView) -> Response {
    json_response(status, &wire::Authorization::from(described))
}

pub(crate) async fn create(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    LimitedBody(body): LimitedBody,
) -> Result<Response, ErrorBody> {
    let draft = wire::authorization_draft(&body).map_err(InvalidJson::into_error_body)?;
    let new = draft.validate()?;
    let created = caller.engine_for(&api.engine).create_authorization(new).await?;
    Ok(show(StatusCode::CREATED, &created))
}

pub(crate) async fn get(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    path: PathId,
) -> Result<Response, ErrorBody> {
    let id: AuthorizationId = path_id(path)?;
    let found = caller.engine_for(&api.engine).authorization(id).await?;
    Ok(show(StatusCode::OK, &found))
}

pub(crate) async fn update(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    path: PathId,
    LimitedBody(body): LimitedBody,
) -> Result<Response, ErrorBody> {
    let id: AuthorizationId = path_id(path)?;
    let draft = wire::update_draft(&body).map_err(InvalidJson::into_error_body)?;
    let updated = caller.engine_for(&api.engine).update_authorization(id, draft).await?;
    Ok(show(StatusCode::OK, &updated))
}

pub(crate) async fn delete(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    path: PathId,
) -> Result<StatusCode, ErrorBody> {
    let id: AuthorizationId = path_id(path)?;
    caller.engine_for(&api.engine).delete_authorization(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn set_password(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    path: PathId,
    LimitedBody(body): LimitedBody,
) -> Result<StatusCode, ErrorBody> {
    let id: AuthorizationId = path_id(path)?;
    let password = wire::password_body(&body).map_err(InvalidJson::into_error_body)?;
    caller.engine_for(&api.engine).set_password(id, password.as_bytes()).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn set_permissions(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    path: PathId,
    LimitedBody(body): LimitedBody,
) -> Result<Response, ErrorBody> {
    let id: AuthorizationId = path_id(path)?;
    let permissions = wire::permissions_body(&body).map_err(InvalidJson::into_error_body)?;
    let permissions = permissions
        .iter()
        .map(|permission| permission.validate())
        .collect::<Result<Vec<Permission>, _>>()
        .map_err(Error::from)?;
    let updated = caller.engine_for(&api.engine).set_permissions(id, permissions).await?;
    Ok(show(StatusCode::OK, &updated))
}
