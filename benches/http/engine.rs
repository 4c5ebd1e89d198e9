//! An engine on a file with so many records, and the users, orgs and buckets that they refer to.

use std::path::PathBuf;

use portcullis::store::Store as _;
use portcullis::{Engine, NewApiToken, presets};
use portcullis_benches::data::Data;
use portcullis_sqlite::SqliteStore;
use tokio::runtime::{Builder, Runtime};

/// The engine, and the secret of a token that may do everything.
pub(crate) fn engine(data: Data, runtime: &Runtime) -> (Engine, String) {
    let file = file(data);
    runtime.block_on(async {
        let store = SqliteStore::open(file).unwrap();
        let engine = Engine::builder(store).build().await.unwrap();
        let new = NewApiToken::new(data.org(0), data.user(0), presets::operator());
        let token = engine.create_api_token(new).await.unwrap().1.expose().to_owned();
        (engine, token)
    })
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// The file of a closed store with the records and what they refer to.
fn file(data: Data) -> PathBuf {
    const NAME: &str = "portcullis.db";
    let directory = data.cached("http-2", |path| {
        let store = SqliteStore::open(path.join(NAME)).unwrap();
        let runtime = runtime();
        for batch in data.tenants().chain(data.batches()) {
            runtime.block_on(store.commit(batch)).unwrap();
        }
        runtime.block_on(store.close()).unwrap();
    });
    directory.unwrap().join(NAME)
}
