//! The stores, and the engines underneath them, with the same records.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use futures_util::StreamExt;
use futures_util::stream;
use portcullis::Engine;
use portcullis::store::{MemoryStore, Store};
use portcullis_benches::data::{self, Data};
use portcullis_redb::RedbStore;
use portcullis_sled::SledStore;
use portcullis_sqlite::SqliteStore;
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::bare_redb::BareRedb;
use crate::bare_sled::BareSled;
use crate::bare_sqlite;
use crate::ordered::Bare;

/// Every store with the same records, and beside it what it is compared with.
pub(crate) struct World {
    pub(crate) data: Data,
    pub(crate) runtime: Runtime,
    pub(crate) memory: Engine,
    /// Its threads have allocated the records of the store in memory. As long as they live, no other
    /// thread allocates from their arenas, in which a million records leave only scattered gaps.
    _filler: Runtime,
    pub(crate) sqlite: Engine,
    /// On the same file.
    pub(crate) bare: Connection,
    /// With the same records in tables of other layouts.
    pub(crate) layouts: Connection,
    redb: OnceLock<OrderedWorld>,
    sled: OnceLock<OrderedWorld>,
}

/// The same records in redb or sled. Opened when it is needed: its caches would fragment the memory of
/// the others.
pub(crate) struct OrderedWorld {
    pub(crate) engine: Engine,
    /// On a copy: the files can be opened only once.
    pub(crate) bare: Box<dyn Bare>,
    _copies: TempDir,
}

impl World {
    pub(crate) fn new(data: Data) -> Self {
        let runtime = runtime();
        let filler = self::runtime();
        let memory = Arc::new(MemoryStore::new().unwrap());
        let filled = Arc::clone(&memory);
        let filling = filler.spawn(async move { fill(&*filled, data).await });
        runtime.block_on(filling).unwrap();
        let file = sqlite_file(data);
        Self {
            data,
            memory: engine(&runtime, memory),
            sqlite: engine(&runtime, Arc::new(SqliteStore::open(&file).unwrap())),
            bare: bare_sqlite::to_read(&file),
            layouts: bare_sqlite::to_read(&layouts_file(data)),
            redb: OnceLock::new(),
            sled: OnceLock::new(),
            runtime,
            _filler: filler,
        }
    }

    pub(crate) fn redb(&self) -> &OrderedWorld {
        self.redb.get_or_init(|| {
            let file = redb_file(self.data);
            let copies = temporary();
            let copy = copies.path().join("store.redb");
            std::fs::copy(&file, &copy).unwrap();
            OrderedWorld {
                engine: engine(&self.runtime, Arc::new(RedbStore::open(&file).unwrap())),
                bare: Box::new(BareRedb::of_a_store(&copy)),
                _copies: copies,
            }
        })
    }

    pub(crate) fn sled(&self) -> &OrderedWorld {
        self.sled.get_or_init(|| {
            let directory = sled_directory(self.data);
            let copies = temporary();
            data::copy(&directory, &copies.path().join("sled")).unwrap();
            OrderedWorld {
                engine: engine(&self.runtime, Arc::new(SledStore::open(&directory).unwrap())),
                bare: Box::new(BareSled::of_a_store(&copies.path().join("sled"))),
                _copies: copies,
            }
        })
    }
}

fn engine(runtime: &Runtime, store: Arc<dyn Store>) -> Engine {
    runtime.block_on(Engine::builder(store).build()).unwrap()
}

impl Drop for World {
    fn drop(&mut self) {
        let ordered = [&self.redb, &self.sled].into_iter().filter_map(OnceLock::get);
        let ordered = ordered.map(|world| &world.engine);
        for engine in [&self.memory, &self.sqlite].into_iter().chain(ordered) {
            self.runtime.block_on(engine.store().close()).unwrap();
        }
    }
}

/// A runtime with two threads beside the one that measures.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A directory on a disk: the one for temporary files is often in memory.
pub(crate) fn temporary() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// The file of a closed SQLite store with the records in it.
pub(crate) fn sqlite_file(data: Data) -> PathBuf {
    let directory = data.cached(SQLITE, |path| {
        let store = SqliteStore::open(path.join("portcullis.db")).unwrap();
        let runtime = runtime();
        runtime.block_on(fill(&store, data));
        runtime.block_on(store.close()).unwrap();
    });
    directory.unwrap().join("portcullis.db")
}

/// The file with the same records in tables of other layouts.
pub(crate) fn layouts_file(data: Data) -> PathBuf {
    let directory = data.cached("layouts", |path| bare_sqlite::fill_layouts(path, data));
    directory.unwrap().join(bare_sqlite::LAYOUTS)
}

/// The name changes with the layout of the file.
const SQLITE: &str = "sqlite-2";

/// The file of a closed redb store with the records in it.
pub(crate) fn redb_file(data: Data) -> PathBuf {
    let directory = data.cached("redb-1", |path| {
        let store = RedbStore::open(path.join("portcullis.redb")).unwrap();
        let runtime = runtime();
        runtime.block_on(fill(&store, data));
        runtime.block_on(store.close()).unwrap();
    });
    directory.unwrap().join("portcullis.redb")
}

/// The directory of a closed sled store with the records in it.
pub(crate) fn sled_directory(data: Data) -> PathBuf {
    let directory = data.cached("sled-1", |path| {
        let store = SledStore::open(path.join("portcullis.sled")).unwrap();
        let runtime = runtime();
        runtime.block_on(fill(&store, data));
        runtime.block_on(store.close()).unwrap();
    });
    directory.unwrap().join("portcullis.sled")
}

/// Makes the next records while the store commits the previous ones.
async fn fill(store: &dyn Store, data: Data) {
    let batches = stream::iter(data.batches());
    batches
        .for_each_concurrent(2, async |batch| {
            store.commit(batch).await.unwrap();
        })
        .await;
}
