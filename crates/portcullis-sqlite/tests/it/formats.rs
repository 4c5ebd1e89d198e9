//! Old files, opened with today's code.
//!
//! There is a file of each format, `tests/fixtures/v1.db` and so on, as the version that introduced
//! the format has written it. After adding a migration, make the file of the new format:
//!
//! ```text
//! cargo test -p portcullis-sqlite --test it -- --ignored write_the_fixture_of_this_format
//! ```

use std::fs;
use std::path::PathBuf;

use portcullis::store::Record;
use portcullis::store::{
    Expect, Index, Kind, Lookup, Operation, PageRequest, Store, StoreExt, Tombstone,
};
use portcullis::verify::verify;
use portcullis::{
    ApiToken, ApiTokenUse, Authorization, AuthorizationUse, Bucket, DatabaseMappings, GrantKey, Id,
    Org, User,
};
use portcullis_testkit::{pinned_dbrp, pinned_records, pinned_uses};
use rusqlite::Connection;

use crate::common::{Place, commit, create, grant};

fn fixture(format: i64) -> PathBuf {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    PathBuf::from(directory).join(format!("v{format}.db"))
}

/// The records that a file of the format has.
fn pinned(format: i64) -> Vec<(Record, Vec<GrantKey>)> {
    let mut records = pinned_records();
    if format >= 3 {
        records.push(pinned_dbrp());
    }
    if format >= 4 {
        records.extend(pinned_uses());
    }
    records
}

fn format(connection: &Connection) -> i64 {
    connection.pragma_query_one(None, "user_version").unwrap()
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
        fs::copy(&path, place.path()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(format(&place.raw()), old);

        let store = place.open();
        assert!(!store.was_created());
        assert_eq!(format(&place.raw()), today);
        assert_eq!(layout(&place.raw()), layout(&new.raw()));
        for (expected, _) in pinned(old) {
            let lookup = Lookup::UniqueKey(expected.kind, expected.unique_key.as_str());
            let found = store.get(lookup).await.unwrap();
            assert_eq!(found.as_ref(), Some(&expected));
            assert_eq!(found.map(|found| found.body), Some(expected.body));
        }
        let request = PageRequest { after: None, limit: 10.try_into().unwrap() };
        let index = Index::Grant(Kind::Authorization, grant());
        let page = store.list(index, request).await.unwrap();
        assert_eq!(page.records.len(), 1);
        assert!(verify(&store, |_| {}).await.unwrap().is_ok());
        // Core can read the bodies as well.
        let id = page.records[0].id;
        assert!(store.find::<Authorization>(id).await.unwrap().is_some());
        let id = Id::from_u64;
        assert!(store.find::<Org>(id(1)).await.unwrap().is_some());
        assert!(store.find::<User>(id(2)).await.unwrap().is_some());
        assert!(store.find::<Bucket>(id(3)).await.unwrap().is_some());
        assert!(store.find::<ApiToken>(id(4)).await.unwrap().is_some());
        assert!(store.find::<Tombstone>(id(6)).await.unwrap().is_some());

        let dbrp = store.find::<DatabaseMappings>(id(7)).await.unwrap();
        assert_eq!(dbrp.is_some(), old >= 3);
        let used =
            store.find::<AuthorizationUse>(Id::from_u64(0xffff_ffff_ffff_fff5)).await.unwrap();
        assert_eq!(used.is_some(), old >= 4);
        assert_eq!(store.find::<ApiTokenUse>(id(4)).await.unwrap().is_some(), old >= 4);

        let records = pinned(old).len() as u128;
        assert_eq!(store.position().await.unwrap().sequence(), records);
        let next = commit(&store, [create(crate::common::user(77, "new"))]).await;
        assert_eq!(next.unwrap().sequence(), records + 1);
    }
}

#[tokio::test]
#[ignore = "writes tests/fixtures: run it once, when a migration was added"]
async fn write_the_fixture_of_this_format() {
    let place = Place::new();
    let store = place.open();
    for (record, grants) in pinned(format(&place.raw())) {
        commit(&store, [Operation::Put { record, grants, expect: Expect::Absent }]).await.unwrap();
    }
    store.close().await.unwrap();
    let path = fixture(format(&place.raw()));
    assert!(!path.exists(), "{} must not change any more", path.display());
    fs::copy(place.path(), path).unwrap();
}
