//! Reads rows, the records in them, and pages of records.

use std::collections::HashMap;

use portcullis::Id;
use portcullis::store::{Index, Kind, Lookup, Lookups, Page, PageRequest, Record, StoreError};
use portcullis::toolkit::relational::{Columns, UnreadableColumn, log_unreadable_row};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, ToSql};

use crate::connection::Connection;
use crate::error::Failure;
use crate::escape;
use crate::tables::{Query, TABLES};

/// The most rows that are queried at a time, which fill a page even if they are small.
const MAX_ROWS: usize = 10_000;

/// Why a read failed.
pub(crate) enum ReadError {
    /// By the connection or the database.
    Failed(Failure),
    /// By what is stored, or what was requested.
    Refused(StoreError),
}

impl From<Failure> for ReadError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

/// A [`Lookup`] with its statement and parameter.
#[derive(Clone)]
pub(crate) struct LookupQuery {
    kind: Kind,
    query: Query,
    key: String,
}

impl From<Lookup<'_>> for LookupQuery {
    fn from(lookup: Lookup<'_>) -> Self {
        match lookup {
            Lookup::Id(kind, id) => Self { kind, query: Query::ById, key: id.to_string() },
            Lookup::UniqueKey(kind, key) => {
                Self { kind, query: Query::ByUniqueKey, key: escape::escape(key).into_owned() }
            }
        }
    }
}

/// Returns the record, if there is one.
pub(crate) async fn get(
    connection: &mut Connection,
    LookupQuery { kind, query, key }: LookupQuery,
) -> Result<Option<Record>, ReadError> {
    let statement = connection.prepared(TABLES.of(kind), query).await?;
    let rows = connection.rows(&statement, &[&key]).await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    match record(kind, row, 0) {
        Ok(record) => Ok(Some(record)),
        Err(error) => Err(ReadError::Refused(error.into_corrupt(kind, id(row, 0)))),
    }
}

/// [`Lookups`] with their statement and parameter.
#[derive(Clone)]
pub(crate) struct LookupsQuery {
    kind: Kind,
    query: Query,
    keys: Vec<String>,
}

impl From<Lookups<'_>> for LookupsQuery {
    fn from(lookups: Lookups<'_>) -> Self {
        let (query, keys) = match lookups {
            Lookups::Ids(_, ids) => (Query::ByIds, ids.iter().map(Id::to_string).collect()),
            Lookups::UniqueKeys(_, keys) => {
                let escaped = keys.iter().map(|key| escape::escape(key).into_owned());
                (Query::ByUniqueKeys, escaped.collect())
            }
        };
        Self { kind: lookups.kind(), query, keys }
    }
}

/// Returns the records of the lookups, in their order.
pub(crate) async fn get_many(
    connection: &mut Connection,
    LookupsQuery { kind, query, keys }: LookupsQuery,
) -> Result<Vec<Option<Record>>, ReadError> {
    let statement = connection.prepared(TABLES.of(kind), query).await?;
    let rows = connection.rows(&statement, &[&keys]).await?;
    let column = if query == Query::ByIds { 0 } else { 2 };
    let mut found = HashMap::with_capacity(rows.len());
    for row in &rows {
        let record = record(kind, row, 0)
            .map_err(|error| ReadError::Refused(error.into_corrupt(kind, id(row, 0))))?;
        // The statement compares with this column, so it is text.
        found.insert(value::<&str>(row, column, "key").unwrap_or_default(), record);
    }
    Ok(keys.iter().map(|key| found.get(key.as_str()).cloned()).collect())
}

/// Returns a page of the index.
///
/// A row that cannot be read is logged and left out, so that the others can still be listed.
pub(crate) async fn list(
    connection: &mut Connection,
    index: Index,
    request: PageRequest,
) -> Result<Page, ReadError> {
    let kind = index.kind();
    let (query, key) = match index {
        Index::All(_) => (Query::All, None),
        Index::Org(_, org) => (Query::OfOrg, Some(org.to_string())),
        Index::User(_, user) => (Query::OfUser, Some(user.to_string())),
        Index::Grant(_, grant) => (Query::OfGrant, Some(grant.to_string())),
    };
    // No record has the id 0, so a list from the beginning begins after it.
    let after = request.after.unwrap_or(Id::from_u64(0)).to_string();
    let limit = request.limit.get().min(MAX_ROWS);
    // One more row shows whether there is another page.
    let rows = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&after, &rows];
    parameters.extend(key.as_ref().map(|key| key as &(dyn ToSql + Sync)));
    let statement = connection.prepared(TABLES.of(kind), query).await?;
    let rows = connection.rows(&statement, &parameters).await?;
    Ok(page(&rows, kind, limit))
}

fn page(rows: &[Row], kind: Kind, limit: usize) -> Page {
    let mut page = Page::default();
    let mut last = None;
    for (number, row) in rows.iter().enumerate() {
        let has_body = matches!(value::<Option<&str>>(row, 7, "body"), Ok(Some(_)));
        let is_cut = !has_body && !matches!(value::<bool>(row, 8, "body"), Ok(true));
        if number == limit || is_cut {
            page.next = last;
            break;
        }
        last = id(row, 0).or(last);
        match record(kind, row, 1) {
            Ok(record) => page.records.push(record),
            // A grant without its record: a surplus entry, which `verify` reports.
            Err(_) if matches!(value::<Option<&str>>(row, 1, "id"), Ok(None)) => {}
            Err(error) => {
                page.unreadable += 1;
                log_unreadable_row(kind, value(row, 0, "id").unwrap_or("?"), &error);
            }
        }
    }
    page
}

/// Reads the columns from `first` on, in the order that all statements use.
fn record(kind: Kind, row: &Row, first: usize) -> Result<Record, UnreadableColumn> {
    let unescaped = |index, column| {
        escape::unescape(value(row, index, column)?).ok_or(UnreadableColumn { column })
    };
    let digits = |index, column| {
        let text: Option<&str> = value(row, index, column)?;
        Ok(text.map(str::as_bytes))
    };
    Columns {
        id: value::<&str>(row, first, "id")?.as_bytes(),
        revision: value(row, first + 1, "revision")?,
        unique_key: &unescaped(first + 2, "unique_key")?,
        org_id: digits(first + 3, "org_id")?,
        user_id: digits(first + 4, "user_id")?,
        status: value(row, first + 5, "status")?,
        body: &unescaped(first + 6, "body")?,
    }
    .to_record(kind)
}

fn value<'row, T: FromSql<'row>>(
    row: &'row Row,
    index: usize,
    column: &'static str,
) -> Result<T, UnreadableColumn> {
    row.try_get(index).map_err(|_| UnreadableColumn { column })
}

fn id(row: &Row, index: usize) -> Option<Id> {
    Id::from_digits(value::<&str>(row, index, "id").ok()?.as_bytes())
}
