//! Stores in temporary directories, records to put there, and other processes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use portcullis::store::{
    Batch, Change, Expect, Kind, Operation, Position, Record, Revision, Store, StoreError,
    UniqueKey,
};
use portcullis::{GrantKey, Id, OrgId, Status, UserId};
use portcullis_sqlite::SqliteStore;
use rusqlite::Connection;
use tempfile::TempDir;

/// A bound for what should take no time, so that a test fails instead of hanging.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A directory with one file in it, or none yet.
pub(crate) struct Place {
    directory: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("portcullis.db")
    }

    /// The path of a file that SQLite keeps beside it.
    pub(crate) fn beside(&self, suffix: &str) -> PathBuf {
        self.directory.path().join(format!("portcullis.db{suffix}"))
    }

    pub(crate) fn open(&self) -> SqliteStore {
        SqliteStore::open(self.path()).unwrap()
    }

    /// A connection that knows nothing of the store.
    pub(crate) fn raw(&self) -> Connection {
        let connection = Connection::open(self.path()).unwrap();
        connection.busy_timeout(SOON).unwrap();
        connection
    }
}

pub(crate) fn revision(number: u128) -> Revision {
    Revision::from_u128(number)
}

pub(crate) fn user(id: u64, name: &str) -> Record {
    let status = Status::Active;
    let body = format!(r#"{{"v":1,"id":"{id:016x}","name":{name:?},"status":"{status}"}}"#);
    Record {
        kind: Kind::User,
        id: Id::from_u64(id),
        revision: revision(1),
        unique_key: UniqueKey::new(name).unwrap(),
        org: None,
        user: None,
        status,
        body: body.into(),
    }
}

pub(crate) const HASH: &str = "$2b$04$fVervtjyD90Q9bqnQzgeHeG2Z3shVkpd4l/yrOWDD9erFFhGg5Ml6";

pub(crate) fn authorization(id: u64, name: &str) -> Record {
    let body = format!(
        r#"{{"v":1,"id":"{id:016x}","token":"{name}","status":"inactive","description":"dashboards","orgID":"0000000000000001","userID":"0000000000000002","permissions":["read:buckets/0000000000000003"],"passwordHash":"{HASH}","createdAt":"2024-01-02T03:04:05Z","updatedAt":"2024-02-02T03:04:05Z"}}"#
    );
    Record {
        kind: Kind::Authorization,
        id: Id::from_u64(id),
        revision: revision(1),
        unique_key: UniqueKey::new(name).unwrap(),
        org: Some(OrgId::from_u64(1)),
        user: Some(UserId::from_u64(2)),
        status: Status::Inactive,
        body: body.into(),
    }
}

/// The key of the permission that [`authorization`] has.
pub(crate) fn grant() -> GrantKey {
    GrantKey::of("read:buckets/0000000000000003".parse().unwrap())
}

pub(crate) fn create(record: Record) -> Operation {
    let grants = match record.kind {
        Kind::Authorization => vec![grant()],
        _ => Vec::new(),
    };
    Operation::Put { record, grants, expect: Expect::Absent }
}

pub(crate) fn delete(record: &Record) -> Operation {
    Operation::Delete { kind: record.kind, id: record.id, expect: record.revision }
}

pub(crate) async fn commit(
    store: &SqliteStore,
    operations: impl IntoIterator<Item = Operation>,
) -> Result<Position, StoreError> {
    store.commit(Batch::from_iter(operations)).await
}

pub(crate) type Changes = BoxStream<'static, Result<Change, StoreError>>;

/// The next change, or resync; `None` at the end.
pub(crate) async fn next_change(changes: &mut Changes) -> Option<Change> {
    let next = async {
        loop {
            match changes.next().await {
                Some(Ok(Change::Fresh { .. })) => {}
                other => return other.transpose().unwrap(),
            }
        }
    };
    tokio::time::timeout(SOON, next).await.unwrap()
}

/// The id that the next change is of.
pub(crate) async fn next_id(changes: &mut Changes) -> u64 {
    match next_change(changes).await {
        Some(Change::Changed { id, .. }) => id.as_u64(),
        other => panic!("not a change of a record: {other:?}"),
    }
}

const CHILD_PATH: &str = "PORTCULLIS_SQLITE_TEST_CHILD";

/// The path that another process gave this one, if this is the one to run.
pub(crate) fn child_path() -> Option<PathBuf> {
    std::env::var_os(CHILD_PATH).map(PathBuf::from)
}

/// The command that runs the ignored test, with a path, as another process. The command before
/// it, if any, is given what to run as arguments.
pub(crate) fn child(before: &[&str], test: &str, path: &Path) -> Command {
    let exe = std::env::current_exe().unwrap();
    let mut command = match before.split_first() {
        None => Command::new(exe),
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(exe);
            command
        }
    };
    command
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(CHILD_PATH, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}
