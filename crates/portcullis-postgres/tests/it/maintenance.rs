//! Maintenance of a store.

use std::path::Path;
use std::sync::Arc;

use portcullis::store::{MaintenanceStore, Page, PageRequest, Store};
use portcullis::verify::verify;
use portcullis_testkit::dropping::maintenance_can_be_dropped_at_any_await;

use crate::common::{commit, create, open, user, with_database};

#[test]
fn a_damaged_index_is_found_and_rebuilt() {
    with_database(async |database| {
        let store = open(database).await;
        let grants = vec![portcullis::GrantKey::of("read:buckets".parse().unwrap())];
        let put = |record| portcullis::store::Operation::Put {
            record,
            grants: grants.clone(),
            expect: portcullis::store::Expect::Absent,
        };
        let records = (1..=30).map(|id| user(id, &format!("user {id}")));
        commit(&store, records.map(|record| create(&record))).await.unwrap();
        let report = verify(&store, |_| {}).await.unwrap();
        assert!(report.is_ok(), "{report:?}");
        // Users have no grants.
        commit(&store, [put(user(99, "odd"))]).await.unwrap();
        assert!(!verify(&store, |_| {}).await.unwrap().is_ok());
        store.rebuild_entries().await.unwrap();
        assert!(verify(&store, |_| {}).await.unwrap().is_ok());
        database.run(
            "DROP INDEX portcullis.users_by_org; DROP TRIGGER users_change ON portcullis.users",
        );
        let problems = store.check_files().await.unwrap();
        assert_eq!(problems.len(), 2, "{problems:?}");
        commit(&store, [create(&user(100, "last"))]).await.unwrap();
    });
}

#[test]
fn amcheck_compares_indexes_with_tables_if_it_is_installed() {
    with_database(async |database| {
        let store = open(database).await;
        database.run("CREATE EXTENSION amcheck");
        commit(&store, [create(&user(1, "ada"))]).await.unwrap();
        assert!(store.check_files().await.unwrap().is_empty());
    });
}

#[test]
fn maintenance_dropped_at_any_await_blocks_nothing() {
    with_database(async |database| {
        let store = Arc::new(open(database).await);
        let no_backups =
            async |_: &Path| -> Arc<dyn MaintenanceStore> { panic!("the store makes no backups") };
        maintenance_can_be_dropped_at_any_await(store, None, no_backups).await;
    });
}

#[test]
fn backups_are_left_to_the_database() {
    with_database(async |database| {
        let store = open(database).await;
        let error = store.back_up(Path::new("nowhere")).await.unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("pg_dump"), "{cause}");
    });
}

#[test]
fn a_page_is_bounded_in_bytes() {
    with_database(async |database| {
        let store = open(database).await;
        let large = |id: u64| {
            let mut record = user(id, &format!("user {id}"));
            record.body = format!(r#"{{"text":"{}"}}"#, "x".repeat(Page::BYTES / 3)).into();
            record
        };
        commit(&store, (1..=10).map(|id| create(&large(id)))).await.unwrap();
        let index = portcullis::store::Index::All(portcullis::store::Kind::User);
        let (mut after, mut ids, mut pages) = (None, Vec::new(), 0);
        loop {
            let limit = std::num::NonZeroUsize::MAX;
            let page = store.list(index, PageRequest { after, limit }).await.unwrap();
            assert!(page.records.len() <= 4, "{}", page.records.len());
            ids.extend(page.records.iter().map(|record| record.id.as_u64()));
            pages += 1;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(ids, (1..=10).collect::<Vec<_>>());
        assert!(pages >= 3, "{pages}");
    });
}

#[test]
fn the_views_show_readable_columns() {
    with_database(async |database| {
        let store = open(database).await;
        let mut record = user(1, "ada");
        record.kind = portcullis::store::Kind::Authorization;
        record.body = r#"{"description":"dash","permissions":["read:orgs"]}"#.into();
        let mut broken = record.clone();
        broken.id = portcullis::Id::from_u64(2);
        broken.unique_key = portcullis::store::UniqueKey::new("bob").unwrap();
        broken.body = "{".into();
        commit(&store, [create(&record), create(&broken)]).await.unwrap();
        let rows = database.run(
            "SELECT username, description, permissions, has_password
             FROM portcullis.authorization_details ORDER BY id",
        );
        assert_eq!(rows, "ada|dash|[\"read:orgs\"]|f\nbob|||f");
    });
}
