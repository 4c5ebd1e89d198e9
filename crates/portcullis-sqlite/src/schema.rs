//! The schema: how a store is identified, migrations, and the incarnation.

use rusqlite::{Connection, TransactionBehavior};

use crate::row_cluster;

/// Identifies a store of Portcullis: "Port" in ASCII. `file` shows it.
pub(crate) const APPLICATION_ID: i64 = 0x506f_7274;

/// Each brings a file from the format of its index to the next.
const MIGRATIONS: [&str; 4] = [
    include_str!("migrations/0001_records.sql"),
    include_str!("migrations/0002_places.sql"),
    include_str!("migrations/0003_dbrps.sql"),
    include_str!("migrations/0004_uses.sql"),
];

/// The format that this version reads and writes.
pub(crate) const FORMAT: i64 = MIGRATIONS.len() as i64;

/// The contents of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A database without anything in it.
    Empty,
    /// A database of something else.
    Foreign,
    /// A store of the format.
    Store { format: i64 },
}

/// Identifies the contents of the file.
pub(crate) fn identify(connection: &mut Connection) -> rusqlite::Result<Found> {
    // In one transaction, as another process may be writing all three.
    let transaction = connection.transaction()?;
    let application: i64 = transaction.pragma_query_one(None, "application_id")?;
    let format = format(&transaction)?;
    let objects = "SELECT count(*) FROM sqlite_schema";
    let objects: i64 = transaction.query_row(objects, [], |row| row.get(0))?;
    Ok(match (application, format, objects) {
        (APPLICATION_ID, format, _) => Found::Store { format },
        (0, 0, 0) => Found::Empty,
        _ => Found::Foreign,
    })
}

/// Migrates a file from the format, 0 for an empty one, to the next. Returns false and changes nothing
/// if another process has done it meanwhile.
pub(crate) fn migrate(connection: &mut Connection, from: i64) -> rusqlite::Result<bool> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let index = usize::try_from(from).ok();
    let Some(migration) = index.and_then(|index| MIGRATIONS.get(index)) else {
        return Ok(false);
    };
    if format(&transaction)? != from {
        return Ok(false);
    }
    row_cluster::register_function(&transaction)?;
    transaction.execute_batch(migration)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", from + 1)?;
    transaction.commit()?;
    Ok(true)
}

/// Makes an empty database a store of the current format.
pub(crate) fn migrate_all(connection: &mut Connection) -> rusqlite::Result<()> {
    for format in 0..FORMAT {
        migrate(connection, format)?;
    }
    Ok(())
}

/// Returns the format that the file says it has.
pub(crate) fn format(connection: &Connection) -> rusqlite::Result<i64> {
    let mut format = connection.prepare_cached("PRAGMA user_version")?;
    format.query_row([], |row| row.get(0))
}

/// Returns the number of the incarnation, unless it cannot be read.
pub(crate) fn incarnation(connection: &Connection) -> rusqlite::Result<Option<u128>> {
    let sql = "SELECT value FROM meta WHERE name = 'incarnation'";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let text = row.get_ref(0)?.as_str().unwrap_or_default();
    Ok(u128::from_str_radix(text, 16).ok())
}
