//! Hearing of what others change.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use portcullis::store::{Change, Operation, Store};
use portcullis_testkit::postgres::server;

use crate::common::{
    commit, create, meanwhile, next, next_change, next_id, open, options, run, until, user, watch,
    with_database,
};

#[test]
fn sixteen_writers_beside_a_long_transaction_are_heard_to_the_last_change() {
    const RUNS: u64 = 10;
    const WRITERS: u64 = 16;
    const EACH: u64 = 25;
    with_database(async |database| {
        let server = server().unwrap();
        let writing: Arc<dyn Store> =
            Arc::new(options().pool_size(16).open(database.url()).await.unwrap());
        let watching = open(database).await;
        let mut changes = watch(&watching).await;
        let mut slowest = Duration::ZERO;
        for round in 0..RUNS {
            // It has an early number and commits late, with a change of its own.
            let late = user((round + 1) << 32, &format!("late {round}"));
            let sql = format!(
                "BEGIN; INSERT INTO portcullis.users (id, revision, unique_key, status, body)
                 VALUES ('{}', decode('{:032x}', 'hex'), '{}', 'active', '{}');
                 SELECT pg_sleep(1.5); COMMIT",
                late.id,
                late.revision.as_u128(),
                late.unique_key.as_str(),
                &*late.body
            );
            let mut long = meanwhile(server, database.url(), &sql);
            until("the long transaction has begun", || {
                database.run("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
                    != "0"
            })
            .await;
            let mut expected = BTreeSet::new();
            let writers = (0..WRITERS).map(|writer| {
                let first = (round * WRITERS + writer) * EACH + 1;
                expected.extend(first..first + EACH);
                let store = Arc::clone(&writing);
                tokio::spawn(async move {
                    for id in first..first + EACH {
                        let new = user(id, &format!("user {id}"));
                        commit(&*store, [create(&new)]).await.unwrap();
                    }
                })
            });
            let writers: Vec<_> = writers.collect();
            for writer in join_all(writers).await {
                writer.unwrap();
            }
            // Everything is told, once, while the long one still runs; it delays nothing.
            let done = Instant::now();
            let mut told = BTreeSet::new();
            loop {
                match next(&mut changes).await {
                    Change::Changed { id, .. } => {
                        assert!(told.insert(id.as_u64()), "{id} was told twice");
                    }
                    Change::Fresh { as_of } if as_of >= done => break,
                    Change::Fresh { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
            slowest = slowest.max(done.elapsed());
            told.remove(&late.id.as_u64());
            assert_eq!(told, expected, "run {round}");
            assert!(long.wait().unwrap().success());
            if expected.len() == told.len() {
                // Unless it was told above, it is the next.
                let heard = async {
                    loop {
                        match next(&mut changes).await {
                            Change::Changed { id, .. } => return id == late.id,
                            Change::Fresh { as_of } if as_of > done + Duration::from_secs(10) => {
                                return false;
                            }
                            _ => {}
                        }
                    }
                };
                // One that ended before the writers did was told among their changes.
                let _ = tokio::time::timeout(Duration::from_millis(600), heard).await;
            }
        }
        eprintln!("fresh again after {slowest:?} at most");
        let late =
            database.run("SELECT count(*) FROM portcullis.users WHERE unique_key LIKE 'late%'");
        assert_eq!(late, RUNS.to_string());
    });
}

#[test]
fn a_long_transaction_is_heard_when_it_ends_and_delays_nobody() {
    with_database(async |database| {
        let server = server().unwrap();
        let (writing, watching) = (open(database).await, open(database).await);
        commit(&writing, [create(&user(1, "ada"))]).await.unwrap();
        let mut changes = watch(&watching).await;
        while !matches!(next(&mut changes).await, Change::Changed { .. }) {}
        let change =
            "BEGIN; UPDATE portcullis.users SET status = 'inactive'; SELECT pg_sleep(2); COMMIT";
        let mut long = meanwhile(server, database.url(), change);
        until("the long transaction has begun", || {
            database.run("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
                != "0"
        })
        .await;
        commit(&writing, [create(&user(2, "bob"))]).await.unwrap();
        let committed = Instant::now();
        assert_eq!(next_id(&mut changes).await, 2);
        while !matches!(next(&mut changes).await, Change::Fresh { as_of } if as_of >= committed) {}
        assert!(committed.elapsed() < Duration::from_secs(1), "{:?}", committed.elapsed());
        assert_eq!(next_id(&mut changes).await, 1, "the change of the long one");
        assert!(long.wait().unwrap().success());
    });
}

#[test]
fn what_is_changed_by_hand_is_heard() {
    with_database(async |database| {
        let store = open(database).await;
        let grants = vec![portcullis::GrantKey::of("read:buckets".parse().unwrap())];
        let put = |record| Operation::Put {
            record,
            grants: grants.clone(),
            expect: portcullis::store::Expect::Absent,
        };
        commit(&store, [put(user(1, "ada")), put(user(2, "bob"))]).await.unwrap();
        let mut changes = watch(&store).await;
        database.run("UPDATE portcullis.users SET status = 'inactive' WHERE unique_key = 'bob'");
        assert_eq!(next_id(&mut changes).await, 2);
        database.run("DELETE FROM portcullis.users WHERE unique_key = 'ada'");
        assert_eq!(next_id(&mut changes).await, 1);
        assert_eq!(database.run("SELECT id FROM portcullis.grants"), "0000000000000002");
        database.run("TRUNCATE portcullis.users");
        assert!(matches!(next_change(&mut changes).await, Change::Resync { .. }));
        assert_eq!(database.run("SELECT count(*) FROM portcullis.grants"), "0");
    });
}

#[test]
fn whoever_looks_after_changes_were_deleted_is_told_to_resync() {
    with_database(async |database| {
        let keep = Duration::from_secs(1);
        let writing = options().changes_retention(keep).open(database.url()).await.unwrap();
        let every = Duration::from_secs(5);
        let watching = options().poll_interval(every).open(database.url()).await.unwrap();
        let mut changes = watch(&watching).await;
        commit(&writing, [create(&user(1, "ada"))]).await.unwrap();
        until("old changes are deleted", || {
            database.run("SELECT count(*) FROM portcullis.changes") == "0"
        })
        .await;
        assert!(matches!(next_change(&mut changes).await, Change::Resync { .. }));
        // And it goes on.
        commit(&watching, [create(&user(2, "bob"))]).await.unwrap();
        assert_eq!(next_id(&mut changes).await, 2);
    });
}

#[test]
fn another_store_at_the_same_place_is_noticed() {
    with_database(async |database| {
        let store = open(database).await;
        commit(&store, [create(&user(1, "ada"))]).await.unwrap();
        let mut changes = watch(&store).await;
        database.run("UPDATE portcullis.meta SET value = 'another' WHERE name = 'incarnation'");
        assert!(matches!(next_change(&mut changes).await, Change::Resync { .. }));
        // A dump that is restored has the same incarnation, in other tables.
        database.run(
            "CREATE SCHEMA kept; ALTER TABLE portcullis.changes SET SCHEMA kept;
             CREATE TABLE portcullis.changes (LIKE kept.changes INCLUDING ALL)",
        );
        assert!(matches!(next_change(&mut changes).await, Change::Resync { .. }));
        commit(&store, [create(&user(2, "bob"))]).await.unwrap();
        assert_eq!(next_id(&mut changes).await, 2);
    });
}

#[test]
fn a_store_that_is_dropped_ends_its_streams() {
    if server().is_none() {
        return;
    }
    let database = server().unwrap().database();
    run(async {
        use futures_util::StreamExt as _;

        let store = open(&database).await;
        let mut changes = watch(&store).await;
        drop(store);
        let ended = async { while changes.next().await.is_some() {} };
        tokio::time::timeout(crate::common::SOON, ended).await.unwrap();
    });
}
