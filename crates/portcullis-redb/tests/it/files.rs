//! Opening: other processes, foreign files, formats, modes.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};

use portcullis::store::{Store as _, StoreError};
use portcullis_redb::{OpenError, RedbStore};
use redb::{ReadableDatabase as _, TableDefinition};

use crate::common::{Place, commit, has_user, user};

pub(crate) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("portcullis");
const OTHER: TableDefinition<'_, &str, &str> = TableDefinition::new("letters");

#[tokio::test]
async fn a_second_opening_is_refused_as_in_use() {
    let place = Place::new();
    let store = place.open();
    assert!(store.was_created());
    let error = RedbStore::open(place.path()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("only one process at a time"), "{error}");
    store.close().await.unwrap();
    let again = place.open();
    assert!(!again.was_created());
}

#[tokio::test]
async fn a_file_that_is_not_a_store_is_not_changed() {
    let place = Place::new();
    let is_foreign = || matches!(RedbStore::open(place.path()), Err(OpenError::Foreign { .. }));
    fs::write(place.path(), "a file").unwrap();
    assert!(is_foreign());
    assert_eq!(fs::read_to_string(place.path()).unwrap(), "a file");

    fs::remove_file(place.path()).unwrap();
    fs::create_dir(place.path()).unwrap();
    assert!(is_foreign());
    fs::remove_dir(place.path()).unwrap();

    let other = redb::Database::create(place.path()).unwrap();
    let transaction = other.begin_write().unwrap();
    transaction.open_table(OTHER).unwrap().insert("dear", "all").unwrap();
    transaction.commit().unwrap();
    drop(other);
    assert!(is_foreign());
    let tables = place.raw().begin_read().unwrap().list_tables().unwrap().count();
    assert_eq!(tables, 1);
}

#[tokio::test]
async fn a_store_is_created_only_if_configured() {
    let place = Place::new();
    let open = || RedbStore::options().create(false).open(place.path());
    assert!(matches!(open(), Err(OpenError::Missing { .. })));
    assert!(!place.path().exists());
    fs::write(place.path(), "").unwrap();
    assert!(matches!(open(), Err(OpenError::Missing { .. })));
    // An interrupted creation in place.
    drop(redb::Database::create(place.path()).unwrap());
    assert!(matches!(open(), Err(OpenError::Missing { .. })));
    assert!(place.open().was_created());
}

#[tokio::test]
async fn a_store_cannot_be_created_where_no_file_can() {
    let place = Place::new();
    let error = RedbStore::open(place.beside("no/such/directory")).unwrap_err();
    assert!(matches!(error, OpenError::Create { .. }), "{error:?}");
}

#[tokio::test]
async fn an_empty_file_becomes_the_store_and_a_new_one_leaves_nothing_beside_it() {
    let place = Place::new();
    fs::write(place.path(), "").unwrap();
    assert!(place.open().was_created());
    fs::remove_file(place.path()).unwrap();
    let store = place.open();
    commit(&store, [user(1, "ada")]).await.unwrap();
    let names: Vec<_> = fs::read_dir(place.path().parent().unwrap())
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    assert_eq!(names, ["portcullis.redb"]);
}

#[tokio::test]
async fn a_newer_format_is_refused_and_kept() {
    let place = Place::new();
    place.open().close().await.unwrap();
    let raw = place.raw();
    let transaction = raw.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert("format", 99).unwrap();
    transaction.commit().unwrap();
    drop(raw);
    let error = RedbStore::open(place.path()).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 99, supported: 3, .. }), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt as _;

    let place = Place::new();
    let store = place.open();
    assert_eq!(fs::metadata(place.path()).unwrap().permissions().mode() & 0o777, 0o600);
    drop(store);
}

#[tokio::test]
async fn a_damaged_file_is_reported_and_never_taken_for_a_new_store() {
    for cut in [100, 4_096, 20_000] {
        let place = Place::new();
        let store = place.open();
        for id in 1..200 {
            commit(&store, [user(id, &format!("user-{id}"))]).await.unwrap();
        }
        store.close().await.unwrap();
        let file = fs::OpenOptions::new().write(true).open(place.path()).unwrap();
        file.set_len(cut).unwrap();
        drop(file);
        let error = RedbStore::open(place.path()).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. } | OpenError::Open { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_damaged_page_is_found_by_a_check() {
    use portcullis::store::MaintenanceStore as _;

    let place = Place::new();
    let store = place.open();
    for id in 1..500 {
        commit(&store, [user(id, &format!("user-{id}"))]).await.unwrap();
    }
    assert_eq!(store.check_files().await.unwrap(), Vec::<String>::new());
    store.close().await.unwrap();
    let bytes = fs::read(place.path()).unwrap();
    let name = b"user-250";
    let at = bytes.windows(name.len()).rposition(|window| window == name).unwrap();
    let mut file = fs::OpenOptions::new().write(true).open(place.path()).unwrap();
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.write_all(b"User").unwrap();
    drop(file);
    let store = place.open();
    let problems = store.check_files().await.unwrap();
    assert!(!problems.is_empty());
}

/// As root every file can be written, so only the copy itself is tested then.
#[tokio::test]
async fn a_store_that_cannot_be_written_is_read_from_a_copy() {
    let place = Place::new();
    let store = place.open();
    commit(&store, [user(1, "ada")]).await.unwrap();
    store.close().await.unwrap();
    let mut permissions = fs::metadata(place.path()).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(place.path(), permissions).unwrap();
    let before = fs::read(place.path()).unwrap();
    let is_root = fs::OpenOptions::new().write(true).open(place.path()).is_ok();
    let store = RedbStore::options().open_unwritable(true).open(place.path()).unwrap();
    assert!(has_user(&store, 1).await);
    if !is_root {
        let refused = commit(&store, [user(2, "grace")]).await;
        assert!(matches!(refused, Err(StoreError::ReadOnly)), "{refused:?}");
        assert!(RedbStore::open(place.path()).is_err());
        store.close().await.unwrap();
        assert_eq!(fs::read(place.path()).unwrap(), before);
    }
}
