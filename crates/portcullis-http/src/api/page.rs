//! Pages of lookups, as in the v2 API: `limit` with `offset` or `after`, in both directions.

use std::num::NonZeroUsize;

use async_trait::async_trait;
use percent_encoding::utf8_percent_encode;
use portcullis::{Directory, Error, Id, OrgId};
use serde::Serialize;

use crate::extract::id::query_id;
use crate::extract::query::{self, PercentEncoded, Query, UNRESERVED, parse_limit};
use crate::respond::ErrorBody;

/// The page size of the v2 API without `limit`, and the largest.
pub(crate) const DEFAULT_LIMIT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(19);
pub(crate) const MAX_LIMIT: usize = 100;

/// How many entities are read at a time to fill a page, however small the page.
const CHUNK: NonZeroUsize = NonZeroUsize::MIN.saturating_add(499);

/// The parameters of every page.
const PARAMETERS: [&str; 4] = ["limit", "offset", "after", "descending"];

/// The parameters that select a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageQuery {
    limit: NonZeroUsize,
    start: Start,
    descending: bool,
}

/// Where a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// After this many entities.
    Offset(usize),
    /// After the entity with this id.
    After(Id),
}

/// A page, and whether there are entities after it.
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    more: bool,
}

/// An entity that is listed in pages.
#[async_trait]
pub(crate) trait Listed: Sized + Send {
    /// Reads up to `limit` entities with ids after `after`, ascending. Where the entities have an
    /// org, only those of `org` are read.
    async fn read(
        directory: &dyn Directory,
        org: Option<OrgId>,
        after: Option<Id>,
        limit: NonZeroUsize,
    ) -> Result<Vec<Self>, Error>;

    fn id(&self) -> Id;
}

impl PageQuery {
    /// Parses the parameters of a list with these filters. Every other parameter is refused: the
    /// client may take it for a filter, and the list would not be filtered by it.
    pub(crate) fn parse(query: &str, filters: &[&str]) -> Result<Self, ErrorBody> {
        let mut given = Vec::new();
        for parameter in query::parameters(query) {
            let known = filters.iter().chain(&PARAMETERS);
            let Some(name) = known.copied().find(|name| parameter.is(name)) else {
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
            if given.contains(&name) {
                return Err(ErrorBody::invalid(format!("`{name}` is given twice: give it once")));
            }
            given.push(name);
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

    /// Reads the page of the entities that match.
    pub(crate) async fn read<T: Listed>(
        &self,
        directory: &dyn Directory,
        org: Option<OrgId>,
        matches: impl Fn(&T) -> bool + Send + Sync,
    ) -> Result<Page<T>, Error> {
        let limit = self.limit.get();
        if !self.descending {
            let (after, skip) = match self.start {
                Start::Offset(offset) => (None, offset),
                Start::After(id) => (Some(id), 0),
            };
            return read(directory, org, after, &matches, None, skip, limit).await;
        }
        // Directories list in ascending order only. The entities are counted first, so that memory
        // stays flat.
        let (before, offset) = match self.start {
            Start::Offset(offset) => (None, offset),
            Start::After(id) => (Some(id), 0),
        };
        let count = count(directory, org, &matches, before).await?;
        let end = count.saturating_sub(offset);
        let begin = end.saturating_sub(limit);
        let mut page = read(directory, org, None, &matches, before, begin, end - begin).await?;
        page.items.reverse();
        Ok(Page { more: begin > 0, ..page })
    }

    /// Returns the page of what was found by a name or an id.
    pub(crate) fn of_one<T: Listed>(&self, one: Option<T>) -> Page<T> {
        let is_after = |item: &T| match (self.start, self.descending) {
            (Start::Offset(offset), _) => offset == 0,
            (Start::After(id), false) => item.id() > id,
            (Start::After(id), true) => item.id() < id,
        };
        Page { items: one.into_iter().filter(is_after).collect(), more: false }
    }

    /// Returns the links of a page: to itself, and to the pages before and after it.
    pub(crate) fn links<T: Listed>(
        &self,
        path: &str,
        query: &str,
        filters: &[&str],
        page: &Page<T>,
    ) -> PageLinks {
        let link = |start: Start| {
            let query = Query::parse(query);
            // Every filter that `parse` accepts is repeated here: a link without one of them would
            // lead to a page of another list.
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
        let next = match (self.start, page.items.last()) {
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
            this: if query.is_empty() { path.to_owned() } else { link(self.start) },
            next: next.filter(|_| page.more).map(link),
            prev: prev.map(link),
        }
    }
}

/// Reads in ascending order; of the entities that match, skips `skip` and takes up to `limit`.
async fn read<T: Listed>(
    directory: &dyn Directory,
    org: Option<OrgId>,
    mut after: Option<Id>,
    matches: &(impl Fn(&T) -> bool + Sync),
    before: Option<Id>,
    mut skip: usize,
    limit: usize,
) -> Result<Page<T>, Error> {
    let mut items = Vec::new();
    loop {
        let chunk = T::read(directory, org, after, CHUNK).await?;
        let Some(last) = chunk.last().map(T::id) else {
            return Ok(Page { items, more: false });
        };
        after = Some(last);
        for item in chunk.into_iter().filter(matches) {
            if before.is_some_and(|before| item.id() >= before) {
                return Ok(Page { items, more: false });
            } else if skip > 0 {
                skip -= 1;
            } else if items.len() == limit {
                return Ok(Page { items, more: true });
            } else {
                items.push(item);
            }
        }
        // A directory in memory never waits: other tasks must run between chunks.
        tokio::task::yield_now().await;
    }
}

/// Counts the entities that match, with ids below `before`.
async fn count<T: Listed>(
    directory: &dyn Directory,
    org: Option<OrgId>,
    matches: &(impl Fn(&T) -> bool + Sync),
    before: Option<Id>,
) -> Result<usize, Error> {
    let (mut count, mut after) = (0, None);
    loop {
        let chunk = T::read(directory, org, after, CHUNK).await?;
        let is_before = |item: &&T| before.is_none_or(|before| item.id() < before);
        count += chunk.iter().take_while(is_before).filter(|item| matches(item)).count();
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
