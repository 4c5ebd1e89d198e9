//! Lookups of orgs, users and buckets in the shapes of the v2 API: what existing clients ask
//! around the management of authorizations. What the caller may not read is not there.

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::StatusCode;
use portcullis::{BucketId, Error, ErrorKind, OrgId, UserId};
use serde::Serialize;

use crate::api::page::{PageLinks, PageQuery};
use crate::api::wire::{BucketView, OrgView, UserView};
use crate::extract::caller::Caller;
use crate::extract::id::{PathId, path_id, query_id};
use crate::extract::query::Query;
use crate::respond::{ErrorBody, json_response};
use crate::state::Api;

fn not_found(message: impl Into<String>) -> ErrorBody {
    Error::new(ErrorKind::NotFound, message.into()).into()
}

#[derive(Serialize)]
struct Orgs {
    links: PageLinks,
    orgs: Vec<OrgView>,
}

#[derive(Serialize)]
struct Users {
    links: PageLinks,
    users: Vec<UserView>,
}

#[derive(Serialize)]
struct Buckets {
    links: PageLinks,
    buckets: Vec<BucketView>,
}

const ORGS: (&str, &[&str]) = ("/api/v2/orgs", &["org", "orgID"]);
const USERS: (&str, &[&str]) = ("/api/v2/users", &["name", "id"]);
const BUCKETS: (&str, &[&str]) = ("/api/v2/buckets", &["name", "id", "org", "orgID"]);

pub(crate) async fn orgs(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Response, ErrorBody> {
    let (path, filters) = ORGS;
    let raw = query.unwrap_or_default();
    let query = Query::parse(&raw);
    let on_behalf = caller.engine_for(&api.engine);
    on_behalf.require_active()?;
    let directory = api.engine.directory();
    let page = PageQuery::parse(&raw, filters)?;
    let by_id: Option<OrgId> = query_id(&query, "orgID")?;
    let found = if let Some(name) = query.text("org") {
        let found = directory.org_by_name(&name).await?;
        let found = found
            .filter(|org| on_behalf.may_read_org(org) && by_id.is_none_or(|id| id == org.id))
            .ok_or_else(|| not_found(format!("organization name \"{name}\" not found")))?;
        page.of_one(Some(found))
    } else if let Some(id) = by_id {
        let found = directory.org(id).await?.filter(|org| on_behalf.may_read_org(org));
        page.of_one(Some(found.ok_or_else(|| not_found("organization not found"))?))
    } else {
        page.of(directory, None, |org| on_behalf.may_read_org(org)).await?
    };
    let links = page.links(path, &raw, filters, &found);
    let orgs = found.items.into_iter().map(OrgView::from).collect();
    Ok(json_response(StatusCode::OK, &Orgs { links, orgs }))
}

pub(crate) async fn org(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    path: PathId,
) -> Result<Response, ErrorBody> {
    let id: OrgId = path_id(path)?;
    let found = caller.engine_for(&api.engine).org(id).await?;
    Ok(json_response(StatusCode::OK, &OrgView::from(found)))
}

pub(crate) async fn users(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Response, ErrorBody> {
    let (path, filters) = USERS;
    let raw = query.unwrap_or_default();
    let query = Query::parse(&raw);
    let on_behalf = caller.engine_for(&api.engine);
    on_behalf.require_active()?;
    let directory = api.engine.directory();
    let page = PageQuery::parse(&raw, filters)?;
    let by_id: Option<UserId> = query_id(&query, "id")?;
    let found = if let Some(name) = query.text("name") {
        let found = directory.user_by_name(&name).await?;
        let found = found
            .filter(|user| on_behalf.may_read_user(user) && by_id.is_none_or(|id| id == user.id))
            .ok_or_else(|| not_found("user not found"))?;
        page.of_one(Some(found))
    } else if let Some(id) = by_id {
        let found = directory.user(id).await?.filter(|user| on_behalf.may_read_user(user));
        page.of_one(Some(found.ok_or_else(|| not_found("user not found"))?))
    } else {
        page.of(directory, None, |user| on_behalf.may_read_user(user)).await?
    };
    let links = page.links(path, &raw, filters, &found);
    let users = found.items.into_iter().map(UserView::from).collect();
    Ok(json_response(StatusCode::OK, &Users { links, users }))
}

pub(crate) async fn user(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    path: PathId,
) -> Result<Response, ErrorBody> {
    let id: UserId = path_id(path)?;
    let found = caller.engine_for(&api.engine).user(id).await?;
    Ok(json_response(StatusCode::OK, &UserView::from(found)))
}

pub(crate) async fn me(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, ErrorBody> {
    let me = caller.engine_for(&api.engine).me().await?;
    Ok(json_response(StatusCode::OK, &UserView::from(me)))
}

pub(crate) async fn buckets(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Response, ErrorBody> {
    let (path, filters) = BUCKETS;
    let raw = query.unwrap_or_default();
    let query = Query::parse(&raw);
    let on_behalf = caller.engine_for(&api.engine);
    on_behalf.require_active()?;
    let directory = api.engine.directory();
    let page = PageQuery::parse(&raw, filters)?;
    let mut org: Option<OrgId> = query_id(&query, "orgID")?;
    let by_id: Option<BucketId> = query_id(&query, "id")?;
    if let Some(name) = query.text("org") {
        let found = directory.org_by_name(&name).await?;
        // An org that is not there has no buckets: the answer is that of one that may not be read.
        let none = OrgId::from_u64(0);
        org = Some(found.map_or(none, |found| match org {
            Some(org) if org != found.id => none,
            _ => found.id,
        }));
    }
    let name = query.text("name");
    let wanted = |bucket: &portcullis::Bucket| {
        on_behalf.may_read_bucket(bucket)
            && by_id.is_none_or(|id| id == bucket.id)
            && org.is_none_or(|org| org == bucket.org)
            && name.as_deref().is_none_or(|name| name == bucket.name.as_str())
    };
    // What is named is not there, or it is on another page.
    let mut is_there = true;
    let found = if let (Some(org), Some(name)) = (org, &name) {
        let found = directory.bucket_by_name(org, name).await?.filter(wanted);
        is_there = found.is_some();
        page.of_one(found)
    } else if let Some(id) = by_id {
        let found = directory.bucket(id).await?.filter(wanted);
        is_there = found.is_some();
        page.of_one(found)
    } else {
        let found = page.of(directory, org, wanted).await?;
        is_there &= !found.items.is_empty();
        found
    };
    if let (Some(name), false) = (&name, is_there) {
        return Err(not_found(format!("bucket \"{name}\" not found")));
    }
    let links = page.links(path, &raw, filters, &found);
    let buckets = found.items.into_iter().map(BucketView::from).collect();
    Ok(json_response(StatusCode::OK, &Buckets { links, buckets }))
}

pub(crate) async fn bucket(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    path: PathId,
) -> Result<Response, ErrorBody> {
    let id: BucketId = path_id(path)?;
    let found = caller.engine_for(&api.engine).bucket(id).await?;
    Ok(json_response(StatusCode::OK, &BucketView::from(found)))
}
