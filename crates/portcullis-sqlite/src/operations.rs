//! Writing: the operations of a batch, one statement or few for each.

use portcullis::store::{Expect, Kind, Operation, Record, Revision, StoreError, Taken};
use portcullis::{GrantKey, Id};
use rusqlite::{Connection, ffi, params};

use crate::changes;
use crate::error::Failure;
use crate::tables::{self, Table};

/// Why a batch was not applied.
#[derive(Debug)]
pub(crate) enum Rejection {
    /// SQLite failed.
    Failed(Failure),
    /// An operation asks for what is not so.
    Refused(StoreError),
}

impl From<rusqlite::Error> for Rejection {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<StoreError> for Rejection {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

/// Carries out the operation in the open transaction.
///
/// The triggers of the schema note what is updated or deleted, and delete the grants of a record
/// that is deleted.
pub(crate) fn apply(connection: &Connection, operation: &Operation) -> Result<(), Rejection> {
    match operation {
        Operation::Put { record, grants, expect } => put(connection, record, grants, *expect),
        Operation::Delete { kind, id, expect } => {
            let table = tables::of(*kind)?;
            let mut delete = connection.prepare_cached(&table.delete)?;
            match delete.execute(params![id.to_string(), bytes(*expect)])? {
                0 => Err(absent_or_changed(connection, table, *id)?.into()),
                _ => Ok(()),
            }
        }
        Operation::Require { kind, id } => match exists(connection, tables::of(*kind)?, *id)? {
            true => Ok(()),
            false => Err(missing(*kind, *id).into()),
        },
        other => Err(StoreError::backend(format!("unknown operation {other:?}")).into()),
    }
}

fn put(
    connection: &Connection,
    record: &Record,
    grants: &[GrantKey],
    expect: Expect,
) -> Result<(), Rejection> {
    let table = tables::of(record.kind)?;
    let id = record.id.to_string();
    let revision = bytes(record.revision);
    let key = record.unique_key.as_str();
    let org = record.org.map(|org| org.to_string());
    let user = record.user.map(|user| user.to_string());
    let status = record.status.as_str();
    match expect {
        Expect::Absent => {
            let columns = params![id, revision, key, org, user, status, record.body];
            let inserted = connection.prepare_cached(&table.insert)?.execute(columns);
            inserted.map_err(|error| taken(error, record))?;
            changes::note(connection, table, &id)?;
        }
        Expect::Revision(expected) => {
            let expected = bytes(expected);
            let columns = params![id, revision, key, org, user, status, record.body, expected];
            let updated = connection.prepare_cached(&table.update)?.execute(columns);
            if updated.map_err(|error| taken(error, record))? == 0 {
                return Err(absent_or_changed(connection, table, record.id)?.into());
            }
            connection.prepare_cached(&table.revoke)?.execute([&id])?;
        }
    }
    let mut grant = connection.prepare_cached(&table.grant)?;
    for key in grants {
        grant.execute(params![id, key.to_string()])?;
    }
    Ok(())
}

/// Tells by the constraint what is taken. Looking before writing would be a race between
/// processes, and slower.
fn taken(error: rusqlite::Error, record: &Record) -> Rejection {
    let taken = match error.sqlite_extended_error_code() {
        Some(ffi::SQLITE_CONSTRAINT_PRIMARYKEY) => Taken::Id,
        Some(ffi::SQLITE_CONSTRAINT_UNIQUE) => Taken::UniqueKey,
        _ => return error.into(),
    };
    let (kind, id) = (record.kind, record.id);
    StoreError::AlreadyExists { kind, id, taken }.into()
}

fn absent_or_changed(
    connection: &Connection,
    table: &Table,
    id: Id,
) -> rusqlite::Result<StoreError> {
    let kind = table.kind;
    Ok(match exists(connection, table, id)? {
        true => StoreError::Conflict { kind, id },
        false => missing(kind, id),
    })
}

fn exists(connection: &Connection, table: &Table, id: Id) -> rusqlite::Result<bool> {
    let mut exists = connection.prepare_cached(&table.exists)?;
    exists.exists([id.to_string()])
}

fn missing(kind: Kind, id: Id) -> StoreError {
    StoreError::Missing { kind, id }
}

fn bytes(revision: Revision) -> [u8; 16] {
    revision.as_u128().to_be_bytes()
}
