//! Reading: rows, the records they hold, and pages of them.

use portcullis::Id;
use portcullis::store::{Index, Kind, Lookup, Page, PageRequest, Record, StoreError};
use portcullis::toolkit::InlineReadGate;
use portcullis::toolkit::relational::{Columns, UnreadableColumn, log_unreadable_row};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, Rows, params};

use crate::error::Failure;
use crate::tables::TABLES;

/// Returns the record, if there is one.
pub(crate) fn get(
    connection: &Connection,
    lookup: Lookup<'_>,
) -> Result<Option<Record>, StoreError> {
    match lookup {
        Lookup::Id(kind, id) => one(connection, kind, &TABLES.of(kind).by_id, &id.to_string()),
        Lookup::UniqueKey(kind, key) => one(connection, kind, &TABLES.of(kind).by_unique_key, key),
    }
}

/// Returns the records of the lookups, as of one moment.
pub(crate) fn get_many<'a>(
    connection: &Connection,
    lookups: impl Iterator<Item = Lookup<'a>>,
) -> Result<Vec<Option<Record>>, StoreError> {
    // It only reads: when it is dropped, there is nothing to roll back.
    let _transaction = connection.unchecked_transaction().map_err(Failure::from)?;
    lookups.map(|lookup| get(connection, lookup)).collect()
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
        Err(error) => {
            let id = row.get_ref(0).ok().and_then(|id| Id::from_digits(id.as_bytes().ok()?));
            Err(error.into_corrupt(kind, id))
        }
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
    let table = TABLES.of(kind);
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

/// Reads the records of the page, and finds out whether there is another one.
///
/// The statements have no `LIMIT`, as unreadable rows would count; SQLite steps to a row only on
/// demand.
fn page(mut rows: Rows<'_>, kind: Kind, limit: usize) -> Result<Page, StoreError> {
    let mut page =
        Page { records: Vec::with_capacity(limit.min(InlineReadGate::SHORT)), ..Page::default() };
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
                log_unreadable_row(kind, text(row, 0, "id").unwrap_or("?"), &error);
            }
        }
    }
    Ok(page)
}

/// Reads the columns, in the order in which all statements name them.
fn record(kind: Kind, row: &Row<'_>) -> Result<Record, UnreadableColumn> {
    Columns {
        id: required(digits(row, 0, "id")?, "id")?,
        revision: value(row, 1, "revision")?.as_blob().map_err(|_| unreadable("revision"))?,
        unique_key: text(row, 2, "unique_key")?,
        org_id: digits(row, 3, "org_id")?,
        user_id: digits(row, 4, "user_id")?,
        status: text(row, 5, "status")?,
        body: text(row, 6, "body")?,
    }
    .to_record(kind)
}

const fn unreadable(column: &'static str) -> UnreadableColumn {
    UnreadableColumn { column }
}

fn value<'row>(
    row: &'row Row<'_>,
    index: usize,
    column: &'static str,
) -> Result<ValueRef<'row>, UnreadableColumn> {
    row.get_ref(index).map_err(|_| unreadable(column))
}

fn text<'row>(
    row: &'row Row<'_>,
    index: usize,
    column: &'static str,
) -> Result<&'row str, UnreadableColumn> {
    value(row, index, column)?.as_str().map_err(|_| unreadable(column))
}

/// Reads an id. Only digits are one, so its UTF-8 need not be checked.
fn digits<'row>(
    row: &'row Row<'_>,
    index: usize,
    column: &'static str,
) -> Result<Option<&'row [u8]>, UnreadableColumn> {
    match value(row, index, column)? {
        ValueRef::Null => Ok(None),
        ValueRef::Text(digits) => Ok(Some(digits)),
        _ => Err(unreadable(column)),
    }
}

fn required<T>(value: Option<T>, column: &'static str) -> Result<T, UnreadableColumn> {
    value.ok_or(unreadable(column))
}
