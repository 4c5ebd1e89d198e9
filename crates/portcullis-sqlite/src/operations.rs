//! Writing: the operations of a batch, one statement or few for each.

use std::collections::BTreeSet;

use portcullis::store::{Duplicate, Expect, Kind, Operation, Record, Revision, StoreError};
use portcullis::{GrantKey, Id};
use rusqlite::{Connection, Row, ffi, params};

use crate::changes;
use crate::error::CommitError;
use crate::row_cluster::RowCluster;
use crate::tables::{TABLES, Table};

/// Tells whether a refused batch leaves nothing to undo: an operation is refused before it writes
/// anything, and only the last operation of this batch writes.
pub(crate) fn has_nothing_to_undo(batch: &[Operation]) -> bool {
    let before = batch.split_last().map_or(batch, |(_last, before)| before);
    before.iter().all(|operation| matches!(operation, Operation::Require { .. }))
}

/// Applies the operations of a batch, up to the first one that fails.
///
/// # Errors
///
/// [`CommitError::Refused`] and [`CommitError::Failed`].
pub(crate) fn apply_all(connection: &Connection, batch: &[Operation]) -> Result<(), CommitError> {
    batch.iter().try_for_each(|operation| apply(connection, operation))
}

/// Applies the operation in the open transaction. If it is refused, it changes nothing.
///
/// The triggers of the schema log updates and deletions in `changes`, and delete the grants of a
/// deleted record.
fn apply(connection: &Connection, operation: &Operation) -> Result<(), CommitError> {
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
) -> Result<(), CommitError> {
    let table = TABLES.of(record.kind);
    let id = record.id.to_string();
    let revision = bytes(record.revision);
    let key = record.unique_key.as_str();
    let org = record.org.map(|org| org.to_string());
    let user = record.user.map(|user| user.to_string());
    let status = record.status.as_str();
    match expect {
        Expect::Absent => {
            let cluster = RowCluster::of(org.as_deref(), user.as_deref());
            let (first, last) = (cluster.map(|it| it.first), cluster.map(|it| it.last));
            let columns = params![id, revision, key, org, user, status, &*record.body, first, last];
            let inserted = connection.prepare_cached(&table.insert)?.execute(columns);
            if let Err(error) = inserted {
                return Err(match is_taken(&error) {
                    // Both may be taken; the id is reported first.
                    true if exists(connection, table, record.id)? => taken(record, Duplicate::Id),
                    true => taken(record, Duplicate::UniqueKey),
                    false => error.into(),
                });
            }
            changes::log_insert(connection, table, &id)?;
        }
        Expect::Revision(expected) => {
            let expected = bytes(expected);
            let columns = params![id, revision, key, org, user, status, &*record.body, expected];
            // Most changes leave the indexed columns as they are.
            let updated = connection.prepare_cached(&table.update_in_place)?.execute(columns)?;
            if updated == 0 {
                let updated = connection.prepare_cached(&table.update)?.execute(columns);
                match updated {
                    Ok(0) => return Err(absent_or_changed(connection, table, record.id)?.into()),
                    Ok(_) => {}
                    Err(error) if is_taken(&error) => {
                        return Err(taken(record, Duplicate::UniqueKey));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    put_grants(connection, table, &id, grants, expect)
}

/// Replaces the grants of the record. They are read first, as hardly any change affects them.
fn put_grants(
    connection: &Connection,
    table: &Table,
    id: &str,
    grants: &[GrantKey],
    expect: Expect,
) -> Result<(), CommitError> {
    let grants: BTreeSet<String> = grants.iter().map(GrantKey::to_string).collect();
    if expect != Expect::Absent {
        let mut held = connection.prepare_cached(&table.grants)?;
        // A value that is no text equals no grant.
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

/// Tells whether the error is a violated constraint of uniqueness. Reading before writing would be a
/// race between processes, and slower.
fn is_taken(error: &rusqlite::Error) -> bool {
    error.sqlite_extended_error_code() == Some(ffi::SQLITE_CONSTRAINT_UNIQUE)
}

fn taken(record: &Record, duplicate: Duplicate) -> CommitError {
    let (kind, id) = (record.kind, record.id);
    StoreError::AlreadyExists { kind, id, duplicate }.into()
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
