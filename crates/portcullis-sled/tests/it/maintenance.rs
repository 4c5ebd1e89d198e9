//! Verifying, repairing, backing up.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis::store::{
    Batch, Entry, EntryKey, Kind, Lookup, MaintenanceStore, Operation, Store as _, StoreError,
};
use portcullis::verify::{Finding, Report, verify};
use portcullis::{Id, OrgId};
use portcullis_sled::SledStore;

use crate::common::{Place, commit, has_user, org, user};

async fn report(store: &SledStore) -> Report {
    verify(store, |_| {}).await.unwrap()
}

/// What verifying finds after the trees were changed by hand.
async fn damaged(place: &Place, damage: impl FnOnce(&sled::Db)) -> Report {
    let raw = place.raw();
    damage(&raw);
    raw.flush().unwrap();
    drop(raw);
    let store = place.open();
    let report = report(&store).await;
    store.close().await.unwrap();
    report
}

fn record_key(kind: u8, id: u64) -> Vec<u8> {
    [&[kind][..], &id.to_be_bytes()].concat()
}

async fn with_two_users() -> Place {
    let place = Place::new();
    let store = place.open();
    commit(&store, [user(1, "ada"), user(2, "grace"), org(3, "acme")]).await.unwrap();
    let found = report(&store).await;
    assert!(found.is_ok());
    assert_eq!((found.records[&Kind::User], found.entries), (2, 3));
    store.close().await.unwrap();
    place
}

#[tokio::test]
async fn a_missing_unique_key_is_found_and_made_anew() {
    let place = with_two_users().await;
    let found = damaged(&place, |raw| {
        raw.open_tree("unique.1").unwrap().remove(b"\x06ada").unwrap().unwrap();
    })
    .await;
    let entry =
        Entry { kind: Kind::User, key: EntryKey::UniqueKey("ada".into()), id: Id::from_u64(1) };
    assert_eq!(found.findings, [Finding::MissingEntry { entry }]);

    let store = place.open();
    store.rebuild_entries().await.unwrap();
    assert!(report(&store).await.is_ok());
    let ada = store.get(Lookup::UniqueKey(Kind::User, "ada")).await.unwrap();
    assert_eq!(ada.unwrap().id, Id::from_u64(1));
    // The new trees are those that are used from now on.
    assert!(matches!(
        commit(&store, [user(4, "ada")]).await,
        Err(StoreError::AlreadyExists { .. })
    ));
    store.close().await.unwrap();
    let store = place.open();
    assert!(report(&store).await.is_ok());
    assert!(matches!(
        commit(&store, [user(4, "grace")]).await,
        Err(StoreError::AlreadyExists { .. })
    ));
}

#[tokio::test]
async fn stray_and_unreadable_entries_are_found_and_removed() {
    let place = with_two_users().await;
    let stray = [&b"\x06\x01"[..], &3_u64.to_be_bytes(), &1_u64.to_be_bytes()].concat();
    let found = damaged(&place, |raw| {
        let index = raw.open_tree("index.1").unwrap();
        index.insert(stray, &[]).unwrap();
        index.insert("rubbish", &[]).unwrap();
    })
    .await;
    let key = EntryKey::Org(OrgId::from_u64(3));
    let entry = Entry { kind: Kind::User, key, id: Id::from_u64(1) };
    assert_eq!(
        found.findings,
        [Finding::UnreadableEntries { count: 1 }, Finding::StrayEntry { entry }]
    );
    assert!(found.findings.iter().all(Finding::is_fixed_by_rebuild));

    let store = place.open();
    store.rebuild_entries().await.unwrap();
    let found = report(&store).await;
    assert!(found.is_ok());
    assert_eq!(found.entries, 3);
}

#[tokio::test]
async fn records_that_cannot_be_read_are_named_and_kept() {
    let place = with_two_users().await;
    let value = damaged(&place, |raw| {
        let records = raw.open_tree("records").unwrap();
        let value = records.get(record_key(6, 1)).unwrap().unwrap();
        let broken = String::from_utf8_lossy(&value).replace("active", "active?").into_bytes();
        records.insert(record_key(6, 2), &broken[..9]).unwrap();
        records.insert("nonsense", "nonsense").unwrap();
        // A body whose id differs from the key.
        records.insert(record_key(6, 9), &value).unwrap();
    })
    .await;
    let [Finding::Files { complaint }, unreadable, corrupt] = &value.findings[..] else {
        panic!("{:?}", value.findings)
    };
    assert!(complaint.contains("key that cannot be read"), "{complaint}");
    assert_eq!(*unreadable, Finding::UnreadableRecords { kind: Kind::User, count: 1 });
    let Finding::Corrupt { problem, .. } = corrupt else { panic!("{corrupt}") };
    assert!(problem.contains("contradicts its id"), "{problem}");
}

#[tokio::test]
async fn references_that_lead_nowhere_are_no_damage() {
    let place = Place::new();
    let store = place.open();
    let bucket = portcullis::Bucket {
        id: portcullis::BucketId::from_u64(5),
        org: OrgId::from_u64(77),
        name: portcullis::Name::new("telemetry").unwrap(),
    };
    let record = {
        use portcullis::store::{Entity as _, Revision};
        bucket.to_record(Revision::from_u128(1)).unwrap()
    };
    let put = Operation::Put { record, grants: vec![], expect: portcullis::store::Expect::Absent };
    commit(&store, [put]).await.unwrap();
    let found = report(&store).await;
    assert!(found.is_ok());
    assert_eq!(found.dangling, 1);
    let to = Kind::Org;
    let (kind, id, missing) = (Kind::Bucket, Id::from_u64(5), Id::from_u64(77));
    assert_eq!(found.findings, [Finding::Dangling { kind, id, to, missing }]);
}

#[tokio::test]
async fn a_rebuild_that_did_not_come_to_its_end_leaves_nothing() {
    let place = with_two_users().await;
    let raw = place.raw();
    raw.open_tree("unique.2").unwrap().insert("half", "done").unwrap();
    raw.flush().unwrap();
    drop(raw);
    let store = place.open();
    assert!(report(&store).await.is_ok());
    store.close().await.unwrap();
    assert!(!place.raw().tree_names().contains(&"unique.2".into()));
}

/// Pairs are written together, swapped and deleted together: a backup never has half of one.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_shows_one_moment() {
    let place = Place::new();
    let store = Arc::new(place.open());
    let ballast = (1..=5_000).map(|id| org(id, &format!("org-{id}")));
    commit(&store, ballast).await.unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
        async move {
            let mut rounds = 0_u64;
            while !stop.load(Ordering::SeqCst) {
                // The names change places among records that were copied already and others.
                let (low, high) = (2 * rounds + 1, 2 * rounds + 2);
                let (left, right) = (format!("left-{rounds}"), format!("right-{rounds}"));
                commit(&store, [user(low, &left), user(high, &right)]).await.unwrap();
                if rounds.is_multiple_of(3) {
                    let expect = |id: u64| portcullis::store::Revision::from_u128(id.into());
                    let delete = |id| Operation::Delete {
                        kind: Kind::User,
                        id: Id::from_u64(id),
                        expect: expect(id),
                    };
                    store.commit(Batch::from_iter([delete(low), delete(high)])).await.unwrap();
                    commit(&store, [user(low, &right), user(high, &left)]).await.unwrap();
                }
                rounds += 1;
            }
            rounds
        }
    });
    let copies: Vec<_> = (0..3).map(|number| place.beside(&format!("backup-{number}"))).collect();
    for copy in &copies {
        store.back_up(copy).await.unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    let rounds = writer.await.unwrap();
    assert!(rounds > 0);

    for copy in &copies {
        let copy = SledStore::options().create(false).open(copy).unwrap();
        let found = report(&copy).await;
        assert!(found.is_ok(), "{:?}", found.findings.first());
        assert_eq!(found.records[&Kind::Org], 5_000);
        for pair in 0..rounds {
            let (low, high) = (2 * pair + 1, 2 * pair + 2);
            assert_eq!(has_user(&copy, low).await, has_user(&copy, high).await, "pair {pair}");
        }
        // It is a store of its own.
        commit(&copy, [user(u64::MAX, "new")]).await.unwrap();
    }
}

#[tokio::test]
async fn a_backup_overwrites_nothing_and_cleans_up_after_itself() {
    let place = with_two_users().await;
    let store = place.open();
    let to = place.beside("backup");
    fs::write(&to, "precious").unwrap();
    let error = store.back_up(&to).await.unwrap_err();
    assert!(matches!(error, StoreError::Backend { .. }));
    assert_eq!(fs::read_to_string(&to).unwrap(), "precious");
    fs::remove_file(&to).unwrap();

    store.back_up(&place.beside("no/such/directory")).await.unwrap_err();
    store.back_up(&to).await.unwrap();
    let names = fs::read_dir(to.parent().unwrap()).unwrap().map(|file| file.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().contains("unfinished")));
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_dropped_at_any_await_blocks_nothing() {
    let place = Place::new();
    let backups = tempfile::tempdir().unwrap();
    let open = async |path: &std::path::Path| -> Arc<dyn MaintenanceStore> {
        let opened: Arc<dyn MaintenanceStore> = Arc::new(SledStore::open(path).unwrap());
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
