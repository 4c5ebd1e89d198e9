//! Databases, stores in them, and records.

use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use portcullis::store::{
    Batch, Change, Expect, Kind, Operation, Position, Record, Revision, Store, StoreError,
    UniqueKey,
};
use portcullis::{Id, Status};
use portcullis_postgres::{PostgresOptions, PostgresStore};
use portcullis_testkit::postgres::{Database, Server, server};

/// How long a test waits for an event before it fails instead of hanging. No promise of the store.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Runs the test with an empty database, if there is a server.
pub(crate) fn with_database(test: impl AsyncFnOnce(&Database)) {
    let Some(server) = server() else { return };
    let database = server.database();
    run(test(&database));
}

pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let result = runtime.block_on(async { tokio::time::timeout(2 * DEADLINE, test).await });
    runtime.shutdown_background();
    result.expect("the test does not end");
}

/// A database that tests share, each with a schema of its own.
pub(crate) async fn common_database() -> &'static Database {
    static DATABASE: OnceLock<Database> = OnceLock::new();
    let make = || DATABASE.get_or_init(|| server().expect("a server").database());
    tokio::task::spawn_blocking(make).await.unwrap()
}

pub(crate) fn options() -> PostgresOptions {
    PostgresStore::options().pool_size(8)
}

pub(crate) async fn open(database: &Database) -> PostgresStore {
    options().open(database.url()).await.unwrap()
}

/// Starts a `psql` that executes the statements while the test continues.
pub(crate) fn spawn_psql(server: &Server, url: &str, sql: &str) -> Child {
    Command::new(server.psql())
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql])
        .current_dir("/")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Polls until the condition holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < DEADLINE, "timeout: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
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
        revision: revision(u128::from(id) << 64 | 1),
        unique_key: UniqueKey::new(name).unwrap(),
        org: None,
        user: None,
        status,
        body: body.into(),
    }
}

pub(crate) fn revised(record: &Record) -> Record {
    Record { revision: revision(record.revision.as_u128() + 1), ..record.clone() }
}

pub(crate) fn create(record: &Record) -> Operation {
    Operation::Put { record: record.clone(), grants: Vec::new(), expect: Expect::Absent }
}

pub(crate) fn replace(record: &Record, old: &Record) -> Operation {
    let expect = Expect::Revision(old.revision);
    Operation::Put { record: record.clone(), grants: Vec::new(), expect }
}

pub(crate) async fn commit(
    store: &dyn Store,
    operations: impl IntoIterator<Item = Operation>,
) -> Result<Position, StoreError> {
    store.commit(Batch::from_iter(operations)).await
}

pub(crate) type Changes = BoxStream<'static, Result<Change, StoreError>>;

pub(crate) async fn watch(store: &dyn Store) -> Changes {
    store.watch(store.position().await.unwrap()).await.unwrap()
}

/// The next event of the feed.
pub(crate) async fn next(changes: &mut Changes) -> Change {
    tokio::time::timeout(DEADLINE, changes.next()).await.unwrap().unwrap().unwrap()
}

/// The next change, or resync.
pub(crate) async fn next_change(changes: &mut Changes) -> Change {
    loop {
        match next(changes).await {
            Change::Fresh { .. } => {}
            other => return other,
        }
    }
}

/// The id of the next changed record.
pub(crate) async fn next_id(changes: &mut Changes) -> u64 {
    match next_change(changes).await {
        Change::Changed { id, .. } => id.as_u64(),
        other => panic!("not a change of a record: {other:?}"),
    }
}

/// The display and debug output of an error and all its causes.
pub(crate) fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = format!("{error:?}");
    let mut cause = Some(error);
    while let Some(error) = cause {
        text.push_str(&format!("\n{error}"));
        cause = error.source();
    }
    text
}
