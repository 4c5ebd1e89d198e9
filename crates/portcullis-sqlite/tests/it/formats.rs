//! Old files, opened with today's code.
//!
//! There is a dump for each format, `tests/fixtures/v1.sql` and so on. After adding a migration,
//! make the dump of the new format:
//!
//! ```text
//! cargo test -p portcullis-sqlite --test it -- --ignored write_the_fixture_of_this_format
//! ```

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use portcullis::store::{
    Deletion, Index, Kind, Lookup, PageRequest, Record, Store, StoreExt, UniqueKey,
};
use portcullis::{ApiToken, Authorization, Bucket, Id, Org, OrgId, Status, User, UserId};
use rusqlite::Connection;
use rusqlite::types::Value;

use crate::common::{Place, authorization, commit, create, grant, revision};

fn fixture(format: i64) -> PathBuf {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    PathBuf::from(directory).join(format!("v{format}.sql"))
}

fn format(connection: &Connection) -> i64 {
    connection.pragma_query_one(None, "user_version").unwrap()
}

/// One record of each kind. They say the same for ever, whatever becomes of core.
fn records() -> Vec<Record> {
    let digest = "sha256:f3a82bb1b392249af55a9326b16fcbaf533f566113f01bc4afdaf209ea9d53ad";
    let record = |kind, id, key: &str, body: &str| Record {
        kind,
        id: Id::from_u64(id),
        revision: revision(u128::from(id) + 10),
        unique_key: UniqueKey::new(key).unwrap(),
        org: None,
        user: None,
        status: Status::Active,
        body: body.into(),
    };
    vec![
        record(
            Kind::Org,
            1,
            "acme",
            r#"{"v":1,"id":"0000000000000001","name":"acme","status":"active"}"#,
        ),
        Record {
            status: Status::Inactive,
            ..record(
                Kind::User,
                2,
                "ada",
                r#"{"v":1,"id":"0000000000000002","name":"ada","status":"inactive"}"#,
            )
        },
        Record {
            org: Some(OrgId::from_u64(1)),
            ..record(
                Kind::Bucket,
                3,
                "0000000000000001/telemetry/raw",
                r#"{"v":1,"id":"0000000000000003","orgID":"0000000000000001","name":"telemetry/raw"}"#,
            )
        },
        Record {
            org: Some(OrgId::from_u64(1)),
            user: Some(UserId::from_u64(2)),
            ..record(
                Kind::ApiToken,
                4,
                digest,
                &format!(
                    r#"{{"v":1,"id":"0000000000000004","tokenDigest":"{digest}","status":"active","description":"ops","orgID":"0000000000000001","userID":"0000000000000002","permissions":["read:users"]}}"#
                ),
            )
        },
        authorization(0xffff_ffff_ffff_fff5, "it's"),
        record(
            Kind::Deletion,
            6,
            "org/0000000000000009",
            r#"{"v":1,"id":"0000000000000006","gone":{"org":"0000000000000009"}}"#,
        ),
    ]
}

/// The tables and their columns, in no particular order.
fn layout(connection: &Connection) -> Vec<String> {
    let sql = "SELECT concat_ws('|', o.type, o.name, o.tbl_name, c.name, c.type, c.pk, c.hidden)
               FROM sqlite_schema AS o LEFT JOIN pragma_table_xinfo(o.name) AS c
               WHERE o.name NOT LIKE 'sqlite_stat%' ORDER BY 1";
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[tokio::test]
async fn files_of_every_format_open() {
    let new = Place::new();
    drop(new.open());
    let today = format(&new.raw());
    for old in 1..=today {
        let place = Place::new();
        let path = fixture(old);
        let dump = fs::read_to_string(&path);
        let dump = dump.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        place.raw().execute_batch(&dump).unwrap();
        assert_eq!(format(&place.raw()), old);

        let store = place.open();
        assert!(!store.was_created());
        assert_eq!(format(&place.raw()), today);
        assert_eq!(layout(&place.raw()), layout(&new.raw()));
        for expected in records() {
            let lookup = Lookup::UniqueKey(expected.kind, expected.unique_key.as_str());
            let found = store.get(lookup).await.unwrap();
            assert_eq!(found.as_ref(), Some(&expected));
            assert_eq!(found.map(|found| found.body), Some(expected.body));
        }
        let request = PageRequest { after: None, limit: 10.try_into().unwrap() };
        let index = Index::Grant(Kind::Authorization, grant());
        let page = store.list(index, request).await.unwrap();
        assert_eq!(page.records.len(), 1);
        // Core can read the bodies as well.
        let id = page.records[0].id;
        assert!(store.find::<Authorization>(id).await.unwrap().is_some());
        let id = Id::from_u64;
        assert!(store.find::<Org>(id(1)).await.unwrap().is_some());
        assert!(store.find::<User>(id(2)).await.unwrap().is_some());
        assert!(store.find::<Bucket>(id(3)).await.unwrap().is_some());
        assert!(store.find::<ApiToken>(id(4)).await.unwrap().is_some());
        assert!(store.find::<Deletion>(id(6)).await.unwrap().is_some());

        assert_eq!(store.position().await.unwrap().place(), 6);
        let next = commit(&store, [create(crate::common::user(77, "new"))]).await;
        assert_eq!(next.unwrap().place(), 7);
    }
}

#[tokio::test]
#[ignore = "writes tests/fixtures: run it once, when a migration was added"]
async fn write_the_fixture_of_this_format() {
    let place = Place::new();
    let store = place.open();
    for record in records() {
        commit(&store, [create(record)]).await.unwrap();
    }
    store.close().await.unwrap();
    let raw = place.raw();
    let path = fixture(format(&raw));
    assert!(!path.exists(), "{} must not change any more", path.display());
    fs::write(path, dump(&raw)).unwrap();
}

/// The database as statements that make it: tables, rows, then indexes and triggers.
fn dump(connection: &Connection) -> String {
    let mut dump = String::from("BEGIN;\n");
    for pragma in ["application_id", "user_version"] {
        let value: i64 = connection.pragma_query_one(None, pragma).unwrap();
        writeln!(dump, "PRAGMA {pragma} = {value};").unwrap();
    }
    let schema = |condition: &str| -> Vec<(String, String)> {
        let sql = format!("SELECT name, sql FROM sqlite_schema WHERE sql NOT NULL AND {condition}");
        let mut statement = connection.prepare(&sql).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.unwrap().map(Result::unwrap).collect()
    };
    for (table, sql) in schema("type = 'table'") {
        writeln!(dump, "{sql};").unwrap();
        let mut columns = connection.prepare("SELECT name FROM pragma_table_info(?1)").unwrap();
        let columns = columns.query_map([&table], |row| row.get(0)).unwrap();
        let columns: Vec<String> = columns.map(Result::unwrap).collect();
        let columns = columns.join(", ");
        let sql = format!("SELECT {columns} FROM {table}");
        let mut rows = connection.prepare(&sql).unwrap();
        let count = rows.column_count();
        let mut rows = rows.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values = (0..count).map(|index| quoted(row.get(index).unwrap()));
            let values: Vec<_> = values.collect();
            let values = values.join(", ");
            writeln!(dump, "INSERT INTO {table} ({columns}) VALUES ({values});").unwrap();
        }
    }
    for (_, sql) in schema("type <> 'table'") {
        writeln!(dump, "{sql};").unwrap();
    }
    dump.push_str("COMMIT;\n");
    dump
}

fn quoted(value: Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Blob(bytes) => {
            let digits: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("x'{}'", digits.concat())
        }
    }
}
