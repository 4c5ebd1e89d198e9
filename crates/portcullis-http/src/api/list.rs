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
use crate::extract::id::query_id;
use crate::extract::query::{Query, UNRESERVED, parse_limit};
use crate::json;
use crate::respond::ErrorBody;
use crate::state::Api;

/// The most authorizations on a page that was asked for.
const MAX_LIMIT: usize = 1_000;

/// How many authorizations are read and written at a time when no page was asked for. With the one more
/// that tells whether there is a rest it is two of the parts that stores read at once.
const CHUNK: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2 * InlineReadGate::SHORT - 2);

/// Room for so many, as most of them are.
const PART_BYTES: usize = 256 * 1_024;

/// Every parameter of a list.
const PARAMETERS: [&str; 11] = [
    "id", "authID", "token", "orgID", "org", "userID", "user", "status", "permits", "limit",
    "after",
];

/// What a list was asked for. Names are not looked up yet.
#[derive(Debug, Default)]
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
}

impl ListRequest {
    fn parse(query: &Query) -> Result<Self, ErrorBody> {
        // A filter that cannot be read must not become a list of everything.
        if let Some(name) = PARAMETERS.iter().find(|name| query.is_malformed(name)) {
            return Err(ErrorBody::invalid(format!(
                "`{name}` cannot be read: encode it for a URL"
            )));
        }
        if query.bytes("token").is_some_and(<[u8]>::is_empty) {
            return Err(ErrorBody::invalid("`token` must not be empty: leave it out to list all"));
        }
        Ok(Self {
            user_id: query_id(query, "userID")?,
            org_id: query_id(query, "orgID")?,
            id: query_id(query, "id")?,
            auth_id: query_id(query, "authID")?,
            token: query.text("token"),
            user: query.text("user"),
            org: query.text("org"),
            status: query.text("status").map(|text| parse_status(&text)).transpose()?,
            permits: query
                .text("permits")
                .map(|text| text.parse().map_err(|e| ErrorBody::invalid(format!("`permits`: {e}"))))
                .transpose()?,
            limit: query.text("limit").map(|text| parse_limit(&text, MAX_LIMIT)).transpose()?,
            after: query_id(query, "after")?,
        })
    }

    /// Tells whether one authorization is asked for, which makes nothing a 404.
    fn wants_one(&self) -> bool {
        self.id.is_some() || self.auth_id.is_some() || self.token.is_some()
    }

    /// Looks the names up; `None` when the filter contradicts itself and so means nothing.
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

    /// The link to the page after this one: the same filter, further on.
    fn next_link(&self, after: AuthorizationId, limit: NonZeroUsize) -> String {
        let parameters = [
            ("userID", self.user_id.map(|id| id.to_string())),
            ("user", self.user.clone()),
            ("orgID", self.org_id.map(|id| id.to_string())),
            ("org", self.org.clone()),
            ("status", self.status.map(|status| status.to_string())),
            ("permits", self.permits.map(|permits| permits.to_string())),
            ("limit", Some(limit.to_string())),
            ("after", Some(after.to_string())),
        ];
        let parameters: Vec<String> = parameters
            .into_iter()
            .filter_map(|(name, value)| {
                Some(format!("{name}={}", utf8_percent_encode(&value?, UNRESERVED)))
            })
            .collect();
        format!("{PREFIX}?{}", parameters.join("&"))
    }
}

fn parse_status(text: &str) -> Result<Status, ErrorBody> {
    text.parse().map_err(|_| ErrorBody::invalid("`status` must be active or inactive"))
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
        if request.wants_one() {
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
    if first.items.is_empty() && request.wants_one() {
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

/// The whole document at once.
fn document(next: Option<String>, items: &[AuthorizationView]) -> Vec<u8> {
    let mut out = begin(next);
    write_items(&mut out, items, true);
    end(&mut out, items.is_empty());
    out
}

/// The document in parts, each written when the one before has been taken, so that memory stays
/// flat however long the list is. A failure on the way ends the connection, not the document.
fn stream_from(
    first: AuthorizationPage<AuthorizationView>,
    engine: Engine,
    caller: Caller,
    filter: AuthorizationFilter,
    lookups: NameResolver,
) -> Body {
    let mut out = begin(None);
    write_items(&mut out, &first.items, true);
    let rest = Rest { after: first.next, engine, caller, filter, lookups }.read_ahead();
    let first = stream::once(async { Ok(out) });
    // Fused: what compresses it asks once more after the end.
    Body::from_stream(first.chain(stream::unfold(rest, part)).fuse())
}

/// What of a list is not read yet.
struct Rest {
    after: Option<AuthorizationId>,
    engine: Engine,
    caller: Caller,
    filter: AuthorizationFilter,
    lookups: NameResolver,
}

/// The parts that are read while others are written and sent. Given up where it is dropped.
struct Ahead {
    engine: Engine,
    caller: Caller,
    parts: mpsc::Receiver<Result<AuthorizationPage<AuthorizationView>, Error>>,
    _reading: AbortOnDropHandle<()>,
}

impl Rest {
    /// Reads the next part, if the caller may still read.
    async fn next_part(
        &mut self,
        after: AuthorizationId,
    ) -> Result<AuthorizationPage<AuthorizationView>, Error> {
        self.caller.revalidate(&self.engine).await?;
        let on_behalf = self.caller.engine_for(&self.engine);
        let (filter, lookups) = (&self.filter, &mut self.lookups);
        on_behalf.list_authorization_pages(filter, Some(after), CHUNK, lookups).await
    }

    /// Begins to read the parts that are left, if there are any. Of those that are not taken yet one
    /// waits, and one is being read.
    fn read_ahead(mut self) -> Option<Ahead> {
        let mut next = Some(self.after?);
        let (sender, parts) = mpsc::channel(1);
        let (engine, caller) = (self.engine.clone(), self.caller.clone());
        let reading = async move {
            while let Some(after) = next {
                let part = self.next_part(after).await;
                next = part.as_ref().ok().and_then(|part| part.next);
                if sender.send(part).await.is_err() {
                    return;
                }
            }
        };
        let _reading = AbortOnDropHandle::new(tokio::spawn(reading.in_current_span()));
        Some(Ahead { engine, caller, parts, _reading })
    }
}

/// Returns the next part that was read.
async fn next_page(
    parts: &mut mpsc::Receiver<Result<AuthorizationPage<AuthorizationView>, Error>>,
) -> Result<AuthorizationPage<AuthorizationView>, Error> {
    // The reading task has panicked, or the server ends: the last part has not come.
    let broken = || Err(Error::new(ErrorKind::Internal, "an internal error has occurred"));
    parts.recv().await.unwrap_or_else(broken)
}

async fn part(ahead: Option<Ahead>) -> Option<(Result<Vec<u8>, Error>, Option<Ahead>)> {
    let mut ahead = ahead?;
    let mut page = next_page(&mut ahead.parts).await;
    // A part may have waited for a slow reader since it was read.
    if page.is_ok()
        && let Err(refused) = ahead.caller.revalidate(&ahead.engine).await
    {
        page = Err(refused);
    }
    let is_last = page.as_ref().map_or(true, |page| page.next.is_none());
    let part = page.map(|page| {
        let mut out = Vec::with_capacity(PART_BYTES);
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

    /// A filter that a link forgets would be lost from the second page on.
    #[test]
    fn the_next_link_keeps_every_parameter_of_the_list() {
        let id = "0000000000000001";
        for name in PARAMETERS {
            let value = match name {
                "id" | "authID" | "orgID" | "userID" | "after" => id,
                "status" => "inactive",
                "permits" => "write:buckets",
                "limit" => "7",
                _ => "a name",
            };
            let value = utf8_percent_encode(value, UNRESERVED).to_string();
            let asked = ListRequest::parse(&Query::parse(&format!("{name}={value}"))).unwrap();
            let link = asked.next_link(AuthorizationId::from_u64(1), NonZeroUsize::new(7).unwrap());
            // One authorization has no next page.
            let is_kept = link.contains(&format!("{name}={value}"));
            assert_eq!(is_kept, !asked.wants_one(), "{name}: {link}");
        }
    }

    #[tokio::test]
    async fn a_reader_that_is_gone_breaks_the_list_off_and_does_not_end_it() {
        let (sender, mut parts) = mpsc::channel(1);
        drop(sender);
        assert_eq!(next_page(&mut parts).await.unwrap_err().kind(), ErrorKind::Internal);
    }
}
