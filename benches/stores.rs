//! What a durable change costs: each store beside the engine underneath it, doing the same.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use portcullis::store::{Batch, Expect, Kind, Operation, Record, Revision, Store, UniqueKey};
use portcullis::{GrantKey, Id, OrgId, Permission, Status, UserId};
use portcullis_sled::SledStore;
use portcullis_sqlite::SqliteStore;
use rusqlite::{Connection, params};
use sled::Transactional as _;
use sled::transaction::ConflictableTransactionError;

/// Each makes changes one after the other; all of them at the same time.
const WRITERS: [u64; 2] = [1, 16];

/// The record of an authorization with the number, and its grant keys.
fn authorization(number: u64) -> (Record, Vec<GrantKey>) {
    let id = Id::from_u64(number);
    let name = format!("telegraf-{number}");
    let org = OrgId::from_u64(1 + number % 1_000);
    let user = UserId::from_u64(1 + number % 10_000);
    let bucket = Id::from_u64(1 + number % 5_000);
    let grants = [format!("read:buckets/{bucket}"), format!("write:buckets/{bucket}")];
    let body = format!(
        r#"{{"v":1,"id":"{id}","token":"{name}","status":"active","description":"agents of one site","orgID":"{org}","userID":"{user}","permissions":["{}","{}"],"createdAt":"2024-01-02T03:04:05Z","updatedAt":"2024-02-02T03:04:05Z"}}"#,
        grants[0], grants[1],
    );
    let record = Record {
        kind: Kind::Authorization,
        id,
        revision: Revision::from_u128(number.into()),
        unique_key: UniqueKey::new(name).unwrap(),
        org: Some(org),
        user: Some(user),
        status: Status::Active,
        body: body.into(),
    };
    let grants = grants.map(|grant| GrantKey::of(grant.parse::<Permission>().unwrap()));
    (record, grants.to_vec())
}

/// Runs so many changes by so many writers and returns how long all of them took together.
fn by_threads(writers: u64, changes: u64, change: impl Fn(u64) + Sync) -> Duration {
    let numbers = AtomicU64::new(0);
    let begin = Instant::now();
    thread::scope(|scope| {
        for _ in 0..writers {
            scope.spawn(|| {
                while numbers.fetch_add(1, Ordering::Relaxed) < changes {
                    change(NEXT.fetch_add(1, Ordering::Relaxed));
                }
            });
        }
    });
    begin.elapsed()
}

/// The next number, never used twice.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// The same through a store, by tasks of a runtime.
fn by_tasks(
    runtime: &tokio::runtime::Runtime,
    store: &Arc<dyn Store>,
    writers: u64,
    changes: u64,
) -> Duration {
    let numbers = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|_| {
            let (store, numbers) = (Arc::clone(store), Arc::clone(&numbers));
            runtime.spawn(async move {
                while numbers.fetch_add(1, Ordering::Relaxed) < changes {
                    let (record, grants) = authorization(NEXT.fetch_add(1, Ordering::Relaxed));
                    let put = Operation::Put { record, grants, expect: Expect::Absent };
                    black_box(store.commit(Batch::from_iter([put])).await.unwrap());
                }
            })
        })
        .collect();
    runtime.block_on(async {
        for task in tasks {
            task.await.unwrap();
        }
    });
    begin.elapsed()
}

/// A table with the indexes that the store has, in write-ahead mode with full syncs.
fn bare_sqlite(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;
             CREATE TABLE authorizations (
                 id TEXT NOT NULL, revision BLOB NOT NULL, unique_key TEXT NOT NULL, org_id TEXT,
                 user_id TEXT, status TEXT NOT NULL, body TEXT NOT NULL, UNIQUE (unique_key),
                 PRIMARY KEY (id));
             CREATE INDEX by_org ON authorizations (org_id, id);
             CREATE INDEX by_user ON authorizations (user_id, id);
             CREATE TABLE grants (kind TEXT NOT NULL, grant_key TEXT NOT NULL, id TEXT NOT NULL,
                 PRIMARY KEY (kind, grant_key, id)) WITHOUT ROWID;
             CREATE INDEX grants_by_id ON grants (kind, id);
             CREATE TABLE changes (seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL);",
        )
        .unwrap();
    connection
}

fn insert_bare(connection: &Connection, number: u64) {
    let (record, grants) = authorization(number);
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
        connection.prepare_cached(sql).unwrap().execute(values).unwrap();
    };
    let id = record.id.to_string();
    run("BEGIN IMMEDIATE", &[]);
    run(
        "INSERT INTO authorizations VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            id,
            record.revision.as_u128().to_be_bytes(),
            record.unique_key.as_str(),
            record.org.map(|org| org.to_string()),
            record.user.map(|user| user.to_string()),
            record.status.as_str(),
            record.body,
        ],
    );
    for grant in grants {
        let grant = grant.to_string();
        run("INSERT INTO grants VALUES ('authorizations', ?1, ?2)", params![grant, id]);
    }
    run("INSERT INTO changes (kind, id) VALUES ('authorizations', ?1)", params![id]);
    run("COMMIT", &[]);
}

/// The trees that the store has, each change a transaction with a flush and an `fdatasync`.
struct BareSled {
    db: sled::Db,
    trees: [sled::Tree; 3],
    log: std::fs::File,
}

impl BareSled {
    fn open(path: &Path) -> Self {
        let db = sled::Config::new().path(path).flush_every_ms(None).open().unwrap();
        let tree = |name| db.open_tree(name).unwrap();
        let trees = [tree("records"), tree("unique"), tree("index")];
        let log = std::fs::File::open(path.join("db")).unwrap();
        Self { db, trees, log }
    }

    fn insert(&self, number: u64) {
        let (record, grants) = authorization(number);
        let id = record.id.as_u64().to_be_bytes();
        let entries = [record.org.unwrap().as_u64(), record.user.unwrap().as_u64()]
            .map(|of| [&of.to_be_bytes()[..], &id].concat());
        let by_grant = grants.iter().map(|grant| [grant.to_string().as_bytes(), &id].concat());
        let entries: Vec<_> = entries.into_iter().chain(by_grant).collect();
        self.trees
            .as_slice()
            .transaction(|views| {
                views[0].insert(&id, record.body.as_bytes())?;
                views[1].insert(record.unique_key.as_str().as_bytes(), &id)?;
                for entry in &entries {
                    views[2].insert(entry.as_slice(), &[])?;
                }
                Ok::<_, ConflictableTransactionError<()>>(())
            })
            .unwrap();
        self.db.flush().unwrap();
        self.log.sync_data().unwrap();
    }
}

/// A durable create costs what the bare engine's costs, and with many writers less, since they
/// share the waits for the disk.
fn durable_create(c: &mut Criterion) {
    let workers = thread::available_parallelism().map_or(2, NonZeroUsize::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .unwrap();
    // Not in memory: where temporary files are is often there.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let at = |name: &str| directory.path().join(name);
    let stores: [(&str, Arc<dyn Store>); 2] = [
        ("SQLite", Arc::new(SqliteStore::open(at("portcullis.db")).unwrap())),
        ("sled", Arc::new(SledStore::open(at("portcullis.sled")).unwrap())),
    ];
    let sqlite = Mutex::new(bare_sqlite(&at("bare.db")));
    let sled = BareSled::open(&at("bare.sled"));

    let mut group = c.benchmark_group("durable create");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    group.measurement_time(Duration::from_secs(5));
    for writers in WRITERS {
        let id = |name: &str| BenchmarkId::new(name, format!("{writers} writers"));
        for (name, store) in &stores {
            group.bench_function(id(name), |b| {
                b.iter_custom(|changes| by_tasks(&runtime, store, writers, changes));
            });
        }
        group.bench_function(id("bare SQLite"), |b| {
            b.iter_custom(|changes| {
                by_threads(writers, changes, |n| insert_bare(&sqlite.lock().unwrap(), n))
            });
        });
        group.bench_function(id("bare sled"), |b| {
            b.iter_custom(|changes| by_threads(writers, changes, |n| sled.insert(n)));
        });
    }
    group.finish();
    for (_, store) in stores {
        runtime.block_on(store.close()).unwrap();
    }
}

criterion_group!(benches, durable_create);
criterion_main!(benches);
