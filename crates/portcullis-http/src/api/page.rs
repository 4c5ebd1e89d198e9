//! Pages of lookups, as the v2 API has them: `limit` with `offset` or `after`, in both directions.

use std::num::NonZeroUsize;

use async_trait::async_trait;
use percent_encoding::utf8_percent_encode;
use portcullis::{Bucket, Directory, Error, Id, Org, OrgId, User};
use serde::Serialize;

use crate::extract::id::query_id;
use crate::extract::query::{self, PercentEncoded, Query, UNRESERVED, parse_limit};
use crate::respond::ErrorBody;

/// The page size of the v2 API when none is asked for, and the largest.
const DEFAULT_LIMIT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(19);
const MAX_LIMIT: usize = 100;

/// How many are read at a time to fill a page, however small.
const CHUNK: NonZeroUsize = NonZeroUsize::MIN.saturating_add(499);

/// The parameters of every page.
const PARAMETERS: [&str; 4] = ["limit", "offset", "after", "descending"];

/// The page that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageQuery {
    limit: NonZeroUsize,
    start: Start,
    descending: bool,
}

/// Where a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// After so many.
    Offset(usize),
    /// After the one with this id.
    After(Id),
}

/// A page, and whether there is more after it.
pub(crate) struct Found<T> {
    pub(crate) items: Vec<T>,
    more: bool,
}

/// What can be looked up in pages.
#[async_trait]
pub(crate) trait Listed: Sized + Send {
    /// Reads so many with ids after this one, ascending; of one org, where they have one.
    async fn read(
        directory: &dyn Directory,
        org: Option<OrgId>,
        after: Option<Id>,
        limit: NonZeroUsize,
    ) -> Result<Vec<Self>, Error>;

    fn id(&self) -> Id;
}

impl PageQuery {
    /// Reads the parameters of a list with these filters. Every other parameter is refused: it
    /// would be taken for a filter that is not there.
    pub(crate) fn parse(query: &str, filters: &[&str]) -> Result<Self, ErrorBody> {
        let mut given = Vec::new();
        for parameter in query::parameters(query) {
            let known = filters.iter().chain(&PARAMETERS).find(|name| parameter.is(name));
            let Some(name) = known else {
                let known = [filters, &PARAMETERS].concat().join("`, `");
                return Err(ErrorBody::invalid(format!(
                    "{} is no parameter here: there are `{known}`",
                    parameter.shown_name(),
                )));
            };
            if parameter
                .value()
                .map(PercentEncoded::decode)
                .is_none_or(|v| String::from_utf8(v).is_err())
            {
                return Err(ErrorBody::invalid(format!(
                    "`{name}` cannot be read: encode it for a URL"
                )));
            }
            if given.contains(name) {
                return Err(ErrorBody::invalid(format!("`{name}` stands twice: give it once")));
            }
            given.push(*name);
        }
        let query = Query::parse(query);
        let limit =
            query.text("limit").map_or(Ok(DEFAULT_LIMIT), |t| parse_limit(&t, MAX_LIMIT))?;
        let offset = query.text("offset").map(|text| parse_offset(&text)).transpose()?;
        let start = match (query_id::<Id>(&query, "after")?, offset.unwrap_or(0)) {
            // Generated clients send the default of every parameter, `offset=0` too.
            (Some(after), 0) => Start::After(after),
            (None, offset) => Start::Offset(offset),
            (Some(_), _) => {
                return Err(ErrorBody::invalid(
                    "`offset` and `after` both say where the page begins: leave one out",
                ));
            }
        };
        let descending = query.text("descending").map(|text| parse_bool(&text)).transpose()?;
        Ok(Self { limit, start, descending: descending.unwrap_or(false) })
    }

    /// Takes the page out of everything that is wanted.
    pub(crate) async fn of<T: Listed>(
        &self,
        directory: &dyn Directory,
        org: Option<OrgId>,
        wanted: impl Fn(&T) -> bool + Send + Sync,
    ) -> Result<Found<T>, Error> {
        let limit = self.limit.get();
        if !self.descending {
            let (after, skip) = match self.start {
                Start::Offset(offset) => (None, offset),
                Start::After(id) => (Some(id), 0),
            };
            return read(directory, org, after, &wanted, None, skip, limit).await;
        }
        // Directories list upwards alone: it is counted first how many there are, so that memory
        // stays flat.
        let (before, offset) = match self.start {
            Start::Offset(offset) => (None, offset),
            Start::After(id) => (Some(id), 0),
        };
        let count = count(directory, org, &wanted, before).await?;
        let end = count.saturating_sub(offset);
        let begin = end.saturating_sub(limit);
        let mut found = read(directory, org, None, &wanted, before, begin, end - begin).await?;
        found.items.reverse();
        Ok(Found { more: begin > 0, ..found })
    }

    /// Takes the page out of what was found by a name or an id.
    pub(crate) fn of_one<T: Listed>(&self, one: Option<T>) -> Found<T> {
        let is_after = |item: &T| match (self.start, self.descending) {
            (Start::Offset(offset), _) => offset == 0,
            (Start::After(id), false) => item.id() > id,
            (Start::After(id), true) => item.id() < id,
        };
        Found { items: one.into_iter().filter(is_after).collect(), more: false }
    }

    /// The links of the page: to itself, and to those before and after it.
    pub(crate) fn links<T: Listed>(
        &self,
        path: &str,
        query: &str,
        filters: &[&str],
        found: &Found<T>,
    ) -> PageLinks {
        let page = |start: Start| {
            let query = Query::parse(query);
            // One place for all filters: a page without one of them would be one of another list.
            let filters = filters.iter().filter_map(|name| Some((*name, query.text(name)?)));
            let (name, value) = match start {
                Start::Offset(offset) => ("offset", offset.to_string()),
                Start::After(id) => ("after", id.to_string()),
            };
            let paging = [
                ("descending", self.descending.to_string()),
                ("limit", self.limit.to_string()),
                (name, value),
            ];
            let parameters: Vec<String> = filters
                .chain(paging)
                .map(|(name, value)| format!("{name}={}", utf8_percent_encode(&value, UNRESERVED)))
                .collect();
            format!("{path}?{}", parameters.join("&"))
        };
        let limit = self.limit.get();
        let next = match (self.start, found.items.last()) {
            (Start::Offset(offset), Some(_)) => Some(Start::Offset(offset.saturating_add(limit))),
            (Start::After(_), Some(last)) => Some(Start::After(last.id())),
            (_, None) => None,
        };
        let prev = match self.start {
            Start::Offset(offset) if offset > 0 => {
                Some(Start::Offset(offset.saturating_sub(limit)))
            }
            _ => None,
        };
        PageLinks {
            this: if query.is_empty() { path.to_owned() } else { page(self.start) },
            next: next.filter(|_| found.more).map(page),
            prev: prev.map(page),
        }
    }
}

/// Reads upwards; skips so many of what is wanted, and takes so many.
async fn read<T: Listed>(
    directory: &dyn Directory,
    org: Option<OrgId>,
    mut after: Option<Id>,
    wanted: &(impl Fn(&T) -> bool + Sync),
    before: Option<Id>,
    mut skip: usize,
    limit: usize,
) -> Result<Found<T>, Error> {
    let mut items = Vec::new();
    loop {
        let chunk = T::read(directory, org, after, CHUNK).await?;
        let Some(last) = chunk.last().map(T::id) else {
            return Ok(Found { items, more: false });
        };
        after = Some(last);
        for item in chunk.into_iter().filter(wanted) {
            if before.is_some_and(|before| item.id() >= before) {
                return Ok(Found { items, more: false });
            } else if skip > 0 {
                skip -= 1;
            } else if items.len() == limit {
                return Ok(Found { items, more: true });
            } else {
                items.push(item);
            }
        }
        // However many parts are ready at once, others go on.
        tokio::task::yield_now().await;
    }
}

/// Counts what is wanted, with ids below this one.
async fn count<T: Listed>(
    directory: &dyn Directory,
    org: Option<OrgId>,
    wanted: &(impl Fn(&T) -> bool + Sync),
    before: Option<Id>,
) -> Result<usize, Error> {
    let (mut count, mut after) = (0, None);
    loop {
        let chunk = T::read(directory, org, after, CHUNK).await?;
        let is_before = |item: &&T| before.is_none_or(|before| item.id() < before);
        count += chunk.iter().take_while(is_before).filter(|item| wanted(item)).count();
        let Some(last) = chunk.last().map(T::id) else { return Ok(count) };
        if before.is_some_and(|before| last >= before) {
            return Ok(count);
        }
        after = Some(last);
        tokio::task::yield_now().await;
    }
}

fn parse_offset(text: &str) -> Result<usize, ErrorBody> {
    let offset = text.parse::<u32>().ok().and_then(|offset| usize::try_from(offset).ok());
    offset.ok_or_else(|| {
        let shown: String = text.chars().take(32).collect();
        ErrorBody::invalid(format!(
            "`offset` must be a number from 0 to {}, not `{shown}`",
            u32::MAX
        ))
    })
}

fn parse_bool(text: &str) -> Result<bool, ErrorBody> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(ErrorBody::invalid("`descending` must be true or false")),
    }
}

/// The links of a page.
#[derive(Serialize)]
pub(crate) struct PageLinks {
    #[serde(rename = "self")]
    this: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev: Option<String>,
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
