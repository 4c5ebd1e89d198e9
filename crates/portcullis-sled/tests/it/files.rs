//! Opening: other processes, files that are no store, modes.

use std::fs;
use std::path::Path;

use portcullis::Id;
use portcullis::store::{Kind, Lookup, Store as _};
use portcullis_sled::{OpenError, SledStore};

use portcullis_testkit::fixtures::Sample;

use crate::common::{Place, commit, has_user, user};

#[tokio::test]
async fn a_second_opening_is_refused_as_in_use() {
    let place = Place::new();
    let store = place.open();
    assert!(store.was_created());
    let error = SledStore::open(place.path()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("only one process at a time"), "{error}");
    store.close().await.unwrap();
    let again = place.open();
    assert!(!again.was_created());
}

#[tokio::test]
async fn what_is_not_a_store_is_left_alone() {
    let place = Place::new();
    let is_foreign = || matches!(SledStore::open(place.path()), Err(OpenError::Foreign { .. }));
    fs::write(place.path(), "a file").unwrap();
    assert!(is_foreign());
    assert_eq!(fs::read_to_string(place.path()).unwrap(), "a file");

    fs::remove_file(place.path()).unwrap();
    fs::create_dir(place.path()).unwrap();
    fs::write(place.path().join("letter"), "dear all").unwrap();
    assert!(is_foreign());
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);

    fs::remove_dir_all(place.path()).unwrap();
    let other = place.raw();
    other.insert("someone", "else").unwrap();
    other.flush().unwrap();
    drop(other);
    assert!(is_foreign());
    assert_eq!(place.raw().get("someone").unwrap().unwrap(), "else");
}

#[tokio::test]
async fn a_store_is_created_only_where_that_is_wanted() {
    let place = Place::new();
    let open = || SledStore::options().create(false).open(place.path());
    assert!(matches!(open(), Err(OpenError::Missing { .. })));
    assert!(!place.path().exists());
    fs::create_dir(place.path()).unwrap();
    assert!(matches!(open(), Err(OpenError::Missing { .. })));
    assert!(place.open().was_created());
}

#[tokio::test]
async fn a_creation_that_was_interrupted_is_gone_on_with() {
    let place = Place::new();
    let store = place.open();
    store.close().await.unwrap();
    // As after a crash before the format was written.
    let raw = place.raw();
    raw.remove("format").unwrap();
    for name in raw.tree_names() {
        if name != "__sled__default" {
            raw.drop_tree(name).unwrap();
        }
    }
    raw.flush().unwrap();
    drop(raw);
    fs::write(place.path().join("portcullis.lock"), "").unwrap();
    let store = place.open();
    assert!(store.was_created());
    commit(&store, [user(1, "ada")]).await.unwrap();
    store.close().await.unwrap();
    // As after one before sled had written its file.
    for file in fs::read_dir(place.path()).unwrap().map(Result::unwrap) {
        match file.file_name().to_str().unwrap() {
            "conf" => {}
            "portcullis.lock" => fs::write(file.path(), "").unwrap(),
            _ if file.file_type().unwrap().is_dir() => fs::remove_dir_all(file.path()).unwrap(),
            _ => fs::remove_file(file.path()).unwrap(),
        }
    }
    assert!(place.open().was_created());
}

/// sled would begin a new database without a word.
#[tokio::test]
async fn a_store_that_has_lost_everything_is_not_taken_for_a_new_one() {
    for loss in [
        |db: &Path| fs::remove_file(db).unwrap(),
        |db: &Path| fs::write(db, "").unwrap(),
        |db: &Path| fs::write(db, [0x5a; 600_000]).unwrap(),
    ] {
        let place = Place::new();
        let store = place.open();
        commit(&store, [user(1, "ada")]).await.unwrap();
        store.close().await.unwrap();
        loss(&place.path().join("db"));
        let error = SledStore::open(place.path()).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_newer_format_is_refused_and_kept() {
    let place = Place::new();
    place.open().close().await.unwrap();
    let raw = place.raw();
    raw.insert("format", &99_u64.to_be_bytes()).unwrap();
    raw.flush().unwrap();
    drop(raw);
    let error = SledStore::open(place.path()).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 99, supported: 3, .. }), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_may_enter() {
    use std::os::unix::fs::PermissionsExt as _;

    let place = Place::new();
    let store = place.open();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(place.path()), 0o700);
    assert_eq!(mode(place.path().join("db")), 0o600);
    drop(store);
}

/// sled keeps values of that size in files of their own.
#[tokio::test]
async fn large_values_are_there_after_a_reopening() {
    let place = Place::new();
    let store = place.open();
    commit(&store, [user(3, "ada")]).await.unwrap();
    let large = Sample::authorization(9).with_body("x".repeat(3 << 20));
    commit(&store, [large.create()]).await.unwrap();
    assert!(fs::read_dir(place.path().join("blobs")).unwrap().count() > 0);
    store.close().await.unwrap();
    let store = place.open();
    assert!(has_user(&store, 3).await);
    let lookup = Lookup::Id(Kind::Authorization, Id::from_u64(9));
    assert_eq!(store.get(lookup).await.unwrap(), Some(large.record()));
}

#[tokio::test]
async fn what_a_power_cut_leaves_of_a_creation_blocks_nothing() {
    let place = Place::new();
    let unfinished = place.beside("portcullis.sled.portcullis-new");
    fs::create_dir(&unfinished).unwrap();
    for name in ["portcullis.lock", "conf", "db"] {
        fs::write(unfinished.join(name), "half").unwrap();
    }
    fs::create_dir(unfinished.join("blobs")).unwrap();
    let store = place.open();
    assert!(store.was_created());
    assert!(!unfinished.exists());
    store.close().await.unwrap();
    assert!(!place.open().was_created());
}

#[test]
fn an_empty_directory_that_is_there_becomes_the_store_and_keeps_its_mode() {
    use std::os::unix::fs::PermissionsExt as _;

    let place = Place::new();
    fs::create_dir(place.path()).unwrap();
    let mode = fs::Permissions::from_mode(0o750);
    fs::set_permissions(place.path(), mode).unwrap();
    assert!(place.open().was_created());
    let mode = fs::metadata(place.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o750);
}

#[tokio::test]
async fn a_snapshot_that_sled_was_writing_is_not_read() {
    let place = Place::new();
    place.open().close().await.unwrap();
    let torn = place.path().join("snap.7FFFFFFFFFFFFFFF.generating");
    fs::write(&torn, "half of it").unwrap();
    assert!(!place.open().was_created());
    assert!(!torn.exists());
}
