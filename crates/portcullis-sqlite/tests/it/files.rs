//! Opening files: new ones, foreign ones, broken ones.

use std::error::Error as _;
use std::fs;
use std::time::Duration;

use portcullis_sqlite::{OpenError, SqliteStore};

use crate::common::{Place, child, child_path, commit, create, user};

/// The message with the path taken out, and the message of the cause.
fn texts(place: &Place, error: &OpenError) -> (String, String) {
    let text = error.to_string();
    let path = place.path().display().to_string();
    assert!(text.contains(&path), "{text}");
    let source = error.source().map(ToString::to_string);
    (text.replace(&path, "FILE"), source.unwrap_or_default())
}

fn open_error(place: &Place) -> (String, String) {
    let error = SqliteStore::open(place.path()).unwrap_err();
    texts(place, &error)
}

#[test]
fn a_store_is_new_only_once() {
    let place = Place::new();
    assert!(place.open().was_created());
    assert!(!place.open().was_created());
    let strict = SqliteStore::options().create(false);
    assert!(!strict.open(place.path()).unwrap().was_created());
}

#[test]
fn a_file_without_content_is_a_new_store() {
    let place = Place::new();
    fs::write(place.path(), "").unwrap();
    assert!(place.open().was_created());
}

#[test]
fn nothing_is_created_unless_wanted() {
    let place = Place::new();
    let strict = SqliteStore::options().create(false);
    let text = "there is no store at `FILE`: check the path, or have one created";
    let error = strict.clone().open(place.path()).unwrap_err();
    assert!(matches!(error, OpenError::Missing { .. }), "{error:?}");
    assert_eq!(texts(&place, &error).0, text);
    assert!(!place.path().exists());

    fs::write(place.path(), "").unwrap();
    let error = strict.open(place.path()).unwrap_err();
    assert_eq!(texts(&place, &error).0, text);
    assert_eq!(fs::metadata(place.path()).unwrap().len(), 0);
}

#[test]
fn a_missing_directory_is_named() {
    let place = Place::new();
    let path = place.path().join("portcullis.db");
    fs::create_dir(place.path()).unwrap();
    fs::remove_dir(place.path()).unwrap();
    let error = SqliteStore::open(&path).unwrap_err();
    assert!(matches!(error, OpenError::Create { .. }), "{error:?}");
    assert_eq!(error.to_string(), format!("cannot create `{}`", path.display()));
    assert!(error.source().is_some());
}

#[test]
fn a_directory_is_not_opened() {
    let place = Place::new();
    fs::create_dir(place.path()).unwrap();
    let (text, source) = open_error(&place);
    assert_eq!(text, "cannot open `FILE`, or the files beside it");
    assert_eq!(source, "is a directory");
}

#[test]
fn files_of_others_are_left_alone() {
    let text = "`FILE` is not a Portcullis store: choose another path";
    for content in ["xy", "# notes\n", &"no database at all\n".repeat(1_000)] {
        let place = Place::new();
        fs::write(place.path(), content).unwrap();
        assert_eq!(open_error(&place).0, text);
        assert_eq!(fs::read_to_string(place.path()).unwrap(), content);
    }
    for sql in [
        "CREATE TABLE notes (text)",
        "PRAGMA application_id = 252006673",
        "PRAGMA user_version = 1",
    ] {
        let place = Place::new();
        place.raw().execute_batch(sql).unwrap();
        let before = fs::read(place.path()).unwrap();
        assert_eq!(open_error(&place).0, text);
        assert_eq!(fs::read(place.path()).unwrap(), before, "{sql}");
    }
}

#[test]
fn a_newer_format_needs_an_upgrade() {
    let place = Place::new();
    drop(place.open());
    place.raw().pragma_update(None, "user_version", 99).unwrap();
    assert_eq!(
        open_error(&place).0,
        "`FILE` has format 99 and this version of Portcullis reads up to 4: upgrade Portcullis"
    );
}

#[test]
fn damage_is_said() {
    let damages = [
        "DROP TABLE users",
        "DROP TABLE grants",
        "DELETE FROM meta",
        "UPDATE meta SET value = 'x'",
        "ALTER TABLE orgs RENAME body TO bodies",
        "PRAGMA user_version = 0",
        "PRAGMA user_version = -1",
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'x' WHERE name = 'users'",
    ];
    for damage in damages {
        let place = Place::new();
        drop(place.open());
        place.raw().execute_batch(damage).unwrap();
        let error = SqliteStore::open(place.path()).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error:?}");
        let (text, source) = texts(&place, &error);
        assert_eq!(text, "`FILE` is damaged: restore it from a backup");
        assert!(!source.is_empty());
    }
}

#[tokio::test]
async fn a_file_that_was_cut_off_is_damaged() {
    use portcullis::store::Store;

    let place = Place::new();
    let store = place.open();
    let users = (1..500).map(|id| create(user(id, &format!("user {id}"))));
    commit(&store, users).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let file = fs::OpenOptions::new().write(true).open(place.path());
    file.unwrap().set_len(8_192).unwrap();
    let (text, source) = open_error(&place);
    assert_eq!(text, "`FILE` is damaged: restore it from a backup");
    assert_eq!(source, "database disk image is malformed");
}

#[test]
fn a_locked_file_is_said_to_be_locked() {
    let place = Place::new();
    let raw = place.raw();
    raw.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let options = SqliteStore::options().busy_timeout(Duration::from_millis(20));
    let error = options.open(place.path()).unwrap_err();
    assert!(matches!(error, OpenError::Busy { .. }), "{error:?}");
    let (text, source) = texts(&place, &error);
    assert_eq!(text, "`FILE` is locked by another process: try again when that has finished");
    assert_eq!(source, "database is locked");
    raw.execute_batch("ROLLBACK").unwrap();
    assert!(place.open().was_created());
}

#[test]
fn a_store_opens_while_another_process_writes_to_it() {
    let place = Place::new();
    drop(place.open());
    let raw = place.raw();
    raw.execute_batch("BEGIN IMMEDIATE; DELETE FROM users").unwrap();
    let options = SqliteStore::options().busy_timeout(Duration::ZERO);
    options.open(place.path()).unwrap();
}

#[test]
fn names_that_sqlite_gives_a_meaning_are_files() {
    let place = Place::new();
    for name in [":memory:", "file:x?mode=memory", "a b#c?d%20", "ünï"] {
        let path = place.path().with_file_name(name);
        let store = SqliteStore::open(&path).unwrap();
        assert_eq!(store.path(), path);
        assert!(path.exists());
    }
    assert!(SqliteStore::open("").is_err());
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    #[ignore = "run by another test, as another process"]
    async fn child_writes() {
        let Some(path) = child_path() else { return };
        let store = SqliteStore::open(&path).unwrap();
        commit(&store, [create(user(1, "ada"))]).await.unwrap();
        for suffix in ["", "-wal", "-shm"] {
            let file = format!("{}{suffix}", path.display());
            let mode = fs::metadata(file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{suffix:?}");
        }
    }

    #[test]
    fn files_are_for_their_owner_whatever_the_umask() {
        for umask in ["000", "022", "077"] {
            let place = Place::new();
            let script = format!("umask {umask} && exec \"$@\"");
            let before = ["sh", "-c", &script, "sh"];
            let child = child(&before, "files::unix::child_writes", &place.path()).output();
            let child = child.unwrap();
            assert!(child.status.success(), "{child:?}");
            assert!(place.path().exists());
        }
    }

    #[test]
    fn the_mode_of_a_file_that_is_there_is_kept() {
        let place = Place::new();
        fs::write(place.path(), "").unwrap();
        let mode = fs::Permissions::from_mode(0o640);
        fs::set_permissions(place.path(), mode).unwrap();
        let _store = place.open();
        for suffix in ["", "-wal", "-shm"] {
            let mode = fs::metadata(place.beside(suffix)).unwrap().permissions();
            assert_eq!(mode.mode() & 0o777, 0o640, "{suffix:?}");
        }
    }

    #[test]
    fn what_may_not_be_written_is_said() {
        let place = Place::new();
        drop(place.open());
        let mode = fs::Permissions::from_mode(0o400);
        fs::set_permissions(place.path(), mode).unwrap();
        let writable = fs::OpenOptions::new().append(true).open(place.path());
        if writable.is_ok() {
            // The user that runs this may write every file.
            return;
        }
        assert_eq!(
            open_error(&place).0,
            "`FILE` cannot be written: check who may write the file and its directory, and \
             whether the file system is mounted read-only"
        );
    }
}
