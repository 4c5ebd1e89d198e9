//! From version 1 to the current one: all of it or nothing, whatever happens meanwhile.

use std::num::NonZeroUsize;
use std::process::Stdio;
use std::time::Duration;

use futures_util::StreamExt as _;
use portcullis::store::{Expect, Index, Kind, Lookup, Operation, Record, Store, StoreExt as _};
use portcullis::verify::verify;
use portcullis::{OrgId, UserId};
use portcullis_sqlite::SqliteStore;
use rusqlite::{Connection, params};

use crate::common::{Place, authorization, child, child_path, commit, create, grant};

/// The format that is written today.
const FORMAT: i64 = 4;

/// The authorization with the number, of one of seven users in one of three orgs.
fn numbered(number: u64) -> Record {
    let (org, user) = (1 + number % 3, 1 + number % 7);
    let plain = authorization(number, &format!("name-{number}"));
    let body = plain
        .body
        .replace("orgID\":\"0000000000000001", &format!("orgID\":\"{org:016x}"))
        .replace("userID\":\"0000000000000002", &format!("userID\":\"{user:016x}"));
    let (org, user) = (Some(OrgId::from_u64(org)), Some(UserId::from_u64(user)));
    Record { org, user, body: body.into(), ..plain }
}

/// A file as version 1 has made it, with so many authorizations in it.
fn version_1(place: &Place, count: u64) {
    let mut connection = Connection::open(place.path()).unwrap();
    let transaction = connection.transaction().unwrap();
    transaction.execute_batch(include_str!("../../src/migrations/0001_records.sql")).unwrap();
    transaction.pragma_update(None, "application_id", 0x506f_7274).unwrap();
    transaction.pragma_update(None, "user_version", 1).unwrap();
    for number in 1..=count {
        let record = numbered(number);
        let id = record.id.to_string();
        let insert = "INSERT INTO authorizations
                      (id, revision, unique_key, org_id, user_id, status, body)
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let columns = params![
            id,
            record.revision.as_u128().to_be_bytes(),
            record.unique_key.as_str(),
            record.org.map(|org| org.to_string()),
            record.user.map(|user| user.to_string()),
            record.status.as_str(),
            &*record.body,
        ];
        transaction.prepare_cached(insert).unwrap().execute(columns).unwrap();
        let insert = "INSERT INTO grants VALUES ('authorizations', ?1, ?2)";
        let columns = params![grant().to_string(), id];
        transaction.prepare_cached(insert).unwrap().execute(columns).unwrap();
    }
    transaction.commit().unwrap();
    connection.pragma_update(None, "journal_mode", "wal").unwrap();
}

fn format(place: &Place) -> i64 {
    place.raw().pragma_query_one(None, "user_version").unwrap()
}

/// The users in the order in which their rows are in the file.
fn users_in_the_file(place: &Place) -> Vec<(String, String)> {
    let raw = place.raw();
    let mut rows =
        raw.prepare("SELECT org_id, user_id FROM authorizations ORDER BY place").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let mut users: Vec<_> = rows.map(Result::unwrap).collect();
    users.dedup();
    users
}

async fn assert_complete(store: &SqliteStore, count: u64) {
    for number in 1..=count {
        let record = numbered(number);
        let lookup = Lookup::UniqueKey(Kind::Authorization, record.unique_key.as_str());
        assert_eq!(store.get(lookup).await.unwrap(), Some(record));
    }
    let index = Index::User(Kind::Authorization, UserId::from_u64(3));
    let pages = store.pages(index, NonZeroUsize::MAX);
    let found = pages.map(|page| page.unwrap().records).concat().await;
    let expected: Vec<_> = (1..=count).filter(|number| number % 7 == 2).map(numbered).collect();
    assert!(found == expected, "{} of {}", found.len(), expected.len());
    assert!(verify(store, |_| {}).await.unwrap().is_ok());
}

#[tokio::test]
async fn rows_of_a_user_lie_together_whether_migrated_or_created() {
    const COUNT: u64 = 210;

    let place = Place::new();
    version_1(&place, COUNT);
    let store = place.open();
    assert_eq!(format(&place), FORMAT);
    assert_complete(&store, COUNT).await;
    // Each of the 21 pairs of an org and a user is in one piece.
    assert_eq!(users_in_the_file(&place).len(), 21);
    let more = (COUNT + 1..=2 * COUNT).map(|number| create(numbered(number)));
    commit(&store, more).await.unwrap();
    assert_eq!(users_in_the_file(&place).len(), 21);
    assert_complete(&store, 2 * COUNT).await;
}

#[tokio::test]
async fn a_record_whose_region_is_full_finds_another_place() {
    let place = Place::new();
    let store = place.open();
    commit(&store, [create(numbered(1))]).await.unwrap();
    place.raw().execute("UPDATE authorizations SET place = place | 0xffffff", []).unwrap();
    commit(&store, [create(numbered(22)), create(numbered(43))]).await.unwrap();
    let ids: i64 =
        place.raw().query_row("SELECT count(*) FROM authorizations", [], |row| row.get(0)).unwrap();
    assert_eq!(ids, 3);
    // It may be anywhere: a record that moves to another user stays where it is.
    let record = Record { revision: crate::common::revision(2), ..numbered(1) };
    let moved = Record { user: Some(UserId::from_u64(9)), ..record };
    let expect = Expect::Revision(numbered(1).revision);
    commit(&store, [Operation::Put { record: moved.clone(), grants: vec![grant()], expect }])
        .await
        .unwrap();
    let lookup = Lookup::Id(Kind::Authorization, moved.id);
    assert_eq!(store.get(lookup).await.unwrap(), Some(moved));
}

#[tokio::test]
async fn a_migration_that_fails_half_way_changes_nothing() {
    const COUNT: u64 = 50;

    let place = Place::new();
    version_1(&place, COUNT);
    // In the way of the last table.
    place.raw().execute_batch("CREATE TABLE old_users (x)").unwrap();
    SqliteStore::open(place.path()).unwrap_err();
    assert_eq!(format(&place), 1);
    let columns = "SELECT count(*) FROM pragma_table_info('authorizations') WHERE name = 'place'";
    assert_eq!(place.raw().query_row(columns, [], |row| row.get::<_, i64>(0)).unwrap(), 0);

    place.raw().execute_batch("DROP TABLE old_users").unwrap();
    let store = place.open();
    assert_eq!(format(&place), FORMAT);
    assert_complete(&store, COUNT).await;
}

#[tokio::test]
async fn a_process_that_is_killed_while_it_migrates_leaves_all_records() {
    const COUNT: u64 = 2_000;

    let (mut before, mut after) = (0, 0);
    for round in 0..12 {
        let place = Place::new();
        version_1(&place, COUNT);
        let mut process =
            child(&[], "migration::child_migrates", &place.path()).stderr(Stdio::null()).spawn();
        let process = process.as_mut().unwrap();
        std::thread::sleep(Duration::from_millis(5 + 10 * round));
        process.kill().unwrap();
        process.wait().unwrap();
        match format(&place) {
            1 => before += 1,
            _ => after += 1,
        }
        assert_complete(&place.open(), COUNT).await;
    }
    println!("killed before the migration was committed: {before}, after: {after}");
}

#[test]
#[ignore = "another process runs it"]
fn child_migrates() {
    if let Some(path) = child_path() {
        drop(SqliteStore::open(path).unwrap());
    }
}
