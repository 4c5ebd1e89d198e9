//! Opening, creating, and what can be wrong.

use std::collections::HashSet;

use futures_util::future::join_all;
use portcullis::store::{Kind, Lookup, Store, StoreError};
use portcullis_postgres::OpenError;

use crate::common::{
    commit, create, everything, open, options, replace, revised, until, user, with_database,
};

#[test]
fn of_many_that_create_a_store_at_once_one_does() {
    with_database(async |database| {
        let all = (0..8).map(|_| options().open(database.url()));
        let stores: Vec<_> = join_all(all).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(stores.iter().filter(|store| store.was_created()).count(), 1);
        for (id, store) in (1..).zip(&stores) {
            commit(store, [create(&user(id, &format!("user {id}")))]).await.unwrap();
        }
        let positions = join_all(stores.iter().map(|store| store.position())).await;
        let incarnations: HashSet<_> =
            positions.into_iter().map(|position| position.unwrap().incarnation()).collect();
        assert_eq!(incarnations.len(), stores.len(), "positions of one are nothing to another");
    });
}

#[test]
fn no_store_is_created_unless_it_is_wanted() {
    with_database(async |database| {
        let error = options().create(false).open(database.url()).await.unwrap_err();
        assert!(matches!(error, OpenError::Missing { .. }), "{error:?}");
        assert_eq!(
            database.run("SELECT count(*) FROM pg_namespace WHERE nspname = 'portcullis'"),
            "0"
        );
        let store = open(database).await;
        assert!(store.was_created());
        store.close().await.unwrap();
        let store = options().create(false).open(database.url()).await.unwrap();
        assert!(!store.was_created());
    });
}

#[test]
fn what_is_no_store_of_this_version_is_refused() {
    with_database(async |database| {
        database.run("CREATE SCHEMA portcullis");
        let error = options().open(database.url()).await.unwrap_err();
        assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
        database.run("DROP SCHEMA portcullis");
        open(database).await.close().await.unwrap();
        database.run("UPDATE portcullis.meta SET value = '99' WHERE name = 'format'");
        let error = options().open(database.url()).await.unwrap_err();
        assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error:?}");
        let error = options().schema("No\"Schema").open(database.url()).await.unwrap_err();
        assert!(matches!(error, OpenError::Address { .. }), "{error:?}");
    });
}

#[test]
fn the_first_host_that_can_be_written_to_is_taken() {
    with_database(async |database| {
        let (_, place) = database.url().split_once('@').unwrap();
        let url = format!("postgres://postgres@127.0.0.1:1,{place}");
        let store = options().open(&url).await.unwrap();
        commit(&store, [create(&user(1, "ada"))]).await.unwrap();
        store.close().await.unwrap();
        let name = database.name();
        database.run(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
        // With no other one that can be, it is read.
        let store = options().open(&url).await.unwrap();
        let error = commit(&store, [create(&user(2, "bob"))]).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        store.close().await.unwrap();
        let url = "postgres://postgres@127.0.0.1:1,127.0.0.1:2/x?sslmode=disable";
        let error = options().open(url).await.unwrap_err();
        assert!(matches!(error, OpenError::Connect { .. }), "{error:?}");
        let said = everything(&error);
        assert!(said.contains("127.0.0.1:1") && said.contains("127.0.0.1:2"), "{said}");
    });
}

#[test]
fn nothing_shows_the_password() {
    with_database(async |database| {
        let (_, place) = database.url().split_once('@').unwrap();
        let url = format!("postgres://postgres:s3cret@{place}");
        let store = options().password("s3cret").open(&url).await.unwrap();
        assert!(!format!("{store:?} {}", store.place()).contains("s3cret"));
        store.close().await.unwrap();
        let error = store.get(Lookup::UniqueKey(Kind::User, "s3cret")).await.unwrap_err();
        assert!(!everything(&error).contains("s3cret"));
        for url in [
            format!("postgres://nobody:s3cret@{place}"),
            "postgres://ada:s3cret@127.0.0.1:1/x?sslmode=disable".to_owned(),
            "postgres://ada:s3cret@127.0.0.1:x/x".to_owned(),
            format!("postgres://postgres:s3cret@{}", place.replace("disable", "s3cret")),
        ] {
            let error = options().open(&url).await.unwrap_err();
            let said = everything(&error);
            assert!(!said.contains("s3cret"), "{said}");
        }
    });
}

#[test]
fn a_store_is_given_another_schema_and_deleted() {
    with_database(async |database| {
        let unfinished = || options().schema("unfinished");
        let store = unfinished().open(database.url()).await.unwrap();
        commit(&store, [create(&user(1, "ada"))]).await.unwrap();
        store.close().await.unwrap();
        unfinished().rename(database.url(), "portcullis").await.unwrap();
        let store = open(database).await;
        assert!(store.get(Lookup::UniqueKey(Kind::User, "ada")).await.unwrap().is_some());
        store.close().await.unwrap();
        unfinished().open(database.url()).await.unwrap().close().await.unwrap();
        let error = unfinished().rename(database.url(), "portcullis").await.unwrap_err();
        assert!(matches!(error, OpenError::Database { .. }), "{error:?}");
        unfinished().remove(database.url()).await.unwrap();
        unfinished().remove(database.url()).await.unwrap();
        assert!(!open(database).await.was_created());
    });
}

#[test]
fn a_user_who_may_not_change_the_tables_can_serve() {
    with_database(async |database| {
        open(database).await.close().await.unwrap();
        let role = database.name().replace("test", "role");
        database.run(&format!(
            "CREATE ROLE {role} LOGIN;
             GRANT USAGE ON SCHEMA portcullis TO {role};
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA portcullis TO {role}"
        ));
        let url = database.url().replace("postgres@", &format!("{role}@"));
        let keep = std::time::Duration::from_secs(1);
        let store = options().create(false).changes_retention(keep).open(&url).await.unwrap();
        let ada = user(1, "ada");
        commit(&store, [create(&ada)]).await.unwrap();
        commit(&store, [replace(&revised(&ada), &ada)]).await.unwrap();
        until("old changes are deleted", || {
            database.run("SELECT count(*) FROM portcullis.changes") == "0"
        })
        .await;
        store.close().await.unwrap();
        database.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
    });
}
