//! Lookups of orgs, users and buckets in the shapes of the v2 API, which existing clients use while
//! they manage authorizations. What the caller may not read is as if it did not exist.

use std::num::NonZeroUsize;
use std::str::FromStr;

use async_trait::async_trait;
use axum::extract::RawQuery;
use axum::response::Response;
use http::StatusCode;
use portcullis::{
    Bucket, BucketId, Directory, Error, ErrorKind, Id, OnBehalfOf, Org, OrgId, ParseIdError, User,
    UserId, Versioned,
};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::api::page::{Listed, Page, PageLinks, PageQuery};
use crate::api::wire::{BucketView, OrgView, UserView};
use crate::extract::caller::ManagementRequest;
use crate::extract::id::{PathId, path_id, query_id};
use crate::extract::query::Query;
use crate::respond::{ErrorBody, json_response};

/// An entity of the directory that has routes for lookups.
#[async_trait]
pub(crate) trait LookedUp: Listed {
    type Id: FromStr<Err = ParseIdError> + Send;
    /// How the v2 API shows it.
    type View: From<Self> + Serialize;

    /// The path of the list.
    const PATH: &'static str;
    /// The member of a page that holds the entities.
    const MEMBER: &'static str;
    /// The parameters that select entities. Links to other pages repeat all of them.
    const FILTERS: &'static [&'static str];

    /// Returns the entity, if the caller may read it.
    async fn get(on_behalf: &OnBehalfOf<'_>, id: Self::Id) -> Result<Versioned<Self>, Error>;

    /// Returns the page of the entities that the filters select and the caller may read.
    async fn page(
        page: &PageQuery,
        query: &Query,
        on_behalf: &OnBehalfOf<'_>,
        directory: &dyn Directory,
    ) -> Result<Page<Self>, ErrorBody>;
}

/// `GET` of the list.
pub(crate) async fn list<T: LookedUp>(
    request: ManagementRequest,
    RawQuery(query): RawQuery,
) -> Result<Response, ErrorBody> {
    let query = query.unwrap_or_default();
    let on_behalf = request.on_behalf();
    on_behalf.require_active()?;
    let page = PageQuery::parse(&query, T::FILTERS)?;
    let directory = request.engine.directory();
    let found = T::page(&page, &Query::parse(&query), &on_behalf, directory).await?;
    let links = page.links(T::PATH, &query, T::FILTERS, &found);
    let views: Vec<T::View> = found.items.into_iter().map(T::View::from).collect();
    Ok(json_response(StatusCode::OK, &PageBody { links, member: T::MEMBER, views }))
}

/// `GET` of one entity by id.
pub(crate) async fn get<T: LookedUp>(
    request: ManagementRequest,
    path: PathId,
) -> Result<Response, ErrorBody> {
    let id = path_id(path)?;
    let found = T::get(&request.on_behalf(), id).await?;
    Ok(request.respond_found(found.revision, &T::View::from(found.value)))
}

/// `GET` of the caller's user.
pub(crate) async fn me(request: ManagementRequest) -> Result<Response, ErrorBody> {
    let me = request.on_behalf().me().await?;
    Ok(request.respond_found(me.revision, &UserView::from(me.value)))
}

/// The JSON of a page.
struct PageBody<V> {
    links: PageLinks,
    member: &'static str,
    views: Vec<V>,
}

impl<V: Serialize> Serialize for PageBody<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut body = serializer.serialize_map(Some(2))?;
        body.serialize_entry("links", &self.links)?;
        body.serialize_entry(self.member, &self.views)?;
        body.end()
    }
}

fn not_found(message: impl Into<String>) -> ErrorBody {
    Error::new(ErrorKind::NotFound, message.into()).into()
}

#[async_trait]
impl Listed for Org {
    async fn read(
        directory: &dyn Directory,
        _: Option<OrgId>,
        after: Option<Id>,
        limit: NonZeroUsize,
    ) -> Result<Vec<Self>, Error> {
        directory.orgs(after.map(Into::into), limit).await
    }

    fn id(&self) -> Id {
        self.id.untyped()
    }
}

#[async_trait]
impl LookedUp for Org {
    type Id = OrgId;
    type View = OrgView;

    const PATH: &'static str = "/api/v2/orgs";
    const MEMBER: &'static str = "orgs";
    const FILTERS: &'static [&'static str] = &["org", "orgID"];

    async fn get(on_behalf: &OnBehalfOf<'_>, id: OrgId) -> Result<Versioned<Self>, Error> {
        on_behalf.org(id).await
    }

    async fn page(
        page: &PageQuery,
        query: &Query,
        on_behalf: &OnBehalfOf<'_>,
        directory: &dyn Directory,
    ) -> Result<Page<Self>, ErrorBody> {
        let id: Option<OrgId> = query_id(query, "orgID")?;
        let name = query.text("org");
        let may_read = |org: &Self| on_behalf.may_read_org(org);
        let found = match (&name, id) {
            (Some(name), _) => directory.org_by_name(name).await?,
            (None, Some(id)) => directory.org(id).await?,
            (None, None) => return Ok(page.read(directory, None, may_read).await?),
        };
        let found = found.filter(|org| may_read(org) && id.is_none_or(|id| id == org.id));
        match (found, name) {
            (Some(found), _) => Ok(page.of_one(Some(found))),
            (None, Some(name)) => Err(not_found(format!("organization name \"{name}\" not found"))),
            (None, None) => Err(not_found("organization not found")),
        }
    }
}

#[async_trait]
impl Listed for User {
    async fn read(
        directory: &dyn Directory,
        _: Option<OrgId>,
        after: Option<Id>,
        limit: NonZeroUsize,
    ) -> Result<Vec<Self>, Error> {
        directory.users(after.map(Into::into), limit).await
    }

    fn id(&self) -> Id {
        self.id.untyped()
    }
}

#[async_trait]
impl LookedUp for User {
    type Id = UserId;
    type View = UserView;

    const PATH: &'static str = "/api/v2/users";
    const MEMBER: &'static str = "users";
    const FILTERS: &'static [&'static str] = &["name", "id"];

    async fn get(on_behalf: &OnBehalfOf<'_>, id: UserId) -> Result<Versioned<Self>, Error> {
        on_behalf.user(id).await
    }

    async fn page(
        page: &PageQuery,
        query: &Query,
        on_behalf: &OnBehalfOf<'_>,
        directory: &dyn Directory,
    ) -> Result<Page<Self>, ErrorBody> {
        let id: Option<UserId> = query_id(query, "id")?;
        let may_read = |user: &Self| on_behalf.may_read_user(user);
        let found = match (query.text("name"), id) {
            (Some(name), _) => directory.user_by_name(&name).await?,
            (None, Some(id)) => directory.user(id).await?,
            (None, None) => return Ok(page.read(directory, None, may_read).await?),
        };
        let found = found.filter(|user| may_read(user) && id.is_none_or(|id| id == user.id));
        let found = found.ok_or_else(|| not_found("user not found"))?;
        Ok(page.of_one(Some(found)))
    }
}

#[async_trait]
impl Listed for Bucket {
    async fn read(
        directory: &dyn Directory,
        org: Option<OrgId>,
        after: Option<Id>,
        limit: NonZeroUsize,
    ) -> Result<Vec<Self>, Error> {
        directory.buckets(org, after.map(Into::into), limit).await
    }

    fn id(&self) -> Id {
        self.id.untyped()
    }
}

#[async_trait]
impl LookedUp for Bucket {
    type Id = BucketId;
    type View = BucketView;

    const PATH: &'static str = "/api/v2/buckets";
    const MEMBER: &'static str = "buckets";
    const FILTERS: &'static [&'static str] = &["name", "id", "org", "orgID"];

    async fn get(on_behalf: &OnBehalfOf<'_>, id: BucketId) -> Result<Versioned<Self>, Error> {
        on_behalf.bucket(id).await
    }

    async fn page(
        page: &PageQuery,
        query: &Query,
        on_behalf: &OnBehalfOf<'_>,
        directory: &dyn Directory,
    ) -> Result<Page<Self>, ErrorBody> {
        let mut org: Option<OrgId> = query_id(query, "orgID")?;
        let id: Option<BucketId> = query_id(query, "id")?;
        if let Some(name) = query.text("org") {
            let found = directory.org_by_name(&name).await?;
            // An org that does not exist has no buckets: the response is that for an org that may
            // not be read.
            let none = OrgId::from_u64(0);
            org = Some(found.map_or(none, |found| match org {
                Some(org) if org != found.id => none,
                _ => found.id,
            }));
        }
        let name = query.text("name");
        let matches = |bucket: &Self| {
            on_behalf.may_read_bucket(bucket)
                && id.is_none_or(|id| id == bucket.id)
                && org.is_none_or(|org| org == bucket.org)
                && name.as_deref().is_none_or(|name| name == bucket.name.as_str())
        };
        // A bucket that exists may be on another page.
        let exists;
        let found = if let (Some(org), Some(name)) = (org, &name) {
            let found = directory.bucket_by_name(org, name).await?.filter(matches);
            exists = found.is_some();
            page.of_one(found)
        } else if let Some(id) = id {
            let found = directory.bucket(id).await?.filter(matches);
            exists = found.is_some();
            page.of_one(found)
        } else {
            let found = page.read(directory, org, matches).await?;
            exists = !found.items.is_empty();
            found
        };
        match name {
            Some(name) if !exists => Err(not_found(format!("bucket \"{name}\" not found"))),
            _ => Ok(found),
        }
    }
}
