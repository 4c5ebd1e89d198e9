//! Look-ups of orgs, users and buckets in the shapes of the v2 API: what existing clients ask
//! around the management of authorizations. What the caller may not read is not there.

use std::num::NonZeroUsize;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::StatusCode;
use portcullis::{BucketId, Error, ErrorKind, OrgId, UserId};
use serde::Serialize;

use crate::authorizations::{PathId, answer, id as path_id};
use crate::callers::Caller;
use crate::envelope::Envelope;
use crate::list::{id as query_id, parse_limit};
use crate::query::Query;
use crate::router::Api;
use crate::wire::{BucketView, OrgView, SelfLink, UserView};

/// The page size of the v2 API when none is asked for, and the largest.
const DEFAULT_LIMIT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(19);
const MAX_LIMIT: usize = 100;

/// How many are read at a time to fill a page, however small.
const CHUNK: NonZeroUsize = NonZeroUsize::MIN.saturating_add(499);

fn not_found(message: impl Into<String>) -> Envelope {
    Error::new(ErrorKind::NotFound, message.into()).into()
}

#[derive(Serialize)]
struct Orgs {
    links: SelfLink,
    orgs: Vec<OrgView>,
}

#[derive(Serialize)]
struct Users {
    links: SelfLink,
    users: Vec<UserView>,
}

#[derive(Serialize)]
struct Buckets {
    links: SelfLink,
    buckets: Vec<BucketView>,
}

fn links(this: &str) -> SelfLink {
    SelfLink { this: this.to_owned() }
}

fn page(query: &Query) -> Result<NonZeroUsize, Envelope> {
    query.text("limit").map_or(Ok(DEFAULT_LIMIT), |text| parse_limit(&text, MAX_LIMIT))
}

/// Reads on until the page is full of what is wanted.
macro_rules! collect_page {
    ($limit:expr, $after:expr, $read:expr, $wanted:expr) => {{
        let mut after = $after;
        let mut found = Vec::new();
        'pages: loop {
            let page = $read(after).await?;
            let Some(last) = page.last().map(|item| item.id) else {
                break;
            };
            after = Some(last);
            for item in page {
                if $wanted(&item) {
                    found.push(item.into());
                    if found.len() == $limit.get() {
                        break 'pages;
                    }
                }
            }
        }
        found
    }};
}

pub(crate) async fn orgs(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Response, Envelope> {
    let query = Query::parse(query.as_deref().unwrap_or_default());
    let on_behalf = caller.asks(&api.engine);
    on_behalf.require_active()?;
    let directory = api.engine.directory();
    let by_id: Option<OrgId> = query_id(&query, "orgID")?;
    let limit = page(&query)?;
    let orgs: Vec<OrgView> = if let Some(name) = query.text("org") {
        let found = directory.org_by_name(&name).await?;
        let found = found
            .filter(|org| on_behalf.may_read_org(org) && by_id.is_none_or(|id| id == org.id))
            .ok_or_else(|| not_found(format!("organization name \"{name}\" not found")))?;
        vec![found.into()]
    } else if let Some(id) = by_id {
        let found = directory.org(id).await?.filter(|org| on_behalf.may_read_org(org));
        vec![found.ok_or_else(|| not_found("organization not found"))?.into()]
    } else {
        let after = query_id(&query, "after")?;
        collect_page!(limit, after, |after| directory.orgs(after, CHUNK), |org| {
            on_behalf.may_read_org(org)
        })
    };
    Ok(answer(StatusCode::OK, &Orgs { links: links("/api/v2/orgs"), orgs }))
}

pub(crate) async fn org(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    path: PathId,
) -> Result<Response, Envelope> {
    let id: OrgId = path_id(path)?;
    let found = caller.asks(&api.engine).org(id).await?;
    Ok(answer(StatusCode::OK, &OrgView::from(found)))
}

pub(crate) async fn users(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Response, Envelope> {
    let query = Query::parse(query.as_deref().unwrap_or_default());
    let on_behalf = caller.asks(&api.engine);
    on_behalf.require_active()?;
    let directory = api.engine.directory();
    let by_id: Option<UserId> = query_id(&query, "id")?;
    let limit = page(&query)?;
    let users: Vec<UserView> = if let Some(name) = query.text("name") {
        let found = directory.user_by_name(&name).await?;
        let found = found
            .filter(|user| on_behalf.may_read_user(user) && by_id.is_none_or(|id| id == user.id))
            .ok_or_else(|| not_found("user not found"))?;
        vec![found.into()]
    } else if let Some(id) = by_id {
        let found = directory.user(id).await?.filter(|user| on_behalf.may_read_user(user));
        vec![found.ok_or_else(|| not_found("user not found"))?.into()]
    } else {
        let after = query_id(&query, "after")?;
        collect_page!(limit, after, |after| directory.users(after, CHUNK), |user| on_behalf
            .may_read_user(user))
    };
    Ok(answer(StatusCode::OK, &Users { links: links("/api/v2/users"), users }))
}

pub(crate) async fn user(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    path: PathId,
) -> Result<Response, Envelope> {
    let id: UserId = path_id(path)?;
    let found = caller.asks(&api.engine).user(id).await?;
    Ok(answer(StatusCode::OK, &UserView::from(found)))
}

pub(crate) async fn me(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Envelope> {
    let me = caller.asks(&api.engine).me().await?;
    Ok(answer(StatusCode::OK, &UserView::from(me)))
}

pub(crate) async fn buckets(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Response, Envelope> {
    let query = Query::parse(query.as_deref().unwrap_or_default());
    let on_behalf = caller.asks(&api.engine);
    on_behalf.require_active()?;
    let directory = api.engine.directory();
    let mut org: Option<OrgId> = query_id(&query, "orgID")?;
    let by_id: Option<BucketId> = query_id(&query, "id")?;
    let limit = page(&query)?;
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
    let after = query_id(&query, "after")?;
    let buckets: Vec<BucketView> = if let (Some(org), Some(name)) = (org, &name) {
        let found = directory.bucket_by_name(org, name).await?;
        let wanted = |bucket: &portcullis::Bucket| {
            on_behalf.may_read_bucket(bucket) && by_id.is_none_or(|id| id == bucket.id)
        };
        found.filter(wanted).map(BucketView::from).into_iter().collect()
    } else if let Some(id) = by_id {
        let wanted = |bucket: &portcullis::Bucket| {
            on_behalf.may_read_bucket(bucket)
                && org.is_none_or(|org| org == bucket.org)
                && name.as_deref().is_none_or(|name| name == bucket.name.as_str())
        };
        directory.bucket(id).await?.filter(wanted).map(BucketView::from).into_iter().collect()
    } else {
        collect_page!(
            limit,
            after,
            |after| directory.buckets(org, after, CHUNK),
            |bucket: &portcullis::Bucket| {
                on_behalf.may_read_bucket(bucket)
                    && name.as_deref().is_none_or(|name| name == bucket.name.as_str())
            }
        )
    };
    if let (Some(name), true) = (&name, buckets.is_empty()) {
        return Err(not_found(format!("bucket \"{name}\" not found")));
    }
    Ok(answer(StatusCode::OK, &Buckets { links: links("/api/v2/buckets"), buckets }))
}

pub(crate) async fn bucket(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    path: PathId,
) -> Result<Response, Envelope> {
    let id: BucketId = path_id(path)?;
    let found = caller.asks(&api.engine).bucket(id).await?;
    Ok(answer(StatusCode::OK, &BucketView::from(found)))
}
