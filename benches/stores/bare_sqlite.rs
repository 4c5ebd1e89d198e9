//! SQLite by hand: the same reads and writes with as little around them as there can be.

use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;

use portcullis::store::{Operation, Record};
use portcullis::{Authorization, GrantKey, Id, OrgId, UserId};
use portcullis_benches::data::{self, Data};
use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, ToSql, params};

/// The file that [`fill_layouts`] writes.
pub(crate) const LAYOUTS: &str = "layouts.db";

const COLUMNS: &str = "id TEXT NOT NULL, revision BLOB NOT NULL, unique_key TEXT NOT NULL, \
                       org_id TEXT NOT NULL, user_id TEXT NOT NULL, status TEXT NOT NULL, \
                       body TEXT NOT NULL";

/// The same records in a table with indexes, and in one that is clustered by user, and by org.
pub(crate) fn fill_layouts(directory: &Path, data: Data) {
    let connection = Connection::open(directory.join(LAYOUTS)).unwrap();
    connection
        .execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536;
             CREATE TABLE indexed ({COLUMNS}, UNIQUE (unique_key), PRIMARY KEY (id));
             CREATE INDEX indexed_by_org ON indexed (org_id, id);
             CREATE INDEX indexed_by_user ON indexed (user_id, id);
             CREATE TABLE of_user ({COLUMNS}, PRIMARY KEY (user_id, id)) WITHOUT ROWID;
             CREATE TABLE of_org ({COLUMNS}, PRIMARY KEY (org_id, id)) WITHOUT ROWID;"
        ))
        .unwrap();
    for batch in data.batches() {
        connection.execute_batch("BEGIN").unwrap();
        for operation in batch.into_operations().unwrap() {
            let Operation::Put { record, .. } = operation else { continue };
            for table in ["indexed", "of_user", "of_org"] {
                let sql = format!("INSERT INTO {table} VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)");
                insert(&connection, &sql, &record, &[]);
            }
        }
        connection.execute_batch("COMMIT").unwrap();
    }
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
}

fn run(connection: &Connection, sql: &str, values: &[&dyn ToSql]) -> usize {
    connection.prepare_cached(sql).unwrap().execute(values).unwrap()
}

/// Runs the statement with the columns of the record, and what else it takes.
fn insert(connection: &Connection, sql: &str, record: &Record, more: &[&dyn ToSql]) {
    let columns: &[&dyn ToSql] = params![
        record.id.to_string(),
        record.revision.as_u128().to_be_bytes(),
        record.unique_key.as_str(),
        record.org.map(|org| org.to_string()),
        record.user.map(|user| user.to_string()),
        record.status.as_str(),
        &*record.body,
    ];
    run(connection, sql, &[columns, more].concat());
}

/// The columns that a store has to read, in a list.
pub(crate) const SELECT: &str =
    "SELECT id, revision, unique_key, org_id, user_id, status, body FROM";

/// Runs the query and decodes the rows; returns the number of records.
pub(crate) fn read(connection: &Connection, sql: &str, keys: &[&str], most: usize) -> usize {
    let mut statement = connection.prepare_cached(sql).unwrap();
    let mut rows = statement.query(rusqlite::params_from_iter(keys)).unwrap();
    let mut found = Vec::new();
    while found.len() < most {
        let Some(row) = rows.next().unwrap() else { break };
        found.push(decode(row));
    }
    found.len()
}

/// Runs the query and reads every column of the rows; returns the number of records.
pub(crate) fn read_columns(
    connection: &Connection,
    sql: &str,
    keys: &[&str],
    most: usize,
) -> usize {
    let mut statement = connection.prepare_cached(sql).unwrap();
    let mut rows = statement.query(rusqlite::params_from_iter(keys)).unwrap();
    let mut found = 0;
    while found < most {
        let Some(row) = rows.next().unwrap() else { break };
        for column in 0..7 {
            assert_ne!(black_box(row.get_ref(column).unwrap()), ValueRef::Null);
        }
        found += 1;
    }
    found
}

fn decode(row: &Row<'_>) -> Authorization {
    // Every column is read, and none but the body is copied.
    for column in 0..6 {
        assert_ne!(row.get_ref(column).unwrap(), ValueRef::Null);
    }
    data::parse(row.get_ref(6).unwrap().as_str().unwrap())
}

/// A connection whose plans do not depend on values, like those of the store: what the store saves by
/// that is not measured here.
fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).unwrap();
    connection
}

/// A connection that reads, and keeps as much of the file as one of the store's.
pub(crate) fn to_read(path: &Path) -> Connection {
    let connection = open(path);
    connection.execute_batch("PRAGMA cache_size = -8192").unwrap();
    connection
}

/// A connection that writes with full syncs to the file of a store, and so to the same columns and
/// indexes.
pub(crate) fn to_write(path: &Path) -> Connection {
    let connection = open(path);
    let settings = "PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; \
                    PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = 4000;";
    connection.execute_batch(settings).unwrap();
    connection
}

/// The regions in which the rows of each org and user are clustered.
pub(crate) struct Regions(HashMap<(OrgId, UserId), i64>);

/// The size of a region, in row ids.
const REGION: i64 = 1 << 24;

impl Regions {
    pub(crate) fn of(connection: &Connection) -> Self {
        let sql = "SELECT DISTINCT org_id, user_id, place / ?1 * ?1 FROM authorizations";
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([REGION], |row| {
            let id = |column| row.get_ref(column).unwrap().as_str().unwrap().parse::<Id>().unwrap();
            Ok(((id(0).into(), id(1).into()), row.get(2)?))
        });
        Self(rows.unwrap().map(Result::unwrap).collect())
    }
}

/// Inserts the record at the same place as the store does, its entries and the change.
pub(crate) fn create(
    connection: &Connection,
    regions: &Regions,
    record: &Record,
    grants: &[GrantKey],
) {
    run(connection, "BEGIN IMMEDIATE", &[]);
    let id = record.id.to_string();
    let region = regions.0[&(record.org.unwrap(), record.user.unwrap())];
    insert(
        connection,
        "INSERT INTO authorizations \
         (place, id, revision, unique_key, org_id, user_id, status, body) VALUES \
         (1 + (SELECT place FROM authorizations WHERE place BETWEEN ?8 AND ?9 \
               ORDER BY place DESC LIMIT 1), ?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        record,
        params![region, region + REGION - 1],
    );
    for grant in grants {
        let grant = grant.to_string();
        run(
            connection,
            "INSERT INTO grants (kind, grant_key, id) VALUES ('authorizations', ?1, ?2)",
            params![grant, id],
        );
    }
    run(connection, "INSERT INTO changes (kind, id) VALUES ('authorizations', ?1)", params![id]);
    run(connection, "COMMIT", &[]);
}

/// Updates the record; a trigger notes the change.
pub(crate) fn patch(connection: &Connection, record: &Record) {
    run(connection, "BEGIN IMMEDIATE", &[]);
    let updated = run(
        connection,
        "UPDATE authorizations SET revision = ?2, status = ?3, body = ?4 WHERE id = ?1",
        params![
            record.id.to_string(),
            record.revision.as_u128().to_be_bytes(),
            record.status.as_str(),
            &*record.body
        ],
    );
    assert_eq!(updated, 1);
    run(connection, "COMMIT", &[]);
}

/// Deletes the record; a trigger deletes its grants and notes the change.
pub(crate) fn delete(connection: &Connection, record: &Record) {
    run(connection, "BEGIN IMMEDIATE", &[]);
    let id = record.id.to_string();
    assert_eq!(run(connection, "DELETE FROM authorizations WHERE id = ?1", params![id]), 1);
    run(connection, "COMMIT", &[]);
}
