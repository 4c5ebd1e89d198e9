//! What happens when the database, or the way to it, fails.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join;
use portcullis::store::{Kind, Lookup, Store, StoreError};
use portcullis_testkit::postgres::{Server, absent};

use crate::common::{
    commit, create, everything, next_id, open, options, replace, revised, run, until, user, watch,
    with_database,
};

/// Makes updates of users fail with the code until they were tried so often.
fn fail_until(code: &str, tries: u32) -> String {
    format!(
        "CREATE SEQUENCE public.tries;
         CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF nextval('public.tries') < {tries} THEN
                 RAISE EXCEPTION 'not now' USING ERRCODE = '{code}';
             END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER fail BEFORE UPDATE ON portcullis.users
             FOR EACH ROW EXECUTE FUNCTION public.fail()"
    )
}

#[test]
fn what_was_undone_for_others_is_done_again() {
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
fn what_is_undone_again_and_again_is_unavailable_and_not_done() {
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
fn of_two_that_wait_for_each_other_both_get_an_answer() {
    with_database(async |database| {
        let (one, two) = (open(database).await, open(database).await);
        let mut now = [user(1, "ada"), user(2, "bob")];
        commit(&one, now.iter().map(create)).await.unwrap();
        for _ in 0..8 {
            let new = now.each_ref().map(revised);
            let forward = [replace(&new[0], &now[0]), replace(&new[1], &now[1])];
            let backward = [replace(&new[1], &now[1]), replace(&new[0], &now[0])];
            let answers = join(commit(&one, forward), commit(&two, backward)).await;
            match answers {
                (Ok(_), Err(StoreError::Conflict { .. }))
                | (Err(StoreError::Conflict { .. }), Ok(_)) => {}
                other => panic!("{other:?}"),
            }
            now = new;
        }
    });
}

#[test]
fn connections_that_were_cut_are_replaced() {
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
        // And what others do is still heard.
        let other = open(database).await;
        commit(&other, [create(&user(9, "other"))]).await.unwrap();
        assert_eq!(next_id(&mut changes).await, 9);
    });
}

#[test]
fn after_a_connection_that_is_cut_during_a_commit_the_revision_tells() {
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
        let (answer, ()) = join(commit(&store, [create(&ada)]), cut).await;
        assert!(matches!(answer, Err(StoreError::Indeterminate { .. })), "{answer:?}");
        assert_eq!(store.get(Lookup::Id(Kind::User, ada.id)).await.unwrap(), None);
        // It did not happen, so it can be done, and is told once.
        database.run("DROP TRIGGER wait ON portcullis.users");
        commit(&store, [create(&ada)]).await.unwrap();
        assert_eq!(next_id(&mut changes).await, 1);
    });
}

#[test]
fn a_server_that_does_not_answer_is_not_waited_for_long() {
    with_database(async |database| {
        let limit = Duration::from_millis(300);
        let store = options().statement_timeout(limit).open(database.url()).await.unwrap();
        let (ada, bob) = (user(1, "ada"), user(2, "bob"));
        commit(&store, [create(&ada), create(&bob)]).await.unwrap();
        let server = portcullis_testkit::postgres::server().unwrap();
        let lock = "BEGIN; LOCK TABLE portcullis.users; SELECT pg_sleep(4); COMMIT";
        let mut locking = crate::common::meanwhile(server, database.url(), lock);
        until("the table is locked", || {
            database.run("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation = 'portcullis.users'::regclass") == "1"
        })
        .await;
        let begin = Instant::now();
        let error = commit(&store, [replace(&revised(&ada), &ada)]).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        let error = store.get(Lookup::Id(Kind::User, bob.id)).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
        locking.wait().unwrap();
        assert_eq!(store.get(Lookup::Id(Kind::User, ada.id)).await.unwrap(), Some(ada));
    });
}

#[test]
fn what_the_database_says_of_a_row_is_kept_to_itself() {
    with_database(async |database| {
        let store = open(database).await;
        database.run("ALTER TABLE portcullis.users ADD CHECK (body NOT LIKE '%s3cret%')");
        let mut ada = user(1, "ada");
        ada.body = r#"{"passwordHash":"s3cret"}"#.into();
        let error = commit(&store, [create(&ada)]).await.unwrap_err();
        assert!(matches!(error, StoreError::Backend { .. }), "{error:?}");
        assert!(!everything(&error).contains("s3cret"), "{}", everything(&error));
        commit(&store, [create(&user(1, "ada"))]).await.unwrap();
    });
}

#[test]
fn a_database_that_becomes_read_only_is_read_on_and_its_changes_are_unavailable() {
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
            assert!(everything(&error).contains("read-only"), "{}", everything(&error));
        }
        // A process that starts meanwhile lets in as well.
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
fn a_server_that_becomes_read_only_is_known_by_the_connections_that_there_are() {
    if absent().is_some() {
        return;
    }
    let server: &'static Server = Box::leak(Box::new(Server::start(&[]).unwrap()));
    let database = server.database();
    run(async {
        // So seldom that it becomes writable and read-only again between two looks.
        let seldom = options().poll_interval(Duration::from_millis(500));
        let store = seldom.open(database.url()).await.unwrap();
        // As an engine does: what is watched is looked at all the time.
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
            let wanted = value == "off";
            let begin = Instant::now();
            loop {
                let new = revised(&now);
                match commit(&store, [replace(&new, &now)]).await {
                    Ok(_) => {
                        now = new;
                        if wanted {
                            break;
                        }
                    }
                    Err(error) => {
                        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
                        if !wanted {
                            break;
                        }
                    }
                }
                assert!(begin.elapsed() < Duration::from_secs(60), "{value} is not noticed");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let found = store.get(Lookup::Id(Kind::User, now.id)).await.unwrap();
            assert_eq!(found.as_ref(), Some(&now));
        }
    });
}
