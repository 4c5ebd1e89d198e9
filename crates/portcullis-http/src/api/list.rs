//! The list of authorizations: filtered, paged, streamed.

use std::num::NonZeroUsize;

use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use http::header;
use percent_encoding::utf8_percent_encode;
use portcullis::toolkit::InlineReadGate;
use portcullis::{
    AuthorizationFilter, AuthorizationId, AuthorizationPage, AuthorizationView, Engine, Error,
    ErrorKind, NameResolver, OrgId, Permission, Status, UserId,
};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::api::wire::{self, PREFIX};
use crate::extract::caller::Caller;
use crate::extract::id::parse_id;
use crate::extract::query::{Query, UNRESERVED, parse_limit};
use crate::json;
use crate::respond::ErrorBody;
use crate::state::Api;

/// The most authorizations on a page that `limit` selects.
const MAX_LIMIT: usize = 1_000;

/// How many authorizations are read and written at a time without `limit`. With the one more that
/// shows whether there is a next page, it is two of the parts that stores read at once.
const CHUNK: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2 * InlineReadGate::SHORT - 2);

/// The capacity for the JSON of a chunk, which suffices for most.
const CHUNK_BYTES: usize = 256 * 1_024;

/// The parameters of a list. The names of users and orgs are not looked up yet.
#[derive(Debug, PartialEq)]
struct ListRequest {
    id: Option<AuthorizationId>,
    auth_id: Option<AuthorizationId>,
    token: Option<String>,
    org_id: Option<OrgId>,
    org: Option<String>,
    user_id: Option<UserId>,
    user: Option<String>,
    status: Option<Status>,
    permits: Option<Permission>,
    limit: Option<NonZeroUsize>,
    after: Option<AuthorizationId>,
    /// The text of every filter that was read, for the link to the next page.
    filters: Filters,
}

/// Reads filters from a query, and keeps the text of each.
///
/// A filter cannot be read in another way. The link to the next page repeats all of them, so none
/// can be lost from the second page on.
#[derive(Debug, Default, PartialEq)]
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
            limit: limit.map(|text| parse_limit(&text, MAX_LIMIT)).transpose()?,
            after: parse_id(after)?,
            filters,
        })
    }

    /// Returns whether the filters select one authorization, so that an empty list is a 404.
    fn selects_one(&self) -> bool {
        self.id.is_some() || self.auth_id.is_some() || self.token.is_some()
    }

    /// Looks the names up. Returns `None` if the filters contradict each other, so that no
    /// authorization matches.
    async fn filter(&self, engine: &Engine) -> Result<Option<AuthorizationFilter>, Error> {
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
        Ok(consistent.then(|| AuthorizationFilter {
            id: self.id.or(self.auth_id),
            username: self.token.clone(),
            org,
            user,
            status: self.status,
            permits: self.permits,
        }))
    }

    /// Returns the link to the next page: the same filters, after this authorization.
    fn next_link(&self, after: AuthorizationId, limit: NonZeroUsize) -> String {
        let filters = self.filters.0.iter().map(|(name, text)| (*name, text.clone()));
        let paging = [("limit", limit.to_string()), ("after", after.to_string())];
        let parameters: Vec<String> = filters
            .chain(paging)
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(&value, UNRESERVED)))
            .collect();
        format!("{PREFIX}?{}", parameters.join("&"))
    }
}

fn parse_status(text: &str) -> Result<Status, ErrorBody> {
    text.parse().map_err(|_| ErrorBody::invalid("`status` must be active or inactive"))
}

fn parse_permits(text: &str) -> Result<Permission, ErrorBody> {
    text.parse().map_err(|error| ErrorBody::invalid(format!("`permits`: {error}")))
}

#[derive(Serialize)]
struct Links {
    #[serde(rename = "self")]
    this: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

pub(crate) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Response, ErrorBody> {
    let request = ListRequest::parse(&Query::parse(query.as_deref().unwrap_or_default()))?;
    caller.engine_for(&api.engine).require_active()?;
    let not_found = || Error::new(ErrorKind::NotFound, "authorization not found");
    let Some(filter) = request.filter(&api.engine).await? else {
        if request.selects_one() {
            return Err(not_found().into());
        }
        return Ok(respond(Body::from(document(None, &[]))));
    };

    // The first page is read before the status is sent, so that most failures still have one.
    let on_behalf = caller.engine_for(&api.engine);
    let mut lookups = api.engine.name_resolver();
    let first = match request.limit {
        Some(limit) => on_behalf.list_authorizations(&filter, request.after, limit).await?,
        None => {
            let after = request.after;
            on_behalf.list_authorization_pages(&filter, after, CHUNK, &mut lookups).await?
        }
    };
    if first.items.is_empty() && request.selects_one() {
        return Err(not_found().into());
    }
    let body = match (first.next, request.limit) {
        (None, _) => Body::from(document(None, &first.items)),
        (Some(after), Some(limit)) => {
            Body::from(document(Some(request.next_link(after, limit)), &first.items))
        }
        (Some(_), None) => stream_from(first, api.engine, caller, filter, lookups),
    };
    Ok(respond(body))
}

fn respond(body: Body) -> Response {
    ([(header::CONTENT_TYPE, json::CONTENT_TYPE)], body).into_response()
}

/// Returns the whole document.
fn document(next: Option<String>, items: &[AuthorizationView]) -> Vec<u8> {
    let mut out = begin(next);
    write_items(&mut out, items, true);
    end(&mut out, items.is_empty());
    out
}

/// Returns the document as a stream of parts. Each is written when the one before has been sent, so
/// that memory stays flat however long the list is. A failure breaks the connection off, so that
/// what was sent is not taken for the whole list.
fn stream_from(
    first: AuthorizationPage<AuthorizationView>,
    engine: Engine,
    caller: Caller,
    filter: AuthorizationFilter,
    lookups: NameResolver,
) -> Body {
    let mut out = begin(None);
    write_items(&mut out, &first.items, true);
    let rest = RemainingPages { after: first.next, engine, caller, filter, lookups }.read_ahead();
    let first = stream::once(async { Ok(out) });
    // Fused: the compression polls the stream once more after its end.
    Body::from_stream(first.chain(stream::unfold(rest, next_part)).fuse())
}

/// The pages of a list that are not read yet.
struct RemainingPages {
    after: Option<AuthorizationId>,
    engine: Engine,
    caller: Caller,
    filter: AuthorizationFilter,
    lookups: NameResolver,
}

/// The pages that a task reads while others are written and sent. Dropping it ends the task.
struct ReadAhead {
    engine: Engine,
    caller: Caller,
    pages: mpsc::Receiver<Result<AuthorizationPage<AuthorizationView>, Error>>,
    _reading: AbortOnDropHandle<()>,
}

impl RemainingPages {
    /// Reads the next page, if the caller may still read.
    async fn read_page(
        &mut self,
        after: AuthorizationId,
    ) -> Result<AuthorizationPage<AuthorizationView>, Error> {
        self.caller.revalidate(&self.engine).await?;
        let on_behalf = self.caller.engine_for(&self.engine);
        let (filter, lookups) = (&self.filter, &mut self.lookups);
        on_behalf.list_authorization_pages(filter, Some(after), CHUNK, lookups).await
    }

    /// Starts to read the remaining pages, if there are any. At most two are ahead of the response:
    /// one waits, and one is being read.
    fn read_ahead(mut self) -> Option<ReadAhead> {
        let mut next = Some(self.after?);
        let (sender, pages) = mpsc::channel(1);
        let (engine, caller) = (self.engine.clone(), self.caller.clone());
        let reading = async move {
            while let Some(after) = next {
                let page = self.read_page(after).await;
                next = page.as_ref().ok().and_then(|page| page.next);
                if sender.send(page).await.is_err() {
                    return;
                }
            }
        };
        let _reading = AbortOnDropHandle::new(tokio::spawn(reading.in_current_span()));
        Some(ReadAhead { engine, caller, pages, _reading })
    }
}

/// Receives the next page from the reading task.
async fn next_page(
    pages: &mut mpsc::Receiver<Result<AuthorizationPage<AuthorizationView>, Error>>,
) -> Result<AuthorizationPage<AuthorizationView>, Error> {
    // The task has ended before the last page: it panicked, or the server shuts down.
    let ended = || Err(Error::new(ErrorKind::Internal, "an internal error has occurred"));
    pages.recv().await.unwrap_or_else(ended)
}

/// Returns the next part of the document, and the rest of the pages.
async fn next_part(
    ahead: Option<ReadAhead>,
) -> Option<(Result<Vec<u8>, Error>, Option<ReadAhead>)> {
    let mut ahead = ahead?;
    let mut page = next_page(&mut ahead.pages).await;
    // The page may have waited for a slow client since it was read.
    if page.is_ok()
        && let Err(refused) = ahead.caller.revalidate(&ahead.engine).await
    {
        page = Err(refused);
    }
    let is_last = page.as_ref().map_or(true, |page| page.next.is_none());
    let part = page.map(|page| {
        let mut out = Vec::with_capacity(CHUNK_BYTES);
        write_items(&mut out, &page.items, false);
        if is_last {
            end(&mut out, false);
        }
        out
    });
    if let Err(error) = &part {
        tracing::error!("a list broke off: {error}");
    }
    Some((part, (!is_last).then_some(ahead)))
}

fn begin(next: Option<String>) -> Vec<u8> {
    let mut out = b"{\n\t\"links\": ".to_vec();
    json::pretty_at(&mut out, 1, &Links { this: PREFIX, next });
    out.extend_from_slice(b",\n\t\"authorizations\": [");
    out
}

fn write_items(out: &mut Vec<u8>, items: &[AuthorizationView], mut first: bool) {
    for described in items {
        out.extend_from_slice(if first { b"\n\t\t" } else { b",\n\t\t" });
        first = false;
        json::pretty_at(out, 2, &wire::Authorization::from(described));
    }
}

fn end(out: &mut Vec<u8>, empty: bool) {
    out.extend_from_slice(if empty { b"]\n}\n" } else { b"\n\t]\n}\n" });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_link_keeps_every_filter() {
        let id = "0000000000000001";
        let query = format!(
            "id={id}&authID={id}&token=a%20name&orgID={id}&org=%C3%A4%26b&userID={id}&user=c%3Dd\
             &status=inactive&permits=write%3Abuckets&limit=7&after={id}"
        );
        let first = ListRequest::parse(&Query::parse(&query)).unwrap();
        let after = AuthorizationId::from_u64(2);
        let link = first.next_link(after, first.limit.unwrap());
        let (_, query) = link.split_once('?').unwrap();
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
        ];
        assert_eq!(are_given, [true; 9]);
        assert_eq!(filters.0.len(), are_given.len());
        assert!(limit.is_some() && after.is_some());
    }

    #[tokio::test]
    async fn a_reading_task_that_ends_early_breaks_the_list_off_and_does_not_end_it() {
        let (sender, mut pages) = mpsc::channel(1);
        drop(sender);
        assert_eq!(next_page(&mut pages).await.unwrap_err().kind(), ErrorKind::Internal);
    }
}
