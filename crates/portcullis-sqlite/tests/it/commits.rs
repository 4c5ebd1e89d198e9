//! Commits: groups, failures in the middle and at the end, big batches.

use std::fs;

use futures_util::future::join_all;
use portcullis::Id;
use portcullis::store::{
    Batch, Change, Duplicate, Expect, Kind, Lookup, Operation, Record, Store, StoreError,
};
use portcullis::toolkit::Feed;
use portcullis_sqlite::SqliteStore;

use crate::common::{
    Place, authorization, commit, create, delete, next_change, next_id, revision, user,
};

/// How many transactions the log holds: each ends with a frame that has the size of the file.
fn transactions(place: &Place) -> usize {
    let log = fs::read(place.beside("-wal")).unwrap();
    let number = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
    let frame = 24 + number(8) as usize;
    let salt = log[16..24].to_vec();
    (32..)
        .step_by(frame)
        .take_while(|at| at + frame <= log.len() && log[at + 8..at + 16] == salt)
        .filter(|at| number(at + 4) > 0)
        .count()
}

#[tokio::test]
async fn commits_at_the_same_time_share_transactions() {
    let place = Place::new();
    let store = place.open();
    let before = transactions(&place);
    let raw = place.raw();
    raw.execute_batch("BEGIN IMMEDIATE").unwrap();
    let users = (1..=500).map(|id| [create(user(id, &id.to_string()))]);
    // All of them wait in the queue before the first can be committed: tokio would let a task put no
    // more than a hundred there at a time.
    let commits = join_all(users.map(|batch| commit(&store, batch)));
    let mut all = Box::pin(tokio::task::unconstrained(commits));
    assert!(futures_util::poll!(&mut all).is_pending());
    raw.execute_batch("ROLLBACK").unwrap();
    let places = all.await.into_iter().map(|position| position.unwrap().sequence());
    let mut places: Vec<_> = places.collect();
    // The commits that were queued when the thread polled, and the rest.
    let transactions = transactions(&place) - before;
    assert!(transactions <= 2, "{transactions}");
    places.sort_unstable();
    assert!(places.into_iter().eq(1..=500));
}

#[tokio::test]
async fn a_duplicate_id_is_reported_before_a_duplicate_key() {
    let place = Place::new();
    let store = place.open();
    commit(&store, [create(user(1, "ada"))]).await.unwrap();
    for kind in Kind::ALL {
        let record = Record { kind, ..user(7, "same") };
        commit(&store, [create(record.clone())]).await.unwrap();
        let again = commit(&store, [create(record)]).await;
        let Err(StoreError::AlreadyExists { duplicate, .. }) = again else {
            panic!("{again:?}");
        };
        assert_eq!(duplicate, Duplicate::Id, "{kind}");
    }
}

#[tokio::test]
async fn operations_see_the_effects_of_earlier_ones() {
    let place = Place::new();
    let store = place.open();
    let (ada, bob) = (user(1, "ada"), user(2, "bob"));
    let renamed = Record { revision: revision(2), ..user(1, "bob") };
    let kind = Kind::User;
    let batch = [
        create(ada.clone()),
        Operation::Require { kind, id: ada.id },
        create(bob.clone()),
        delete(&bob),
        Operation::Put {
            record: renamed.clone(),
            grants: Vec::new(),
            expect: Expect::Revision(ada.revision),
        },
        create(user(3, "ada")),
    ];
    commit(&store, batch).await.unwrap();
    let found = store.get(Lookup::UniqueKey(kind, "bob")).await.unwrap();
    assert_eq!(found, Some(renamed));
    let gone = commit(&store, [Operation::Require { kind, id: bob.id }]).await;
    assert!(matches!(gone, Err(StoreError::Missing { .. })), "{gone:?}");
    let changed = commit(&store, [delete(&ada)]).await;
    assert!(matches!(changed, Err(StoreError::Conflict { .. })), "{changed:?}");
    let missing = commit(&store, [delete(&bob)]).await;
    assert!(matches!(missing, Err(StoreError::Missing { .. })), "{missing:?}");
}

#[tokio::test]
async fn a_commit_whose_future_is_dropped_is_announced() {
    let place = Place::new();
    let store = place.open();
    let raw = place.raw();
    let position = store.position().await.unwrap();
    let mut changes = store.watch(position).await.unwrap();
    raw.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut dropped = Box::pin(commit(&store, [create(user(1, "ada"))]));
    assert!(futures_util::poll!(&mut dropped).is_pending());
    drop(dropped);
    raw.execute_batch("ROLLBACK").unwrap();
    assert_eq!(next_id(&mut changes).await, 1);
}

#[tokio::test]
async fn a_locked_file_is_unavailable_and_nothing_is_changed() {
    let place = Place::new();
    let options = SqliteStore::options().busy_timeout(std::time::Duration::from_millis(20));
    let store = options.open(place.path()).unwrap();
    let raw = place.raw();
    raw.execute_batch("BEGIN IMMEDIATE").unwrap();
    let locked = commit(&store, [create(user(1, "ada"))]).await;
    assert!(matches!(locked, Err(StoreError::Unavailable { .. })), "{locked:?}");
    // Readers do not care.
    let lookup = Lookup::Id(Kind::User, Id::from_u64(1));
    assert_eq!(store.get(lookup).await.unwrap(), None);
    raw.execute_batch("ROLLBACK").unwrap();
    commit(&store, [create(user(1, "ada"))]).await.unwrap();
}

#[tokio::test]
async fn a_file_that_was_upgraded_meanwhile_is_not_written() {
    let place = Place::new();
    let store = place.open();
    place.raw().pragma_update(None, "user_version", 99).unwrap();
    match commit(&store, [create(user(1, "ada"))]).await {
        Err(StoreError::Unavailable { source }) => assert_eq!(
            source.to_string(),
            "the file has format 99 and this version of Portcullis writes 4: upgrade, and restart \
             this process"
        ),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_large_batch_is_one_commit() {
    const RECORDS: u64 = 100_000;

    let place = Place::new();
    let store = place.open();
    let before = store.position().await.unwrap();
    let mut changes = store.watch(before).await.unwrap();
    let batch: Batch = (1..=RECORDS).map(|id| create(authorization(id, &id.to_string()))).collect();
    let small = commit(&store, [create(user(1, "ada"))]);
    let (large, small) = tokio::join!(store.commit(batch), small);
    small.unwrap();
    large.unwrap();
    let position = store.position().await.unwrap();
    assert_eq!(position.sequence(), u128::from(RECORDS) + 1);

    let count = |sql: &str| -> u64 {
        let raw = place.raw();
        let count: i64 = raw.query_row(sql, [], |row| row.get(0)).unwrap();
        count.try_into().unwrap()
    };
    assert_eq!(count("SELECT count(*) FROM authorizations"), RECORDS);
    assert_eq!(count("SELECT count(*) FROM grants"), RECORDS);
    let kept = count("SELECT count(*) FROM changes");
    assert!(kept >= Feed::CAPACITY as u64, "{kept}");
    assert!(kept < 2 * Feed::CAPACITY as u64, "{kept}");

    // More than the feed holds: a watcher has to read everything again.
    while let Some(change) = next_change(&mut changes).await {
        if change == (Change::Resync { position }) {
            break;
        }
        assert!(matches!(change, Change::Changed { .. }), "{change:?}");
    }
    commit(&store, [create(user(2, "bob"))]).await.unwrap();
    assert_eq!(next_id(&mut changes).await, 2);

    let fails: Batch = (RECORDS + 1..=2 * RECORDS)
        .map(|id| create(authorization(id, &id.to_string())))
        .chain([create(authorization(7, "again"))])
        .collect();
    let fails = store.commit(fails).await;
    assert!(matches!(fails, Err(StoreError::AlreadyExists { .. })), "{fails:?}");
    assert_eq!(count("SELECT count(*) FROM authorizations"), RECORDS);
}

#[tokio::test]
async fn an_empty_batch_changes_nothing() {
    let place = Place::new();
    let store = place.open();
    let position = commit(&store, [create(user(1, "ada"))]).await.unwrap();
    assert_eq!(commit(&store, []).await.unwrap(), position);
    assert_eq!(store.position().await.unwrap(), position);
}
