//! The time from opening a store to its first response, and the space that it takes on the disk.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use portcullis::Engine;
use portcullis::store::Store;
use portcullis_benches::data::Data;
use portcullis_benches::rounds::{Rounds, rounds, took};
use portcullis_benches::table::{Row, nanos};
use portcullis_redb::RedbStore;
use portcullis_sled::SledStore;
use portcullis_sqlite::SqliteStore;
use rusqlite::Connection;

use crate::reads::first_read;
use crate::world::{self, runtime};

pub(crate) const NAME: &str = "open";

const ROUNDS: usize = 5;

/// Opens what was closed, reads one record, and closes it.
pub(crate) fn open(data: Data, rows: &mut Vec<Row>) {
    let file = world::sqlite_file(data);
    let directory = world::sled_directory(data);
    let runtime = runtime();
    let first_answer = |open: &dyn Fn() -> Arc<dyn Store>| {
        let (taken, engine) = took(|| {
            runtime.block_on(async {
                let engine = Engine::builder(open()).build().await.unwrap();
                first_read(&engine, data).await;
                engine
            })
        });
        runtime.block_on(engine.store().close()).unwrap();
        taken
    };
    let sqlite = || -> Arc<dyn Store> { Arc::new(SqliteStore::open(&file).unwrap()) };
    let sled = || -> Arc<dyn Store> { Arc::new(SledStore::open(&directory).unwrap()) };
    let count = data.count();

    let taken = rounds(ROUNDS, vec![Box::new(|| first_answer(&sqlite))]);
    let what = format!("SQLite, first answer after opening {count}");
    let median = taken.median(0);
    rows.push(Row::figure(&what, nanos(median), "50 ms", median <= 50e6));

    let taken: Rounds =
        rounds(ROUNDS, vec![Box::new(|| first_answer(&sled)), Box::new(|| open_bare(&directory))]);
    let what = format!("sled, first answer after opening {count}");
    let (ours, bare) = (taken.median(0), taken.median(1));
    let reached = ours <= 1.2 * bare + 20e6;
    let row = Row::at_most(&what, "bare sled, opened", &taken, 1.2);
    rows.push(Row { target: "at most 1.2 and 20 ms".to_owned(), reached, ..row });

    let redb_file = world::redb_file(data);
    let redb = || -> Arc<dyn Store> { Arc::new(RedbStore::open(&redb_file).unwrap()) };
    let taken = rounds(ROUNDS, vec![Box::new(|| first_answer(&redb))]);
    let what = format!("redb, first answer after opening {count}");
    let median = taken.median(0);
    rows.push(Row::figure(&what, nanos(median), "50 ms", median <= 50e6));

    disk(data, [&file, &redb_file, &directory], rows);
}

/// Opens it by hand. A closed store releases its lock a moment later.
fn open_bare(directory: &Path) -> f64 {
    let config = sled::Config::new().path(directory).flush_every_ms(None);
    let config = config.cache_capacity(portcullis_sled::SledOptions::DEFAULT_CACHE_BYTES);
    for _ in 0..1_000 {
        if let (taken, Ok(_opened)) = took(|| config.open()) {
            return taken;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("{} stays locked", directory.display());
}

/// The size of the files beside the least that they have to hold: every column of every table, and
/// every entry of every index without its pointer to the record.
fn disk(data: Data, [sqlite, redb, sled]: [&Path; 3], rows: &mut Vec<Row>) {
    let connection = Connection::open(sqlite).unwrap();
    let sum = |sql: &str| -> f64 { connection.query_row(sql, [], |row| row.get(0)).unwrap() };
    let columns = sum("SELECT 1.0 * sum(length(id) + length(revision) + length(unique_key) \
                       + length(org_id) + length(user_id) + length(status) + length(body)) \
                       FROM authorizations");
    let indexes = sum("SELECT 1.0 * sum(length(id) + length(unique_key) + length(org_id) \
                       + length(user_id) + 2 * length(id)) FROM authorizations")
        + sum("SELECT 2.0 * sum(length(kind) + length(grant_key) + length(id)) FROM grants");
    let bytes = columns + indexes;
    for (store, size) in
        [("SQLite", size_of(sqlite)), ("redb", size_of(redb)), ("sled", size_of(sled))]
    {
        let a_record = |bytes: f64| format!("{:.0} B a record", bytes / data.count() as f64);
        let what = format!("{store}, disk, of {}", data.count());
        let peer = ("columns and indexes, bare", a_record(bytes));
        let row = Row::ratio(&what, a_record(size), peer, size / bytes, 1.6);
        rows.push(row.promised_if(store == "SQLite"));
    }
}

/// The bytes in a file, or in all files of a directory.
fn size_of(path: &Path) -> f64 {
    let metadata = fs::metadata(path).unwrap();
    if metadata.is_file() {
        return metadata.len() as f64;
    }
    fs::read_dir(path).unwrap().map(|entry| size_of(&entry.unwrap().path())).sum()
}
