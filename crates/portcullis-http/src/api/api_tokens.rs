//! API tokens in the shapes of the v2 API, which names them authorizations.
//!
//! A secret is in the response that creates the token, and in no other one. The list is in `list.rs`.

use axum::extract::RawQuery;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use portcullis::{ApiTokenId, ApiTokenView, Deletion, Versioned};

use crate::api::dry_run;
use crate::api::wire::{ApiTokenBody, api_token_draft, update_draft};
use crate::extract::body::{InvalidJson, LimitedBody};
use crate::extract::caller::ManagementRequest;
use crate::extract::id::{PathId, path_id};
use crate::respond::{ErrorBody, record_response};

fn show(view: &Versioned<ApiTokenView>) -> Response {
    record_response(StatusCode::OK, view.revision, &ApiTokenBody::from(&view.value))
}

/// `POST` of an API token.
pub(crate) async fn create(
    request: ManagementRequest,
    LimitedBody(body): LimitedBody,
) -> Result<Response, ErrorBody> {
    let draft = api_token_draft(&body).map_err(InvalidJson::into_error_body)?;
    let (created, secret) = request.on_behalf().create_api_token(draft).await?;
    let body = ApiTokenBody::from(&created.value).with_secret(&secret);
    Ok(record_response(StatusCode::CREATED, created.revision, &body))
}

/// `GET` of one API token by id.
pub(crate) async fn get(request: ManagementRequest, path: PathId) -> Result<Response, ErrorBody> {
    let id: ApiTokenId = path_id(path)?;
    let found = request.on_behalf().api_token(id).await?;
    Ok(request.respond_found(found.revision, &ApiTokenBody::from(&found.value)))
}

/// `PATCH` of one API token.
pub(crate) async fn update(
    request: ManagementRequest,
    path: PathId,
    LimitedBody(body): LimitedBody,
) -> Result<Response, ErrorBody> {
    let id: ApiTokenId = path_id(path)?;
    let draft = update_draft(&body).map_err(InvalidJson::into_error_body)?;
    Ok(show(&request.on_behalf().update_api_token(id, draft).await?))
}

/// `DELETE` of one API token.
pub(crate) async fn delete(
    request: ManagementRequest,
    path: PathId,
    RawQuery(query): RawQuery,
) -> Result<Response, ErrorBody> {
    let id: ApiTokenId = path_id(path)?;
    if dry_run::is_requested(query.as_deref())? {
        return dry_run::preview(&request, Deletion::ApiToken(id)).await;
    }
    request.on_behalf().delete_api_token(id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
