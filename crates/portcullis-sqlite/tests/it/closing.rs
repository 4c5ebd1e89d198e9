//! Closing, dropping, and what stays on the disk.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use portcullis::password::HashParams;
use portcullis::store::{
    Expect, Index, Kind, Lookup, Operation, PageRequest, Record, Store, StoreError,
};
use portcullis::{
    Engine, Id, Name, NewAuthorization, Permission, Resource, ResourceType, Username,
};

use crate::common::{HASH, Place, SOON, authorization, commit, create, delete, user};

fn assert_closed<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    match result {
        Err(StoreError::Unavailable { source }) => assert_eq!(source.to_string(), "it was closed"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_closed_store_refuses_everything_and_closes_again() {
    let place = Place::new();
    let store = place.open();
    let position = commit(&store, [create(user(1, "ada"))]).await.unwrap();
    let mut changes = store.watch(position).await.unwrap();
    let (first, second) = tokio::join!(store.close(), store.close());
    first.unwrap();
    second.unwrap();
    store.close().await.unwrap();

    let lookup = Lookup::Id(Kind::User, Id::from_u64(1));
    let page = PageRequest { after: None, limit: 1.try_into().unwrap() };
    assert_closed(store.get(lookup).await);
    assert_closed(store.list(Index::All(Kind::User), page).await);
    assert_closed(commit(&store, []).await);
    assert_closed(store.position().await);
    assert_closed(store.watch(position).await.map(drop));
    let rest = async { while changes.next().await.is_some() {} };
    tokio::time::timeout(SOON, rest).await.unwrap();
}

#[tokio::test]
async fn closing_finishes_what_was_begun_and_leaves_one_file() {
    let place = Place::new();
    let store = Arc::new(place.open());
    let commits: Vec<_> = (1..=50)
        .map(|id| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { commit(&store, [create(user(id, &id.to_string()))]).await })
        })
        .collect();
    tokio::task::yield_now().await;
    store.close().await.unwrap();
    let mut made = 0;
    for commit in commits {
        match commit.await.unwrap() {
            Ok(_) => made += 1,
            refused => assert_closed(refused),
        }
    }
    assert!(!place.beside("-wal").exists());
    assert!(!place.beside("-shm").exists());
    let count: i64 =
        place.raw().query_row("SELECT count(*) FROM users", [], |row| row.get(0)).unwrap();
    assert_eq!(count, made);
}

#[tokio::test]
async fn dropping_finishes_what_was_begun_and_ends_the_thread() {
    let place = Place::new();
    let store = place.open();
    let position = store.position().await.unwrap();
    let mut changes = store.watch(position).await.unwrap();
    let mut queued = Box::pin(commit(&store, [create(user(1, "ada"))]));
    assert!(futures_util::poll!(&mut queued).is_pending());
    drop(queued);
    drop(store);
    // The stream ends when the thread does.
    let rest = async { while changes.next().await.is_some() {} };
    tokio::time::timeout(SOON, rest).await.unwrap();
    let lookup = Lookup::Id(Kind::User, Id::from_u64(1));
    assert!(place.open().get(lookup).await.unwrap().is_some());
}

/// The text of all files of the store. It must be closed: reading a file and closing it gives up
/// the locks of this process on it.
fn on_disk(place: &Place) -> String {
    ["", "-wal", "-shm"]
        .iter()
        .filter_map(|suffix| fs::read(place.beside(suffix)).ok())
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .collect()
}

#[tokio::test]
async fn what_is_deleted_or_replaced_is_not_on_the_disk_any_more() {
    const RECORDS: u64 = 600;
    // Far apart from its neighbours, so that pages are split and joined in all ways.
    let mixed = |n: u64| n * 37 % RECORDS;
    let record = |n: u64, password: &str| {
        let record = authorization(n + 1, &format!("name-{n:03}"));
        let body = record.body.replace(HASH, &format!("{HASH}{password}-{n:03}"));
        Record { body: body.into(), ..record }
    };
    let place = Place::new();
    let store = place.open();
    let creations = (0..RECORDS).map(|n| create(record(mixed(n), "old")));
    commit(&store, creations).await.unwrap();
    store.close().await.unwrap();
    assert_eq!(on_disk(&place).matches("old-").count(), RECORDS as usize);

    let store = place.open();
    let changes = (0..RECORDS).map(mixed).filter_map(|n| {
        let old = record(n, "old");
        match n % 3 {
            0 => Some(delete(&old)),
            1 => Some(Operation::Put {
                expect: Expect::Revision(old.revision),
                record: record(n, "new"),
                grants: Vec::new(),
            }),
            _ => None,
        }
    });
    let changes: Vec<_> = changes.collect();
    for some in changes.chunks(25) {
        commit(&store, some.iter().cloned()).await.unwrap();
    }
    store.close().await.unwrap();
    let left = on_disk(&place);
    let numbers = |prefix: &str| -> BTreeSet<u64> {
        let found = left.split(prefix).skip(1);
        let numbers = found.map(|rest| rest.get(..3).unwrap().parse());
        numbers.map(Result::unwrap).collect()
    };
    let those = |wanted: fn(u64) -> bool| (0..RECORDS).filter(|n| wanted(*n)).collect();
    assert_eq!(numbers("name-"), those(|n| n % 3 != 0));
    assert_eq!(numbers("old-"), those(|n| n % 3 == 2));
    assert_eq!(numbers("new-"), those(|n| n % 3 == 1));
}

#[tokio::test]
async fn the_log_is_emptied_when_nothing_happens() {
    let place = Place::new();
    let store = place.open();
    commit(&store, [create(user(1, "ada"))]).await.unwrap();
    let log = || fs::metadata(place.beside("-wal")).unwrap().len();
    assert!(log() > 0);
    let emptied = async {
        let mut poll = tokio::time::interval(Duration::from_millis(20));
        while log() > 0 {
            poll.tick().await;
        }
    };
    tokio::time::timeout(SOON, emptied).await.unwrap();
    commit(&store, [create(user(2, "bob"))]).await.unwrap();
}

#[tokio::test]
async fn after_a_delete_and_a_checkpoint_the_file_no_longer_holds_the_hash() {
    let place = Place::new();
    let engine = async || {
        let params = HashParams::new(8, 1, 1).unwrap();
        Engine::builder(place.open()).hash_params(params).build().await.unwrap()
    };
    let name = |text| Name::new(text).unwrap();
    let first = engine().await;
    let org = first.create_org(name("acme")).await.unwrap();
    let user = first.create_user(name("ada")).await.unwrap();
    let read = Permission::read(Resource::all(ResourceType::Users));
    let new = NewAuthorization::new(Username::new("telegraf").unwrap(), org.id, [read]);
    let id = first.create_authorization(new.for_user(user.id)).await.unwrap().id;
    let hash_of = async |engine: &Engine| {
        let stored = engine.authorization(id).await.unwrap().unwrap();
        stored.password_hash.unwrap().expose().to_owned()
    };
    first.set_password(id, "the-first-password").await.unwrap();
    let old = hash_of(&first).await;
    first.store().close().await.unwrap();
    assert!(on_disk(&place).contains(&old), "it would not be found");

    let second = engine().await;
    second.set_password(id, "another-password").await.unwrap();
    let new = hash_of(&second).await;
    second.delete_authorization(id).await.unwrap();
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    place.raw().query_row(checkpoint, [], |_| Ok(())).unwrap();
    second.store().close().await.unwrap();
    let left = on_disk(&place);
    assert!(left.contains("acme"));
    for hash in [old, new] {
        assert!(!left.contains(&hash));
        let output = hash.rsplit('$').next().unwrap();
        assert!(!left.contains(output), "a part of it");
    }
    assert!(!left.contains("telegraf"));
}
