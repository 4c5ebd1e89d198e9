//! The lists of authorizations and of API tokens: filtered, paged, streamed.

use std::num::NonZeroUsize;

use async_trait::async_trait;
use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use percent_encoding::utf8_percent_encode;
use portcullis::{
    ApiTokenFilter, ApiTokenId, ApiTokenView, AuthorizationFilter, AuthorizationId,
    AuthorizationPage, AuthorizationView, Engine, Error, ErrorKind, Id, NameResolver, OnBehalfOf,
    OrgId, Permission, Status, Timestamp, TokenSecret, UserId,
};

use crate::api::stream::{self, CredentialList, ListPage};
use crate::api::wire::{self, API_TOKENS, ApiTokenBody, PREFIX};
use crate::extract::caller::Caller;
use crate::extract::id::parse_id;
use crate::extract::query::{Query, UNRESERVED, parse_limit};
use crate::json;
use crate::respond::ErrorBody;
use crate::state::Api;

/// The most credentials on a page that `limit` selects.
pub(crate) const MAX_LIMIT: usize = 1_000;

/// The parameters of a list. The names of users and orgs are not looked up yet.
#[derive(PartialEq)]
#[cfg_attr(test, derive(Debug))]
struct ListRequest {
    id: Option<Id>,
    auth_id: Option<Id>,
    token: Option<String>,
    org_id: Option<OrgId>,
    org: Option<String>,
    user_id: Option<UserId>,
    user: Option<String>,
    status: Option<Status>,
    permits: Option<Permission>,
    shows_password: bool,
    expires_before: Option<Timestamp>,
    unused_since: Option<Timestamp>,
    /// Whether each item shows when it was last used.
    last_used: Option<bool>,
    limit: Option<NonZeroUsize>,
    after: Option<Id>,
    /// The text of every filter that was read, for the link to the next page.
    filters: Filters,
}

/// Reads filters from a query, and keeps the text of each.
///
/// A filter cannot be read in another way. The link to the next page repeats all of them, so none
/// can be lost from the second page on.
#[derive(Default, PartialEq)]
#[cfg_attr(test, derive(Debug))]
struct Filters(Vec<(&'static str, String)>);

impl Filters {
    /// Returns the first value of the filter; an empty one is none.
    fn read(&mut self, query: &Query, name: &'static str) -> Result<Option<String>, ErrorBody> {
        let text = query.readable_text(name)?;
        self.0.extend(text.clone().map(|text| (name, text)));
        Ok(text)
    }
}

impl ListRequest {
    fn parse(query: &Query) -> Result<Self, ErrorBody> {
        let mut filters = Filters::default();
        let mut filter = |name| filters.read(query, name);
        let (id, auth_id, token) = (filter("id")?, filter("authID")?, filter("token")?);
        let (user_id, user) = (filter("userID")?, filter("user")?);
        let (org_id, org) = (filter("orgID")?, filter("org")?);
        let (status, permits) = (filter("status")?, filter("permits")?);
        let shows_password = filter(HAS_PASSWORD)?;
        let expires_before = filter("expiresBefore")?;
        let (unused_since, last_used) = (filter("unusedSince")?, filter("lastUsed")?);
        let (limit, after) = (query.readable_text("limit")?, query.readable_text("after")?);
        if query.bytes("token").is_some_and(<[u8]>::is_empty) {
            return Err(ErrorBody::invalid("`token` must not be empty: leave it out to list all"));
        }
        Ok(Self {
            user_id: parse_id(user_id)?,
            org_id: parse_id(org_id)?,
            id: parse_id(id)?,
            auth_id: parse_id(auth_id)?,
            token,
            user,
            org,
            status: status.map(|text| parse_status(&text)).transpose()?,
            permits: permits.map(|text| parse_permits(&text)).transpose()?,
            shows_password: shows_password.map_or(Ok(false), |text| parse_has_password(&text))?,
            expires_before: expires_before
                .map(|text| parse_time("expiresBefore", &text))
                .transpose()?,
            unused_since: unused_since.map(|text| parse_time("unusedSince", &text)).transpose()?,
            last_used: last_used.map(|text| parse_flag("lastUsed", &text)).transpose()?,
            limit: limit.map(|text| parse_limit(&text, MAX_LIMIT)).transpose()?,
            after: parse_id(after)?,
            filters,
        })
    }

    /// Returns whether the filters select one credential, so that an empty list is a 404.
    fn selects_one(&self) -> bool {
        self.id.is_some() || self.auth_id.is_some() || self.token.is_some()
    }

    /// Looks the names up. Returns `None` if the filters contradict each other, so that nothing matches.
    async fn owner(&self, engine: &Engine) -> Result<Option<Owner>, Error> {
        let directory = engine.directory();
        let mut user = self.user_id;
        let mut org = self.org_id;
        let mut consistent = self.id.is_none() || self.auth_id.is_none() || self.id == self.auth_id;
        if let Some(name) = &self.user {
            let found = directory.user_by_name(name).await?;
            let found = found.ok_or_else(|| Error::new(ErrorKind::NotFound, "user not found"))?;
            consistent &= user.is_none_or(|user| user == found.id);
            user = Some(found.id);
        }
        if let Some(name) = &self.org {
            let found = directory.org_by_name(name).await?.ok_or_else(|| {
                let message = format!("organization name \"{name}\" not found");
                Error::new(ErrorKind::NotFound, message)
            })?;
            consistent &= org.is_none_or(|org| org == found.id);
            org = Some(found.id);
        }
        Ok(consistent.then_some(Owner { user, org }))
    }

    /// Returns the link to the next page: the same filters, after this id.
    fn next_link(&self, path: &str, after: Id, limit: NonZeroUsize) -> String {
        let filters = self.filters.0.iter().map(|(name, text)| (*name, text.clone()));
        let paging = [("limit", limit.to_string()), ("after", after.to_string())];
        let parameters: Vec<String> = filters
            .chain(paging)
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(&value, UNRESERVED)))
            .collect();
        format!("{path}?{}", parameters.join("&"))
    }
}

/// The user and the org that filters name.
struct Owner {
    user: Option<UserId>,
    org: Option<OrgId>,
}

fn parse_status(text: &str) -> Result<Status, ErrorBody> {
    text.parse().map_err(|_| ErrorBody::invalid("`status` must be active or inactive"))
}

fn parse_permits(text: &str) -> Result<Permission, ErrorBody> {
    text.parse().map_err(|error| ErrorBody::invalid(format!("`permits`: {error}")))
}

/// The parameter that adds the member of the same name to authorizations.
pub(super) const HAS_PASSWORD: &str = "hasPassword";

pub(super) fn parse_has_password(text: &str) -> Result<bool, ErrorBody> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(ErrorBody::invalid("`hasPassword` must be true or false")),
    }
}

/// Parses the time of the parameter with this name.
fn parse_time(name: &str, text: &str) -> Result<Timestamp, ErrorBody> {
    text.parse().map_err(|error| ErrorBody::invalid(format!("`{name}`: {error}")))
}

fn parse_flag(name: &str, text: &str) -> Result<bool, ErrorBody> {
    text.parse().map_err(|_| ErrorBody::invalid(format!("`{name}` must be true or false")))
}

/// A list of authorizations.
struct Authorizations {
    filter: AuthorizationFilter,
    shows_password: bool,
}

/// An authorization of a list.
struct Shown {
    view: AuthorizationView,
    shows_password: bool,
}

impl Authorizations {
    fn shown(&self, page: AuthorizationPage<AuthorizationView>) -> ListPage<Shown> {
        let shows_password = self.shows_password;
        let shown = |view| Shown { view, shows_password };
        let items = page.items.into_iter().map(shown).collect();
        ListPage { items, next: page.next.map(AuthorizationId::untyped) }
    }
}

#[async_trait]
impl CredentialList for Authorizations {
    type Item = Shown;

    const PATH: &'static str = PREFIX;

    async fn page(
        &self,
        on_behalf: &OnBehalfOf<'_>,
        after: Option<Id>,
        limit: NonZeroUsize,
    ) -> Result<ListPage<Shown>, Error> {
        let after = after.map(Into::into);
        Ok(self.shown(on_behalf.list_authorizations(&self.filter, after, limit).await?))
    }

    async fn part(
        &self,
        on_behalf: &OnBehalfOf<'_>,
        after: Option<Id>,
        limit: NonZeroUsize,
        names: &mut NameResolver,
    ) -> Result<ListPage<Shown>, Error> {
        let after = after.map(Into::into);
        let page = on_behalf.list_authorization_pages(&self.filter, after, limit, names).await?;
        Ok(self.shown(page))
    }

    fn write(out: &mut Vec<u8>, level: usize, item: &Shown) {
        let body = wire::Authorization::new(&item.view, item.shows_password);
        json::pretty_at(out, level, &body);
    }
}

/// A list of API tokens.
struct ApiTokens(ApiTokenFilter);

#[async_trait]
impl CredentialList for ApiTokens {
    type Item = ApiTokenView;

    const PATH: &'static str = API_TOKENS;

    async fn page(
        &self,
        on_behalf: &OnBehalfOf<'_>,
        after: Option<Id>,
        limit: NonZeroUsize,
    ) -> Result<ListPage<ApiTokenView>, Error> {
        let page = on_behalf.list_api_tokens(&self.0, after.map(Into::into), limit).await?;
        Ok(ListPage { items: page.items, next: page.next.map(ApiTokenId::untyped) })
    }

    async fn part(
        &self,
        on_behalf: &OnBehalfOf<'_>,
        after: Option<Id>,
        limit: NonZeroUsize,
        names: &mut NameResolver,
    ) -> Result<ListPage<ApiTokenView>, Error> {
        let after = after.map(Into::into);
        let page = on_behalf.list_api_token_pages(&self.0, after, limit, names).await?;
        Ok(ListPage { items: page.items, next: page.next.map(ApiTokenId::untyped) })
    }

    fn write(out: &mut Vec<u8>, level: usize, item: &ApiTokenView) {
        json::pretty_at(out, level, &ApiTokenBody::from(item));
    }
}

/// `GET` of the list of authorizations.
pub(crate) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Response, ErrorBody> {
    let request = ListRequest::parse(&Query::parse(query.as_deref().unwrap_or_default()))?;
    caller.require_active()?;
    let owner = request.owner(&api.engine).await?;
    let list = owner.map(|Owner { user, org }| {
        let filter = AuthorizationFilter {
            id: request.id.or(request.auth_id).map(Into::into),
            username: request.token.clone(),
            org,
            user,
            status: request.status,
            permits: request.permits,
            expires_before: request.expires_before,
            unused_since: request.unused_since,
        };
        Authorizations { filter, shows_password: request.shows_password }
    });
    respond(api, caller, &request, list).await
}

/// `GET` of the list of API tokens. The parameter `token` is the secret of one.
pub(crate) async fn list_api_tokens(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Response, ErrorBody> {
    let request = ListRequest::parse(&Query::parse(query.as_deref().unwrap_or_default()))?;
    caller.require_active()?;
    if request.permits.is_some() {
        return Err(ErrorBody::invalid("`permits` is no filter of API tokens"));
    }
    let owner = request.owner(&api.engine).await?;
    let list = owner.map(|Owner { user, org }| {
        ApiTokens(ApiTokenFilter {
            id: request.id.or(request.auth_id).map(Into::into),
            digest: request.token.clone().map(|token| TokenSecret::new(token).digest()),
            org,
            user,
            status: request.status,
            expires_before: request.expires_before,
            unused_since: request.unused_since,
        })
    });
    respond(api, caller, &request, list).await
}

/// Responds with the list; `None` is an empty one.
async fn respond<L: CredentialList>(
    api: Api,
    caller: Caller,
    request: &ListRequest,
    list: Option<L>,
) -> Result<Response, ErrorBody> {
    let not_found = || Error::new(ErrorKind::NotFound, "authorization not found");
    let Some(list) = list else {
        if request.selects_one() {
            return Err(not_found().into());
        }
        return Ok(stream::whole::<L>(None, &[]));
    };

    // The first page is read before the status is sent, so that most failures still have one.
    let shows_last_use = request.last_used.unwrap_or(false);
    let on_behalf = caller.engine_for(&api.engine).show_last_use(shows_last_use);
    let mut names = api.engine.name_resolver();
    let first = match request.limit {
        Some(limit) => list.page(&on_behalf, request.after, limit).await?,
        None => list.part(&on_behalf, request.after, stream::CHUNK, &mut names).await?,
    };
    if first.items.is_empty() && first.next.is_none() && request.selects_one() {
        return Err(not_found().into());
    }
    Ok(match (first.next, request.limit) {
        (None, _) => stream::whole::<L>(None, &first.items),
        (Some(after), Some(limit)) => {
            stream::whole::<L>(Some(request.next_link(L::PATH, after, limit)), &first.items)
        }
        (Some(_), None) => stream::parts(list, first, api.engine, caller, shows_last_use, names),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_link_keeps_every_filter() {
        let id = "0000000000000001";
        let query = format!(
            "id={id}&authID={id}&token=a%20name&orgID={id}&org=%C3%A4%26b&userID={id}&user=c%3Dd\
             &status=inactive&permits=write%3Abuckets&hasPassword=true&lastUsed=true\
             &expiresBefore=2034-01-02T03:04:05Z&unusedSince=2026-01-31T23%3A59%3A59%2B01%3A00\
             &limit=7&after={id}"
        );
        let first = ListRequest::parse(&Query::parse(&query)).unwrap();
        let after = Id::from_u64(2);
        let link = first.next_link(PREFIX, after, first.limit.unwrap());
        let (path, query) = link.split_once('?').unwrap();
        assert_eq!(path, PREFIX);
        let next = ListRequest::parse(&Query::parse(query)).unwrap();
        assert_eq!(next, ListRequest { after: Some(after), ..first });
        // Without `..`, so that a field that is added has to be in the query above.
        let ListRequest {
            id,
            auth_id,
            token,
            org_id,
            org,
            user_id,
            user,
            status,
            permits,
            shows_password,
            expires_before,
            unused_since,
            last_used,
            limit,
            after,
            filters,
        } = next;
        let are_given = [
            id.is_some(),
            auth_id.is_some(),
            token.is_some(),
            org_id.is_some(),
            org.is_some(),
            user_id.is_some(),
            user.is_some(),
            status.is_some(),
            permits.is_some(),
            shows_password,
            expires_before.is_some(),
            unused_since.is_some(),
            last_used.is_some(),
        ];
        assert_eq!(are_given, [true; 13]);
        assert_eq!(filters.0.len(), are_given.len());
        assert!(limit.is_some() && after.is_some());
    }
}
