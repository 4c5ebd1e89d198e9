//! Databases, stores in them, records to put there.

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

/// A bound for what should take no time, so that a test fails instead of hanging.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Runs the test with an empty database, where there is a server.
pub(crate) fn with_database(test: impl AsyncFnOnce(&Database)) {
    let Some(server) = server() else { return };
    let database = server.database();
    run(test(&database));
}

pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let ended = runtime.block_on(async { tokio::time::timeout(2 * SOON, test).await });
    runtime.shutdown_background();
    ended.expect("the test does not end");
}

/// A database for whoever makes a schema of their own in it.
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

/// A program that works in the database while the test goes on.
pub(crate) fn meanwhile(server: &Server, url: &str, sql: &str) -> Child {
    Command::new(server.psql())
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql])
        .current_dir("/")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Asks again and again until it is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < SOON, "not soon: {what}");
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

/// The next thing that is told.
pub(crate) async fn next(changes: &mut Changes) -> Change {
    tokio::time::timeout(SOON, changes.next()).await.unwrap().unwrap().unwrap()
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

/// The id that the next change is of.
pub(crate) async fn next_id(changes: &mut Changes) -> u64 {
    match next_change(changes).await {
        Change::Changed { id, .. } => id.as_u64(),
        other => panic!("not a change of a record: {other:?}"),
    }
}

/// An error and all its causes, as they are shown and as they are debugged.
pub(crate) fn everything(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = format!("{error:?}");
    let mut cause = Some(error);
    while let Some(error) = cause {
        text.push_str(&format!("\n{error}"));
        cause = error.source();
    }
    text
}
