//! Reading: rows, the records they hold, and pages of them.

use portcullis::store::{
    Index, Kind, Lookup, Page, PageRequest, Record, Revision, StoreError, UniqueKey,
};
use portcullis::toolkit::Pace;
use portcullis::{Id, Status};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, Rows, params};
use thiserror::Error;

use crate::error::Failure;
use crate::tables;

/// A [`Lookup`] that can be sent to another thread.
pub(crate) enum OwnedLookup {
    Id(Kind, Id),
    UniqueKey(Kind, Box<str>),
}

impl From<Lookup<'_>> for OwnedLookup {
    fn from(lookup: Lookup<'_>) -> Self {
        match lookup {
            Lookup::Id(kind, id) => Self::Id(kind, id),
            Lookup::UniqueKey(kind, key) => Self::UniqueKey(kind, key.into()),
        }
    }
}

/// Returns the record, if there is one.
pub(crate) fn get(
    connection: &Connection,
    lookup: &OwnedLookup,
) -> Result<Option<Record>, StoreError> {
    match lookup {
        OwnedLookup::Id(kind, id) => {
            one(connection, *kind, &tables::of(*kind)?.by_id, &id.to_string())
        }
        OwnedLookup::UniqueKey(kind, key) => {
            one(connection, *kind, &tables::of(*kind)?.by_unique_key, key)
        }
    }
}

fn one(
    connection: &Connection,
    kind: Kind,
    sql: &str,
    key: &str,
) -> Result<Option<Record>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(Failure::from)?;
    let mut rows = statement.query([key]).map_err(Failure::from)?;
    let Some(row) = rows.next().map_err(Failure::from)? else {
        return Ok(None);
    };
    match record(kind, row) {
        Ok(record) => Ok(Some(record)),
        Err(source) => Err(StoreError::Corrupt {
            kind,
            // Nothing has the id 0: it stands for one that cannot be read either.
            id: id(row, 0, "id").unwrap_or(Id::from_u64(0)),
            source: source.into(),
        }),
    }
}

/// Returns a page of the index.
///
/// A row that cannot be read is logged and left out, so that it does not hide the others.
pub(crate) fn list(
    connection: &Connection,
    index: Index,
    request: PageRequest,
) -> Result<Page, StoreError> {
    let kind = index.kind();
    let table = tables::of(kind)?;
    // No record has the id 0, so a list from the beginning begins after it.
    let after = request.after.unwrap_or(Id::from_u64(0)).to_string();
    let (sql, key) = match index {
        Index::All(_) => (&table.all, None),
        Index::Org(_, org) => (&table.of_org, Some(org.to_string())),
        Index::User(_, user) => (&table.of_user, Some(user.to_string())),
        Index::Grant(_, grant) => (&table.of_grant, Some(grant.to_string())),
    };
    let mut statement = connection.prepare_cached(sql).map_err(Failure::from)?;
    let rows = match key {
        None => statement.query([after]),
        Some(key) => statement.query(params![after, key]),
    };
    page(rows.map_err(Failure::from)?, kind, request.limit.get())
}

/// Reads as many records as the page may have, and looks whether there is another one.
///
/// The statements have no `LIMIT`, since rows that are left out would count; a row costs nothing
/// before it is asked for.
fn page(mut rows: Rows<'_>, kind: Kind, limit: usize) -> Result<Page, StoreError> {
    let mut page = Page { records: Vec::with_capacity(limit.min(Pace::SHORT)), ..Page::default() };
    let mut bytes = 0;
    while let Some(row) = rows.next().map_err(Failure::from)? {
        match record(kind, row) {
            Ok(_) if page.records.len() == limit || bytes >= Page::BYTES => {
                page.next = page.records.last().map(|last| last.id);
                break;
            }
            Ok(record) => {
                bytes += record.body.len();
                page.records.push(record);
            }
            Err(error) => {
                page.unreadable += 1;
                let id = text(row, 0, "id").unwrap_or("?").escape_debug();
                tracing::error!(%kind, %id, %error, "a row is left out of a list");
            }
        }
    }
    Ok(page)
}

/// Says which column of a row is not as it was written. Never holds the value.
#[derive(Clone, Copy, Debug, Error)]
#[error("its column `{column}` cannot be read")]
struct BadColumn {
    column: &'static str,
}

/// Reads the columns, in the order in which all statements name them.
fn record(kind: Kind, row: &Row<'_>) -> Result<Record, BadColumn> {
    let key = text(row, 2, "unique_key")?;
    let status = text(row, 5, "status")?;
    Ok(Record {
        kind,
        id: id(row, 0, "id")?,
        revision: revision(row, 1, "revision")?,
        unique_key: UniqueKey::new(key).map_err(|_| BadColumn { column: "unique_key" })?,
        org: optional_id(row, 3, "org_id")?.map(Into::into),
        user: optional_id(row, 4, "user_id")?.map(Into::into),
        status: status.parse::<Status>().map_err(|_| BadColumn { column: "status" })?,
        body: text(row, 6, "body")?.into(),
    })
}

fn value<'row>(
    row: &'row Row<'_>,
    index: usize,
    column: &'static str,
) -> Result<ValueRef<'row>, BadColumn> {
    row.get_ref(index).map_err(|_| BadColumn { column })
}

fn text<'row>(
    row: &'row Row<'_>,
    index: usize,
    column: &'static str,
) -> Result<&'row str, BadColumn> {
    let value = value(row, index, column)?;
    value.as_str().map_err(|_| BadColumn { column })
}

fn revision(row: &Row<'_>, index: usize, column: &'static str) -> Result<Revision, BadColumn> {
    let value = value(row, index, column)?;
    let bytes = value.as_blob().map_err(|_| BadColumn { column })?;
    let bytes = bytes.try_into().map_err(|_| BadColumn { column })?;
    Ok(Revision::from_u128(u128::from_be_bytes(bytes)))
}

fn id(row: &Row<'_>, index: usize, column: &'static str) -> Result<Id, BadColumn> {
    optional_id(row, index, column)?.ok_or(BadColumn { column })
}

fn optional_id(row: &Row<'_>, index: usize, column: &'static str) -> Result<Option<Id>, BadColumn> {
    match value(row, index, column)? {
        ValueRef::Null => Ok(None),
        // Only digits are an id: that it is a text need not be found out before.
        ValueRef::Text(digits) => Id::from_digits(digits).map(Some).ok_or(BadColumn { column }),
        _ => Err(BadColumn { column }),
    }
}
