//! Failures of the database, and of connections to it.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join;
use portcullis::store::{Kind, Lookup, Store, StoreError};
use portcullis_testkit::postgres::{Server, absent};

use crate::common::{
    DEADLINE, commit, create, error_chain, next_id, open, options, replace, revised, run, until,
    user, watch, with_database,
};

/// Makes updates of users fail with the code until this attempt.
fn fail_until(code: &str, tries: u32) -> String {
    format!(
        "CREATE SEQUENCE public.tries;
         CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF nextval('public.tries') < {tries} THEN
                 RAISE EXCEPTION 'fails' USING ERRCODE = '{code}';
             END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER fail BEFORE UPDATE ON portcullis.users
             FOR EACH ROW EXECUTE FUNCTION public.fail()"
    )
}

#[test]
fn a_transaction_rolled_back_for_others_is_retried() {
    for code in ["40001", "40P01"] {
        with_database(async |database| {
            let store = open(database).await;
            let (old, other) = (user(1, "ada"), user(2, "bob"));
            commit(&store, [create(&old)]).await.unwrap();
            database.run(&fail_until(code, 4));
            let new = revised(&old);
            commit(&store, [create(&other), replace(&new, &old)]).await.unwrap();
            assert_eq!(store.get(Lookup::Id(Kind::User, new.id)).await.unwrap(), Some(new));
            assert_eq!(database.run("SELECT last_value FROM public.tries"), "4");
        });
    }
}

#[test]
fn a_transaction_that_is_always_rolled_back_is_unavailable_and_changes_nothing() {
    with_database(async |database| {
        let store = open(database).await;
        let old = user(1, "ada");
        commit(&store, [create(&old)]).await.unwrap();
        database.run(&fail_until("40001", 1_000));
        let error = commit(&store, [replace(&revised(&old), &old)]).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        assert_eq!(store.get(Lookup::Id(Kind::User, old.id)).await.unwrap(), Some(old));
    });
}

#[test]
fn a_deadlock_ends_with_one_commit_and_one_conflict() {
    with_database(async |database| {
        let (one, two) = (open(database).await, open(database).await);
        let mut now = [user(1, "ada"), user(2, "bob")];
        commit(&one, now.iter().map(create)).await.unwrap();
        for _ in 0..8 {
            let new = now.each_ref().map(revised);
            let forward = [replace(&new[0], &now[0]), replace(&new[1], &now[1])];
            let backward = [replace(&new[1], &now[1]), replace(&new[0], &now[0])];
            let results = join(commit(&one, forward), commit(&two, backward)).await;
            match results {
                (Ok(_), Err(StoreError::Conflict { .. }))
                | (Err(StoreError::Conflict { .. }), Ok(_)) => {}
                other => panic!("{other:?}"),
            }
            now = new;
        }
    });
}

#[test]
fn terminated_connections_are_replaced() {
    with_database(async |database| {
        let store = open(database).await;
        let mut changes = watch(&store).await;
        for id in 1..=5 {
            let name = format!("user {id}");
            commit(&store, [create(&user(id, &name))]).await.unwrap();
            database.run(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()",
            );
            let found = store.get(Lookup::UniqueKey(Kind::User, &name)).await.unwrap();
            assert!(found.is_some());
            assert_eq!(next_id(&mut changes).await, id);
        }
        // Changes of other nodes are still reported.
        let other = open(database).await;
        commit(&other, [create(&user(9, "other"))]).await.unwrap();
        assert_eq!(next_id(&mut changes).await, 9);
    });
}

#[test]
fn an_ambiguous_commit_is_resolved_by_its_revision() {
    with_database(async |database| {
        let store = open(database).await;
        let mut changes = watch(&store).await;
        database.run(
            "CREATE FUNCTION public.wait() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN PERFORM pg_sleep(30); RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON portcullis.users
                 DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.wait()",
        );
        let ada = user(1, "ada");
        let cut = until("the commit is cut", || {
            database.run(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                 WHERE datname = current_database() AND query LIKE '%COMMIT' AND wait_event = 'PgSleep'",
            ) == "1"
        });
        let (result, ()) = join(commit(&store, [create(&ada)]), cut).await;
        assert!(matches!(result, Err(StoreError::Indeterminate { .. })), "{result:?}");
        assert_eq!(store.get(Lookup::Id(Kind::User, ada.id)).await.unwrap(), None);
        // It did not happen, so it can be repeated, and is reported once.
        database.run("DROP TRIGGER wait ON portcullis.users");
        commit(&store, [create(&ada)]).await.unwrap();
        assert_eq!(next_id(&mut changes).await, 1);
    });
}

#[test]
fn calls_on_a_locked_table_end_with_the_statement_timeout() {
    with_database(async |database| {
        let limit = Duration::from_millis(300);
        let store = options().statement_timeout(limit).open(database.url()).await.unwrap();
        let (ada, bob) = (user(1, "ada"), user(2, "bob"));
        commit(&store, [create(&ada), create(&bob)]).await.unwrap();
        let server = portcullis_testkit::postgres::server().unwrap();
        // Longer than the test waits for anything: the calls below must end before the lock does.
        let lock = "BEGIN; LOCK TABLE portcullis.users; SELECT pg_sleep(600); COMMIT";
        let mut locking = crate::common::spawn_psql(server, database.url(), lock);
        until("the table is locked", || {
            database.run("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation = 'portcullis.users'::regclass") == "1"
        })
        .await;
        let error = commit(&store, [replace(&revised(&ada), &ada)]).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        let error = store.get(Lookup::Id(Kind::User, bob.id)).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        assert_eq!(locking.try_wait().unwrap(), None, "the table is still locked");
        database.run(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event = 'PgSleep'",
        );
        locking.wait().unwrap();
        assert_eq!(store.get(Lookup::Id(Kind::User, ada.id)).await.unwrap(), Some(ada));
    });
}

#[test]
fn no_error_quotes_a_row() {
    with_database(async |database| {
        let store = open(database).await;
        database.run("ALTER TABLE portcullis.users ADD CHECK (body NOT LIKE '%s3cret%')");
        let mut ada = user(1, "ada");
        ada.body = r#"{"passwordHash":"s3cret"}"#.into();
        let error = commit(&store, [create(&ada)]).await.unwrap_err();
        assert!(matches!(error, StoreError::Backend { .. }), "{error:?}");
        assert!(!error_chain(&error).contains("s3cret"), "{}", error_chain(&error));
        commit(&store, [create(&user(1, "ada"))]).await.unwrap();
    });
}

#[test]
fn a_read_only_database_serves_reads_and_its_commits_are_unavailable() {
    with_database(async |database| {
        let store = open(database).await;
        let (old, other) = (user(1, "ada"), user(2, "bob"));
        commit(&store, [create(&old)]).await.unwrap();
        let set = |value: &str| {
            database.run(&format!(
                "BEGIN READ WRITE; ALTER DATABASE {} SET default_transaction_read_only TO {value}; COMMIT",
                database.name()
            ));
        };
        let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()";
        set("on");
        database.run(cut);
        let reads = async |store: &dyn Store| {
            let found = store.get(Lookup::Id(Kind::User, old.id)).await.unwrap();
            assert_eq!(found.as_ref(), Some(&old));
        };
        for _ in 0..3 {
            reads(&store).await;
            let error = commit(&store, [create(&other)]).await.unwrap_err();
            assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
            assert!(error_chain(&error).contains("read-only"), "{}", error_chain(&error));
        }
        // A store that is opened meanwhile can be read as well.
        let later = options().create(false).open(database.url()).await.unwrap();
        reads(&later).await;
        let mut changes = watch(&later).await;

        set("off");
        commit(&store, [create(&other)]).await.unwrap();
        assert_eq!(next_id(&mut changes).await, 2);
        commit(&later, [replace(&revised(&old), &old)]).await.unwrap();
    });
}

#[test]
fn open_connections_detect_a_server_that_becomes_read_only() {
    if absent().is_some() {
        return;
    }
    let server: &'static Server = Box::leak(Box::new(Server::start(&[]).unwrap()));
    let database = server.database();
    run(async {
        // So seldom that it becomes writable and read-only again between two polls.
        let seldom = options().poll_interval(Duration::from_millis(500));
        let store = seldom.open(database.url()).await.unwrap();
        // As an engine does.
        let position = store.position().await.unwrap();
        let mut changes = store.watch(position).await.unwrap();
        let _watching = tokio::spawn(async move { while changes.next().await.is_some() {} });
        let old = user(1, "ada");
        commit(&store, [create(&old)]).await.unwrap();
        let set = |value: &str| {
            // Of another session: ALTER SYSTEM is no part of a transaction.
            server.run(
                &format!("{}&options=-cdefault_transaction_read_only%3Doff", database.url()),
                &format!("ALTER SYSTEM SET default_transaction_read_only TO {value}"),
            );
            database.run("SELECT pg_reload_conf()");
        };
        let mut now = old;
        for value in ["on", "off", "on", "off"] {
            set(value);
            let is_writable = value == "off";
            let begin = Instant::now();
            loop {
                let new = revised(&now);
                match commit(&store, [replace(&new, &now)]).await {
                    Ok(_) => {
                        now = new;
                        if is_writable {
                            break;
                        }
                    }
                    Err(error) => {
                        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
                        if !is_writable {
                            break;
                        }
                    }
                }
                assert!(begin.elapsed() < DEADLINE, "{value} is not detected");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let found = store.get(Lookup::Id(Kind::User, now.id)).await.unwrap();
            assert_eq!(found.as_ref(), Some(&now));
        }
    });
}
