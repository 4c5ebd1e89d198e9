//! The feed of the changes of other nodes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use portcullis::store::{Change, Operation, Store};
use portcullis_testkit::postgres::server;

use crate::common::{
    commit, create, next, next_change, next_id, open, options, run, spawn_psql, until, user, watch,
    with_database,
};

#[test]
fn every_change_of_sixteen_writers_beside_a_long_transaction_is_reported_once() {
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
            // It has an early sequence number and commits late.
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
            let mut long = spawn_psql(server, database.url(), &sql);
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
            // Every change is reported once while the long transaction is in progress.
            let done = Instant::now();
            let mut reported = BTreeSet::new();
            loop {
                match next(&mut changes).await {
                    Change::Changed { id, .. } => {
                        assert!(reported.insert(id.as_u64()), "{id} was reported twice");
                    }
                    Change::Fresh { as_of } if as_of >= done => break,
                    Change::Fresh { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
            slowest = slowest.max(done.elapsed());
            reported.remove(&late.id.as_u64());
            assert_eq!(reported, expected, "run {round}");
            assert!(long.wait().unwrap().success());
            if expected.len() == reported.len() {
                // The late change is the next one, unless it was reported above.
                let next_is_late = async {
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
                // A transaction that ended before the writers was reported among their changes.
                let _ = tokio::time::timeout(Duration::from_millis(600), next_is_late).await;
            }
        }
        eprintln!("fresh again after {slowest:?} at most");
        let late =
            database.run("SELECT count(*) FROM portcullis.users WHERE unique_key LIKE 'late%'");
        assert_eq!(late, RUNS.to_string());
    });
}

#[test]
fn a_long_transaction_is_reported_at_its_commit_and_delays_no_other_change() {
    with_database(async |database| {
        let server = server().unwrap();
        let (writing, watching) = (open(database).await, open(database).await);
        commit(&writing, [create(&user(1, "ada"))]).await.unwrap();
        let mut changes = watch(&watching).await;
        while !matches!(next(&mut changes).await, Change::Changed { .. }) {}
        // The long transaction waits for a lock that the test releases.
        let lock = "SELECT pg_advisory_lock(1); SELECT pg_sleep(600)";
        let mut holder = spawn_psql(server, database.url(), lock);
        let sleeping = "datname = current_database() AND wait_event = 'PgSleep'";
        until("the lock is held", || {
            database.run(&format!("SELECT count(*) FROM pg_stat_activity WHERE {sleeping}")) == "1"
        })
        .await;
        let change = "BEGIN; UPDATE portcullis.users SET status = 'inactive';
             SELECT pg_advisory_lock(1); COMMIT";
        let mut long = spawn_psql(server, database.url(), change);
        until("the long transaction waits", || {
            database.run(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                 AND wait_event_type = 'Lock' AND wait_event = 'advisory'",
            ) == "1"
        })
        .await;
        commit(&writing, [create(&user(2, "bob"))]).await.unwrap();
        let committed = Instant::now();
        assert_eq!(next_id(&mut changes).await, 2);
        while !matches!(next(&mut changes).await, Change::Fresh { as_of } if as_of >= committed) {}
        assert_eq!(long.try_wait().unwrap(), None, "the long transaction is still in progress");
        database.run(&format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {sleeping}"
        ));
        holder.wait().unwrap();
        assert_eq!(next_id(&mut changes).await, 1, "the change of the long transaction");
        assert!(long.wait().unwrap().success());
    });
}

#[test]
fn changes_by_hand_are_reported() {
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
fn a_poll_after_changes_were_trimmed_reports_a_resync() {
    with_database(async |database| {
        let retention = Duration::from_secs(1);
        let writing = options().changes_retention(retention).open(database.url()).await.unwrap();
        let interval = Duration::from_secs(5);
        let watching = options().poll_interval(interval).open(database.url()).await.unwrap();
        let mut changes = watch(&watching).await;
        commit(&writing, [create(&user(1, "ada"))]).await.unwrap();
        until("old changes are deleted", || {
            database.run("SELECT count(*) FROM portcullis.changes") == "0"
        })
        .await;
        assert!(matches!(next_change(&mut changes).await, Change::Resync { .. }));
        // Later changes are reported again.
        commit(&watching, [create(&user(2, "bob"))]).await.unwrap();
        assert_eq!(next_id(&mut changes).await, 2);
    });
}

#[test]
fn a_store_that_is_replaced_in_place_is_detected() {
    with_database(async |database| {
        let store = open(database).await;
        commit(&store, [create(&user(1, "ada"))]).await.unwrap();
        let mut changes = watch(&store).await;
        database.run("UPDATE portcullis.meta SET value = 'another' WHERE name = 'incarnation'");
        assert!(matches!(next_change(&mut changes).await, Change::Resync { .. }));
        // A dump that is restored has the same incarnation, in other tables.
        database.run(
            "CREATE SCHEMA old; ALTER TABLE portcullis.changes SET SCHEMA old;
             CREATE TABLE portcullis.changes (LIKE old.changes INCLUDING ALL)",
        );
        assert!(matches!(next_change(&mut changes).await, Change::Resync { .. }));
        commit(&store, [create(&user(2, "bob"))]).await.unwrap();
        assert_eq!(next_id(&mut changes).await, 2);
    });
}

#[test]
fn dropping_a_store_ends_its_streams() {
    if server().is_none() {
        return;
    }
    let database = server().unwrap().database();
    run(async {
        use futures_util::StreamExt as _;

        let store = open(&database).await;
        let mut changes = watch(&store).await;
        drop(store);
        let all = async { while changes.next().await.is_some() {} };
        tokio::time::timeout(crate::common::DEADLINE, all).await.unwrap();
    });
}
