//! Opening and creating stores, and the errors of that.

use std::collections::HashSet;

use futures_util::future::join_all;
use portcullis::store::{Expect, Kind, Lookup, Operation, Store, StoreError};
use portcullis::verify::verify;
use portcullis_postgres::OpenError;
use portcullis_testkit::{pinned_dbrp, pinned_uses};

use crate::common::{
    commit, create, error_chain, open, options, replace, revised, until, user, with_database,
};

#[test]
fn concurrent_opens_create_one_store() {
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
        assert_eq!(
            incarnations.len(),
            stores.len(),
            "a position is valid for one store value only"
        );
    });
}

#[test]
fn no_store_is_created_if_create_is_off() {
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
fn a_foreign_schema_and_a_newer_format_are_refused() {
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
        assert!(matches!(error, OpenError::Options { .. }), "{error:?}");
    });
}

#[test]
fn a_store_of_the_first_format_is_migrated() {
    with_database(async |database| {
        let store = open(database).await;
        commit(&store, [create(&user(1, "ada"))]).await.unwrap();
        store.close().await.unwrap();
        database.run(
            "DROP TABLE portcullis.dbrps, portcullis.api_token_uses, portcullis.authorization_uses
                 CASCADE;
             UPDATE portcullis.meta SET value = '1' WHERE name = 'format'",
        );
        let error = options().create(false).open(database.url()).await.unwrap_err();
        assert!(matches!(error, OpenError::Older { found: 1, supported: 3, .. }), "{error:?}");
        let store = open(database).await;
        assert!(!store.was_created());
        assert!(store.get(Lookup::UniqueKey(Kind::User, "ada")).await.unwrap().is_some());
        let (record, grants) = pinned_dbrp();
        let put = Operation::Put { record: record.clone(), grants, expect: Expect::Absent };
        commit(&store, [put]).await.unwrap();
        let found = store.get(Lookup::Id(Kind::Dbrp, record.id)).await.unwrap();
        assert_eq!(found, Some(record));
        assert!(verify(&store, |_| {}).await.unwrap().is_ok());
    });
}

#[test]
fn a_store_of_the_second_format_is_migrated() {
    with_database(async |database| {
        let store = open(database).await;
        let (record, grants) = pinned_dbrp();
        let put = Operation::Put { record: record.clone(), grants, expect: Expect::Absent };
        commit(&store, [put]).await.unwrap();
        store.close().await.unwrap();
        database.run(
            "DROP TABLE portcullis.api_token_uses, portcullis.authorization_uses CASCADE;
             UPDATE portcullis.meta SET value = '2' WHERE name = 'format'",
        );
        let store = open(database).await;
        let found = store.get(Lookup::Id(Kind::Dbrp, record.id)).await.unwrap();
        assert_eq!(found, Some(record));
        for (record, grants) in pinned_uses() {
            let put = Operation::Put { record: record.clone(), grants, expect: Expect::Absent };
            commit(&store, [put]).await.unwrap();
            let found = store.get(Lookup::Id(record.kind, record.id)).await.unwrap();
            assert_eq!(found, Some(record));
        }
        assert!(verify(&store, |_| {}).await.unwrap().is_ok());
    });
}

#[test]
fn the_first_writable_host_is_used() {
    with_database(async |database| {
        let (_, base) = database.url().split_once('@').unwrap();
        let url = format!("postgres://postgres@127.0.0.1:1,{base}");
        let store = options().open(&url).await.unwrap();
        commit(&store, [create(&user(1, "ada"))]).await.unwrap();
        store.close().await.unwrap();
        let name = database.name();
        database.run(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
        // Without a writable host, a read-only one is used.
        let store = options().open(&url).await.unwrap();
        let error = commit(&store, [create(&user(2, "bob"))]).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        store.close().await.unwrap();
        let url = "postgres://postgres@127.0.0.1:1,127.0.0.1:2/x?sslmode=disable";
        let error = options().open(url).await.unwrap_err();
        assert!(matches!(error, OpenError::Connect { .. }), "{error:?}");
        let text = error_chain(&error);
        assert!(text.contains("127.0.0.1:1") && text.contains("127.0.0.1:2"), "{text}");
    });
}

#[test]
fn no_error_or_debug_output_holds_the_password() {
    with_database(async |database| {
        let (_, base) = database.url().split_once('@').unwrap();
        let url = format!("postgres://postgres:s3cret@{base}");
        let store = options().password("s3cret").open(&url).await.unwrap();
        assert!(!format!("{store:?} {}", store.display_url()).contains("s3cret"));
        store.close().await.unwrap();
        let error = store.get(Lookup::UniqueKey(Kind::User, "s3cret")).await.unwrap_err();
        assert!(!error_chain(&error).contains("s3cret"));
        for url in [
            format!("postgres://missing:s3cret@{base}"),
            "postgres://ada:s3cret@127.0.0.1:1/x?sslmode=disable".to_owned(),
            "postgres://ada:s3cret@127.0.0.1:x/x".to_owned(),
            format!("postgres://postgres:s3cret@{}", base.replace("disable", "s3cret")),
        ] {
            let error = options().open(&url).await.unwrap_err();
            let text = error_chain(&error);
            assert!(!text.contains("s3cret"), "{text}");
        }
    });
}

#[test]
fn a_store_can_be_renamed_and_removed() {
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
fn a_user_without_the_right_to_alter_tables_can_serve() {
    with_database(async |database| {
        open(database).await.close().await.unwrap();
        let role = database.name().replace("test", "role");
        database.run(&format!(
            "CREATE ROLE {role} LOGIN;
             GRANT USAGE ON SCHEMA portcullis TO {role};
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA portcullis TO {role}"
        ));
        let url = database.url().replace("postgres@", &format!("{role}@"));
        let retention = std::time::Duration::from_secs(1);
        let store = options().create(false).changes_retention(retention).open(&url).await.unwrap();
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
