//! Verifying, repairing, backing up.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis::store::{
    Entry, EntryKey, Expect, Kind, Lookup, MaintenanceStore, Operation, Record, Store as _,
    StoreError, UniqueKey,
};
use portcullis::verify::{Finding, Report, remove_orphaned_uses, verify};
use portcullis::{Id, OrgId, UserId};
use portcullis_sqlite::SqliteStore;

use crate::common::{Place, authorization, commit, create, grant, user};

async fn report(store: &SqliteStore) -> Report {
    verify(store, |_| {}).await.unwrap()
}

/// A store with a user and two authorizations whose org does not exist.
async fn settled() -> (Place, SqliteStore) {
    let place = Place::new();
    let store = place.open();
    let records = [user(2, "ada"), authorization(7, "telegraf"), authorization(8, "grafana")];
    commit(&store, records.map(create)).await.unwrap();
    let found = report(&store).await;
    assert!(found.is_ok(), "{:?}", found.findings);
    let to = Kind::Org;
    let missing = Id::from_u64(1);
    let dangling = [7, 8].map(|id| Finding::Dangling {
        kind: Kind::Authorization,
        id: Id::from_u64(id),
        to,
        missing,
    });
    assert_eq!(found.findings, dangling);
    assert_eq!((found.records[&Kind::Authorization], found.entries), (2, 9));
    (place, store)
}

fn damages(report: &Report) -> Vec<&Finding> {
    report.findings.iter().filter(|finding| finding.is_damage()).collect()
}

fn entry(id: u64, key: EntryKey) -> Entry {
    Entry { kind: Kind::Authorization, key, id: Id::from_u64(id) }
}

#[tokio::test]
async fn missing_and_stray_grants_are_named_and_made_anew() {
    let (place, store) = settled().await;
    let sql = "DELETE FROM grants WHERE id = '0000000000000007';
               INSERT INTO grants VALUES ('authorizations', 'write:users', '0000000000000008');
               INSERT INTO grants VALUES ('authorizations', 'write:users', '0000000000000009');
               INSERT INTO grants VALUES ('authorizations', 'nonsense', '0000000000000008');
               INSERT INTO grants VALUES ('nonsense', 'write:users', '0000000000000008');";
    place.raw().execute_batch(sql).unwrap();
    let found = report(&store).await;
    let other = portcullis::GrantKey::of("write:users".parse().unwrap());
    assert_eq!(
        damages(&found),
        [
            &Finding::UnreadableEntries { count: 2 },
            &Finding::MissingEntry { entry: entry(7, EntryKey::Grant(grant())) },
            &Finding::StrayEntry { entry: entry(8, EntryKey::Grant(other)) },
            &Finding::StrayEntry { entry: entry(9, EntryKey::Grant(other)) },
        ]
    );
    store.rebuild_entries().await.unwrap();
    let found = report(&store).await;
    assert!(found.is_ok(), "{:?}", found.findings);
    assert_eq!(found.entries, 9);
    // The writer goes on.
    commit(&store, [create(user(5, "grace"))]).await.unwrap();
}

#[tokio::test]
async fn missing_triggers_and_indexes_are_named_and_made_anew() {
    let (place, store) = settled().await;
    place
        .raw()
        .execute_batch("DROP TRIGGER users_update; DROP INDEX authorizations_by_org;")
        .unwrap();
    let found = report(&store).await;
    let complaints: Vec<String> = damages(&found).iter().map(ToString::to_string).collect();
    assert_eq!(complaints.len(), 2, "{complaints:?}");
    assert!(complaints.iter().any(|complaint| complaint.contains("`users_update`")));
    assert!(complaints.iter().any(|complaint| complaint.contains("`authorizations_by_org`")));
    store.rebuild_entries().await.unwrap();
    assert!(report(&store).await.is_ok());
}

/// An index that has lost an entry, as a bad disk or another program leaves it.
#[tokio::test]
async fn an_index_that_contradicts_its_table_is_named_and_made_anew() {
    let (place, store) = settled().await;
    store.close().await.unwrap();
    let raw = place.raw();
    let index = "name = 'authorizations_by_org'";
    raw.execute_batch(&format!(
        "PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(sql, 'org_id IS NOT NULL', 'org_id IS 9')
         WHERE {index};"
    ))
    .unwrap();
    drop(raw);
    let raw = place.raw();
    raw.execute_batch(&format!(
        "REINDEX authorizations_by_org;
         PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(sql, 'org_id IS 9', 'org_id IS NOT NULL')
         WHERE {index};"
    ))
    .unwrap();
    drop(raw);

    let store = place.open();
    let found = report(&store).await;
    let complaint = damages(&found)[0].to_string();
    assert!(complaint.contains("missing from index authorizations_by_org"), "{complaint}");
    let key = EntryKey::Org(OrgId::from_u64(1));
    assert!(damages(&found).contains(&&Finding::MissingEntry { entry: entry(7, key) }));
    store.rebuild_entries().await.unwrap();
    assert!(report(&store).await.is_ok());
}

#[tokio::test]
async fn records_that_cannot_be_read_are_named_and_kept() {
    let (place, store) = settled().await;
    let sql = "UPDATE authorizations SET body = '{}' WHERE id = '0000000000000007';
               UPDATE users SET unique_key = 'eve';
               UPDATE authorizations SET org_id = 'x' WHERE id = '0000000000000008';";
    place.raw().execute_batch(sql).unwrap();
    let check = async || {
        let found = report(&store).await;
        let damages: Vec<String> = damages(&found).iter().map(ToString::to_string).collect();
        assert!(damages.iter().any(|d| d.contains("authorization 0000000000000007: ")));
        assert!(damages.iter().any(|d| d.contains("body contradicts its unique key")));
        assert!(damages.contains(&"1 records of kind authorization cannot be read".to_owned()));
        assert!(!found.is_ok());
    };
    check().await;
    store.rebuild_entries().await.unwrap();
    check().await;
    // They are found by what stands beside their bodies.
    let eve = store.get(Lookup::UniqueKey(Kind::User, "eve")).await.unwrap();
    assert_eq!(eve.unwrap().id, Id::from_u64(2));
}

/// Pairs are written and deleted together: a backup never has half of one. Verifying meanwhile
/// finds nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_shows_one_moment() {
    let (place, store) = settled().await;
    let store = Arc::new(store);
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
        async move {
            let mut pair = 100;
            while !stop.load(Ordering::SeqCst) {
                let (left, right) = (2 * pair, 2 * pair + 1);
                let left = user(left, &format!("left-{pair}"));
                let right = user(right, &format!("right-{pair}"));
                commit(&store, [left.clone(), right.clone()].map(create)).await.unwrap();
                if pair % 2 == 0 {
                    let both = [&left, &right].map(crate::common::delete);
                    commit(&store, both).await.unwrap();
                }
                pair += 1;
            }
            pair
        }
    });
    let copies: Vec<_> = (0..3).map(|number| place.beside(&format!("-backup-{number}"))).collect();
    for copy in &copies {
        store.back_up(copy).await.unwrap();
        let found = report(&store).await;
        assert!(found.is_ok(), "{:?}", found.findings);
    }
    stop.store(true, Ordering::SeqCst);
    let end = writer.await.unwrap();

    for path in &copies {
        let copy = SqliteStore::options().create(false).open(path).unwrap();
        assert!(report(&copy).await.is_ok());
        for pair in 100..end {
            let ids = [2 * pair, 2 * pair + 1].map(UserId::from_u64);
            let mut there = Vec::new();
            for id in ids {
                let lookup = Lookup::Id(Kind::User, id.untyped());
                there.push(copy.get(lookup).await.unwrap().is_some());
            }
            assert_eq!(there[0], there[1], "pair {pair}");
        }
        // It is a store of its own.
        assert_ne!(
            copy.position().await.unwrap().incarnation(),
            store.position().await.unwrap().incarnation()
        );
        commit(&copy, [create(user(1, "new"))]).await.unwrap();
    }
}

#[tokio::test]
async fn a_backup_overwrites_nothing_and_cleans_up_after_itself() {
    let (place, store) = settled().await;
    let to = place.beside("-backup");
    fs::write(&to, "precious").unwrap();
    let error = store.back_up(&to).await.unwrap_err();
    assert!(matches!(error, StoreError::Backend { .. }));
    assert_eq!(fs::read_to_string(&to).unwrap(), "precious");
    fs::remove_file(&to).unwrap();
    store.back_up(&place.beside("/no/such/directory")).await.unwrap_err();
    store.back_up(&to).await.unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let names = fs::read_dir(to.parent().unwrap()).unwrap().map(|file| file.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().contains("unfinished")));
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_dropped_at_any_await_blocks_nothing() {
    let place = Place::new();
    let backups = tempfile::tempdir().unwrap();
    let open = async |path: &std::path::Path| -> Arc<dyn MaintenanceStore> {
        let opened: Arc<dyn MaintenanceStore> = Arc::new(SqliteStore::open(path).unwrap());
        opened
    };
    let store = Arc::new(place.open());
    portcullis_testkit::dropping::maintenance_can_be_dropped_at_any_await(
        store,
        Some(backups.path()),
        open,
    )
    .await;
}

#[tokio::test]
async fn a_mapping_to_a_bucket_that_does_not_exist_is_dangling_and_no_damage() {
    let place = Place::new();
    let store = place.open();
    let (record, grants) = portcullis_testkit::pinned_dbrp();
    let id = record.id;
    let put = Operation::Put { record, grants, expect: Expect::Absent };
    commit(&store, [put]).await.unwrap();
    let found = report(&store).await;
    assert!(found.is_ok(), "{:?}", found.findings);
    let dangling = |to, missing| Finding::Dangling { kind: Kind::Dbrp, id, to, missing };
    assert_eq!(
        found.findings,
        [dangling(Kind::Org, Id::from_u64(1)), dangling(Kind::Bucket, Id::from_u64(3))]
    );
}

/// [USE-4]
#[tokio::test]
async fn a_last_use_without_its_credential_is_dangling_and_can_be_removed() {
    let place = Place::new();
    let store = place.open();
    // More than a page of each: the lists are read side by side.
    let records = (1..=2_500).map(|number| authorization(number, &format!("name-{number}")));
    commit(&store, records.map(create)).await.unwrap();
    let pinned = portcullis_testkit::pinned_uses().remove(1).0;
    let of = |id: u64| {
        let body = pinned.body.replace(&pinned.id.to_string(), &format!("{id:016x}"));
        let unique_key = UniqueKey::new(format!("{id:016x}")).unwrap();
        Record { id: Id::from_u64(id), unique_key, body: body.into(), ..pinned.clone() }
    };
    let uses = (1..=2_500).step_by(2).chain([3_000, 4_000]).map(of);
    let put = |record| Operation::Put { record, grants: Vec::new(), expect: Expect::Absent };
    commit(&store, uses.map(put)).await.unwrap();
    let orphaned = |report: &Report| -> Vec<u64> {
        assert!(report.is_ok(), "{:?}", report.findings);
        let found = report.findings.iter().filter(|finding| {
            matches!(
                finding,
                Finding::Dangling { kind: Kind::AuthorizationUse, to: Kind::Authorization, .. }
            )
        });
        found
            .map(|finding| match finding {
                Finding::Dangling { id, missing, .. } if id == missing => id.as_u64(),
                other => panic!("{other:?}"),
            })
            .collect()
    };
    let before = report(&store).await;
    assert_eq!(before.records[&Kind::AuthorizationUse], 1_252);
    assert!(!before.records.contains_key(&Kind::ApiTokenUse), "none is not shown");
    assert_eq!(remove_orphaned_uses(&store).await.unwrap(), 2);
    assert_eq!(remove_orphaned_uses(&store).await.unwrap(), 0);
    let after = report(&store).await;
    assert_eq!(after.records[&Kind::AuthorizationUse], 1_250);
    // Every record refers to an org and a user that do not exist.
    assert_eq!(before.dangling - after.dangling, 2 + 2 * 2);

    let few = place_with([of(9_000)]).await;
    assert_eq!(orphaned(&report(&few.1).await), [9_000]);
}

/// A store with these records.
async fn place_with(records: impl IntoIterator<Item = Record>) -> (Place, SqliteStore) {
    let place = Place::new();
    let store = place.open();
    let put = |record| Operation::Put { record, grants: Vec::new(), expect: Expect::Absent };
    commit(&store, records.into_iter().map(put)).await.unwrap();
    (place, store)
}
