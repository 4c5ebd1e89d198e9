//! DBRP mappings in the shapes of the v2 API.
//!
//! The org is a parameter of every request but `POST`, where it is a member of the body: its id, or else
//! its name.

use axum::extract::RawQuery;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use portcullis::{
    DbrpFilter, DbrpId, DbrpUpdate, Deletion, Error, ErrorKind, NewDbrp, OrgId, ParseIdError,
};
use serde::Serialize;

use crate::api::dry_run;
use crate::api::wire::{DbrpDraft, DbrpView, dbrp_draft, dbrp_update};
use crate::extract::body::{InvalidJson, LimitedBody};
use crate::extract::caller::ManagementRequest;
use crate::extract::id::{PathId, path_id};
use crate::extract::query::Query;
use crate::respond::{ErrorBody, json_response, record_response};

/// What a response but that of `POST` wraps a mapping, or several, into.
#[derive(Serialize)]
struct Content<T> {
    content: T,
}

/// `POST` of a mapping.
pub(crate) async fn create(
    request: ManagementRequest,
    LimitedBody(body): LimitedBody,
) -> Result<Response, ErrorBody> {
    let DbrpDraft { database, retention_policy, is_default, org, org_id, bucket_id } =
        dbrp_draft(&body).map_err(InvalidJson::into_error_body)?;
    let org = find_org(&request, org_id, org).await?;
    let bucket = parse_id("bucket", &bucket_id.unwrap_or_default())?;
    let new = NewDbrp {
        org,
        database: database.unwrap_or_default(),
        retention_policy: retention_policy.unwrap_or_default(),
        is_default: is_default.unwrap_or_default(),
        bucket,
    };
    let created = request.on_behalf().create_dbrp(new).await;
    let created = created.map_err(|error| request.conditions.creation_failed(error))?;
    let body = DbrpView::from(&created.value);
    Ok(record_response(StatusCode::CREATED, created.revision, &body))
}

/// `GET` of the list.
pub(crate) async fn list(
    request: ManagementRequest,
    RawQuery(query): RawQuery,
) -> Result<Response, ErrorBody> {
    let query = Query::parse(query.as_deref().unwrap_or_default());
    let on_behalf = request.on_behalf();
    on_behalf.require_active()?;
    let org = org_of(&request, &query).await?;
    let id = |name, what| query.readable_text(name)?.map(|id| parse_id(what, &id)).transpose();
    let filter = DbrpFilter {
        id: id("id", "DBRP")?.map(|id: portcullis::Id| id.into()),
        bucket: id("bucketID", "bucket")?.map(|id: portcullis::Id| id.into()),
        database: query.readable_text("db")?,
        retention_policy: query.readable_text("rp")?,
        is_default: query.readable_text("default")?.map(|text| parse_bool(&text)).transpose()?,
        ..DbrpFilter::all(org)
    };
    let found = on_behalf.list_dbrps(&filter).await?;
    let content: Vec<_> = found.iter().map(DbrpView::from).collect();
    Ok(json_response(StatusCode::OK, &Content { content }))
}

/// `GET` of one mapping by id.
pub(crate) async fn get(
    request: ManagementRequest,
    path: PathId,
    RawQuery(query): RawQuery,
) -> Result<Response, ErrorBody> {
    let (org, id) = org_and_id(&request, path, query).await?;
    let found = request.on_behalf().dbrp(org, id).await?;
    let body = Content { content: DbrpView::from(&found.value) };
    Ok(request.respond_found(found.revision, &body))
}

/// `PATCH` of one mapping.
pub(crate) async fn update(
    request: ManagementRequest,
    path: PathId,
    RawQuery(query): RawQuery,
    LimitedBody(body): LimitedBody,
) -> Result<Response, ErrorBody> {
    let (org, id) = org_and_id(&request, path, query).await?;
    let on_behalf = request.on_behalf();
    // Before the body is looked at: the API's order.
    on_behalf.dbrp(org, id).await?;
    let update: DbrpUpdate = dbrp_update(&body).map_err(InvalidJson::into_error_body)?;
    let updated = on_behalf.update_dbrp(org, id, update).await?;
    let body = Content { content: DbrpView::from(&updated.value) };
    Ok(record_response(StatusCode::OK, updated.revision, &body))
}

/// `DELETE` of one mapping.
pub(crate) async fn delete(
    request: ManagementRequest,
    path: PathId,
    RawQuery(query): RawQuery,
) -> Result<Response, ErrorBody> {
    let is_dry_run = dry_run::is_requested(query.as_deref());
    let (org, id) = org_and_id(&request, path, query).await?;
    if is_dry_run? {
        return dry_run::preview(&request, Deletion::Dbrp(org, id)).await;
    }
    request.on_behalf().delete_dbrp(org, id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn org_and_id(
    request: &ManagementRequest,
    path: PathId,
    query: Option<String>,
) -> Result<(OrgId, DbrpId), ErrorBody> {
    let id = path_id(path)?;
    let query = Query::parse(query.as_deref().unwrap_or_default());
    Ok((org_of(request, &query).await?, id))
}

/// Returns the org that the parameters name.
async fn org_of(request: &ManagementRequest, query: &Query) -> Result<OrgId, ErrorBody> {
    let (id, name) = (query.readable_text("orgID")?, query.readable_text("org")?);
    find_org(request, id, name).await
}

/// Returns the org with the id, or else with the name. That of an org which the caller neither belongs to
/// nor may read is as if there were none.
async fn find_org(
    request: &ManagementRequest,
    id: Option<String>,
    name: Option<String>,
) -> Result<OrgId, ErrorBody> {
    if let Some(id) = id.filter(|id| !id.is_empty()) {
        return parse_id("org", &id);
    }
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Err(ErrorBody::invalid("either 'org' or 'orgID' must be provided"));
    };
    let on_behalf = request.on_behalf();
    on_behalf.require_active()?;
    let found = request.engine.directory().org_by_name(&name).await?;
    let found = found.filter(|org| request.caller.org() == org.id || on_behalf.may_read_org(org));
    let missing = || {
        let message = format!("invalid org {name:?}: organization not found");
        Error::new(ErrorKind::NotFound, message)
    };
    Ok(found.ok_or_else(missing)?.id)
}

/// Reads an id, with the API's message for `what`.
fn parse_id<T: From<portcullis::Id>>(what: &str, text: &str) -> Result<T, ErrorBody> {
    let id: Result<portcullis::Id, ParseIdError> = text.parse();
    id.map(T::from)
        .map_err(|error| ErrorBody::invalid(format!("invalid {what} ID {text:?}: {error}")))
}

/// Reads a truth value in the forms that the reference reads.
fn parse_bool(text: &str) -> Result<bool, ErrorBody> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(ErrorBody::invalid("invalid default parameter")),
    }
}
