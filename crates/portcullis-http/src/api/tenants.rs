//! Creating, changing and deleting orgs, users and buckets. Lookups of them are in `lookups.rs`.
//!
//! Each operation checks the size of the body, then the id, then the content of the body: the API's order.

use axum::extract::RawQuery;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use portcullis::{BucketId, BucketUpdate, Deletion, Error, ErrorKind, Name, OrgId, UserId};

use crate::api::dry_run;
use crate::api::wire::{self, BucketDraft, BucketView, OrgView, TenantDraft, UserView};
use crate::extract::body::{InvalidJson, LimitedBody};
use crate::extract::caller::ManagementRequest;
use crate::extract::id::{PathId, path_id};
use crate::respond::{ErrorBody, record_response};

fn tenant(body: &[u8]) -> Result<TenantDraft, ErrorBody> {
    wire::tenant_draft(body).map_err(InvalidJson::into_error_body)
}

fn bucket(body: &[u8]) -> Result<BucketDraft, ErrorBody> {
    wire::bucket_draft(body).map_err(InvalidJson::into_error_body)
}

/// `POST` of an org.
pub(crate) async fn create_org(
    request: ManagementRequest,
    LimitedBody(body): LimitedBody,
) -> Result<Response, ErrorBody> {
    let (name, status) = tenant(&body)?.validate_creation()?;
    let created = request.on_behalf().create_org(name, status).await;
    let created = created.map_err(|error| request.conditions.creation_failed(error))?;
    Ok(record_response(StatusCode::CREATED, created.revision, &OrgView::from(created.value)))
}

/// `PATCH` of an org.
pub(crate) async fn update_org(
    request: ManagementRequest,
    path: PathId,
    LimitedBody(body): LimitedBody,
) -> Result<Response, ErrorBody> {
    let id: OrgId = path_id(path)?;
    let update = tenant(&body)?.validate_update()?;
    let updated = request.on_behalf().update_org(id, update).await?;
    Ok(record_response(StatusCode::OK, updated.revision, &OrgView::from(updated.value)))
}

/// `DELETE` of an org.
pub(crate) async fn delete_org(
    request: ManagementRequest,
    path: PathId,
    RawQuery(query): RawQuery,
) -> Result<Response, ErrorBody> {
    let id: OrgId = path_id(path)?;
    if dry_run::is_requested(query.as_deref())? {
        return dry_run::preview(&request, Deletion::Org(id)).await;
    }
    request.on_behalf().delete_org(id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST` of a user.
pub(crate) async fn create_user(
    request: ManagementRequest,
    LimitedBody(body): LimitedBody,
) -> Result<Response, ErrorBody> {
    let (name, status) = tenant(&body)?.validate_creation()?;
    let created = request.on_behalf().create_user(name, status).await;
    let created = created.map_err(|error| request.conditions.creation_failed(error))?;
    Ok(record_response(StatusCode::CREATED, created.revision, &UserView::from(created.value)))
}

/// `PATCH` of a user.
pub(crate) async fn update_user(
    request: ManagementRequest,
    path: PathId,
    LimitedBody(body): LimitedBody,
) -> Result<Response, ErrorBody> {
    let id: UserId = path_id(path)?;
    let update = tenant(&body)?.validate_update()?;
    let updated = request.on_behalf().update_user(id, update).await?;
    Ok(record_response(StatusCode::OK, updated.revision, &UserView::from(updated.value)))
}

/// `DELETE` of a user.
pub(crate) async fn delete_user(
    request: ManagementRequest,
    path: PathId,
    RawQuery(query): RawQuery,
) -> Result<Response, ErrorBody> {
    let id: UserId = path_id(path)?;
    if dry_run::is_requested(query.as_deref())? {
        return dry_run::preview(&request, Deletion::User(id)).await;
    }
    request.on_behalf().delete_user(id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST` and `PUT` of a user's password: a user has none. The body is read, so that the connection can
/// be used again.
pub(crate) async fn refuse_password(_: ManagementRequest, _: LimitedBody) -> ErrorBody {
    ErrorBody::invalid(
        "users have no passwords here: a user logs in with an API token (/api/v2/authorizations) or with a \
         v1 credential, whose password is set with POST /private/legacy/authorizations/ID/password",
    )
}

/// `POST` of a bucket.
pub(crate) async fn create_bucket(
    request: ManagementRequest,
    LimitedBody(body): LimitedBody,
) -> Result<Response, ErrorBody> {
    let draft = bucket(&body)?;
    let no_org = || Error::new(ErrorKind::Invalid, "organization id must be provided");
    let org = draft.org_id.ok_or_else(no_org)?;
    draft.check_rules()?;
    let name = Name::new(draft.name.unwrap_or_default()).map_err(Error::from)?;
    let created = request.on_behalf().create_bucket(org, name).await;
    let created = created.map_err(|error| request.conditions.creation_failed(error))?;
    Ok(record_response(StatusCode::CREATED, created.revision, &BucketView::from(created.value)))
}

/// `PATCH` of a bucket.
pub(crate) async fn update_bucket(
    request: ManagementRequest,
    path: PathId,
    LimitedBody(body): LimitedBody,
) -> Result<Response, ErrorBody> {
    let id: BucketId = path_id(path)?;
    let draft = bucket(&body)?;
    draft.check_rules()?;
    let name = draft.name.map(Name::new).transpose().map_err(Error::from)?;
    let updated = request.on_behalf().update_bucket(id, BucketUpdate { name }).await?;
    Ok(record_response(StatusCode::OK, updated.revision, &BucketView::from(updated.value)))
}

/// `DELETE` of a bucket.
pub(crate) async fn delete_bucket(
    request: ManagementRequest,
    path: PathId,
    RawQuery(query): RawQuery,
) -> Result<Response, ErrorBody> {
    let id: BucketId = path_id(path)?;
    if dry_run::is_requested(query.as_deref())? {
        return dry_run::preview(&request, Deletion::Bucket(id)).await;
    }
    request.on_behalf().delete_bucket(id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
