//! Writing: the operations of a batch, one statement or few for each.

use std::collections::BTreeSet;

use portcullis::store::{Expect, Kind, Operation, Record, Revision, StoreError, Taken};
use portcullis::{GrantKey, Id};
use rusqlite::{Connection, Row, ffi, params};

use crate::changes;
use crate::error::Failure;
use crate::place::Region;
use crate::tables::{TABLES, Table};

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

/// Tells whether nothing of the batch is written before its last operation. An operation is refused
/// before it has written anything, so then there is nothing to undo when the batch is.
pub(crate) fn is_written_at_once(batch: &[Operation]) -> bool {
    let before = batch.split_last().map_or(batch, |(_last, before)| before);
    before.iter().all(|operation| matches!(operation, Operation::Require { .. }))
}

/// Carries out the operation in the open transaction. If it is refused nothing was changed.
///
/// The triggers of the schema note what is updated or deleted, and delete the grants of a record
/// that is deleted.
pub(crate) fn apply(connection: &Connection, operation: &Operation) -> Result<(), Rejection> {
    match operation {
        Operation::Put { record, grants, expect } => put(connection, record, grants, *expect),
        Operation::Delete { kind, id, expect } => {
            let table = TABLES.of(*kind);
            let mut delete = connection.prepare_cached(&table.delete)?;
            match delete.execute(params![id.to_string(), bytes(*expect)])? {
                0 => Err(absent_or_changed(connection, table, *id)?.into()),
                _ => Ok(()),
            }
        }
        Operation::Require { kind, id } => match exists(connection, TABLES.of(*kind), *id)? {
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
    let table = TABLES.of(record.kind);
    let id = record.id.to_string();
    let revision = bytes(record.revision);
    let key = record.unique_key.as_str();
    let org = record.org.map(|org| org.to_string());
    let user = record.user.map(|user| user.to_string());
    let status = record.status.as_str();
    match expect {
        Expect::Absent => {
            let region = Region::of(org.as_deref(), user.as_deref());
            let (first, last) = (region.map(|it| it.first), region.map(|it| it.last));
            let columns = params![id, revision, key, org, user, status, &*record.body, first, last];
            let inserted = connection.prepare_cached(&table.insert)?.execute(columns);
            if let Err(error) = inserted {
                return Err(match is_taken(&error) {
                    // Both may be, and the id is told first.
                    true if exists(connection, table, record.id)? => taken(record, Taken::Id),
                    true => taken(record, Taken::UniqueKey),
                    false => error.into(),
                });
            }
            changes::note(connection, table, &id)?;
        }
        Expect::Revision(expected) => {
            let expected = bytes(expected);
            let columns = params![id, revision, key, org, user, status, &*record.body, expected];
            // Most changes leave alone by what the record is found.
            let updated = connection.prepare_cached(&table.update_in_place)?.execute(columns)?;
            if updated == 0 {
                let updated = connection.prepare_cached(&table.update)?.execute(columns);
                match updated {
                    Ok(0) => return Err(absent_or_changed(connection, table, record.id)?.into()),
                    Ok(_) => {}
                    Err(error) if is_taken(&error) => return Err(taken(record, Taken::UniqueKey)),
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    put_grants(connection, table, &id, grants, expect)
}

/// Makes the grants of the record these ones. They are read before they are written: hardly any
/// change changes them.
fn put_grants(
    connection: &Connection,
    table: &Table,
    id: &str,
    grants: &[GrantKey],
    expect: Expect,
) -> Result<(), Rejection> {
    let grants: BTreeSet<String> = grants.iter().map(GrantKey::to_string).collect();
    if expect != Expect::Absent {
        let mut held = connection.prepare_cached(&table.grants)?;
        // One that somebody broke is none that is wanted.
        let text = |row: &Row<'_>| Ok(row.get_ref(0)?.as_str().unwrap_or_default().to_owned());
        let held = held.query_map([id], text)?;
        let held: BTreeSet<String> = held.collect::<rusqlite::Result<_>>()?;
        if held == grants {
            return Ok(());
        }
        if !held.is_empty() {
            connection.prepare_cached(&table.revoke)?.execute([id])?;
        }
    }
    let mut grant = connection.prepare_cached(&table.grant)?;
    for key in &grants {
        grant.execute([id, key])?;
    }
    Ok(())
}

/// Tells by the constraint that something is taken. Looking before writing would be a race between
/// processes, and slower.
fn is_taken(error: &rusqlite::Error) -> bool {
    error.sqlite_extended_error_code() == Some(ffi::SQLITE_CONSTRAINT_UNIQUE)
}

fn taken(record: &Record, taken: Taken) -> Rejection {
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
