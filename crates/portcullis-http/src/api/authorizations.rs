//! The operations on one authorization.
//!
//! Each checks the size of the body, then the id, then the content of the body: the API's order.

use axum::extract::RawQuery;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use portcullis::{
    AuthorizationId, AuthorizationView, Deletion, Error, KeepPrevious, Permission, Versioned,
};

use crate::api::list::{HAS_PASSWORD, parse_has_password};
use crate::api::{dry_run, wire};
use crate::extract::body::{InvalidJson, LimitedBody};
use crate::extract::caller::ManagementRequest;
use crate::extract::id::{PathId, path_id};
use crate::extract::query::Query;
use crate::respond::{ErrorBody, record_response};

fn show(status: StatusCode, view: &Versioned<AuthorizationView>) -> Response {
    record_response(status, view.revision, &wire::Authorization::from(&view.value))
}

pub(crate) async fn create(
    request: ManagementRequest,
    LimitedBody(body): LimitedBody,
) -> Result<Response, ErrorBody> {
    let draft = wire::authorization_draft(&body).map_err(InvalidJson::into_error_body)?;
    let new = draft.validate()?;
    let created = request.on_behalf().create_authorization(new).await;
    let created = created.map_err(|error| request.conditions.creation_failed(error))?;
    Ok(show(StatusCode::CREATED, &created))
}

pub(crate) async fn get(
    request: ManagementRequest,
    path: PathId,
    RawQuery(query): RawQuery,
) -> Result<Response, ErrorBody> {
    let id: AuthorizationId = path_id(path)?;
    let query = Query::parse(query.as_deref().unwrap_or_default());
    let shows_password = query.readable_text(HAS_PASSWORD)?;
    let shows_password = shows_password.map_or(Ok(false), |text| parse_has_password(&text))?;
    let found = request.on_behalf().authorization(id).await?;
    let body = wire::Authorization::new(&found.value, shows_password);
    Ok(request.respond_found(found.revision, &body))
}

pub(crate) async fn update(
    request: ManagementRequest,
    path: PathId,
    LimitedBody(body): LimitedBody,
) -> Result<Response, ErrorBody> {
    let id: AuthorizationId = path_id(path)?;
    let draft = wire::update_draft(&body).map_err(InvalidJson::into_error_body)?;
    let updated = request.on_behalf().update_authorization(id, draft).await?;
    Ok(show(StatusCode::OK, &updated))
}

pub(crate) async fn delete(
    request: ManagementRequest,
    path: PathId,
    RawQuery(query): RawQuery,
) -> Result<Response, ErrorBody> {
    let id: AuthorizationId = path_id(path)?;
    if dry_run::is_requested(query.as_deref())? {
        return dry_run::preview(&request, Deletion::Authorization(id)).await;
    }
    request.on_behalf().delete_authorization(id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) async fn set_password(
    request: ManagementRequest,
    path: PathId,
    LimitedBody(body): LimitedBody,
) -> Result<StatusCode, ErrorBody> {
    let id: AuthorizationId = path_id(path)?;
    request.conditions.check_change()?;
    let body = wire::password_body(&body).map_err(InvalidJson::into_error_body)?;
    let (on_behalf, password) = (request.on_behalf(), body.password.as_bytes());
    match body.keep_previous {
        Some(keep) => {
            let keep: KeepPrevious = keep
                .parse()
                .map_err(|error| ErrorBody::invalid(format!("invalid keepPrevious: {error}")))?;
            let keep = if body.end_previous_on_use { keep.until_new_is_used() } else { keep };
            on_behalf.rotate_password(id, password, keep).await?;
        }
        None if body.end_previous_on_use => {
            let message = "invalid endPreviousOnUse: needs keepPrevious";
            return Err(ErrorBody::invalid(message));
        }
        None => on_behalf.set_password(id, password).await?,
    }
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn end_previous_password(
    request: ManagementRequest,
    path: PathId,
) -> Result<StatusCode, ErrorBody> {
    let id: AuthorizationId = path_id(path)?;
    request.conditions.check_change()?;
    request.on_behalf().end_previous_password(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn set_permissions(
    request: ManagementRequest,
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
    let updated = request.on_behalf().set_permissions(id, permissions).await?;
    Ok(show(StatusCode::OK, &updated))
}
