//! A server on a file with so many records, and the users, orgs and buckets that they refer to.

use std::path::PathBuf;
use std::sync::Arc;

use portcullis::store::Store;
use portcullis::{Engine, NewApiToken, presets};
use portcullis_benches::data::Data;
use portcullis_sqlite::SqliteStore;
use tokio::runtime::{Builder, Runtime};

use crate::server::Server;

pub(crate) struct World {
    pub(crate) data: Data,
    pub(crate) runtime: Runtime,
    pub(crate) engine: Engine,
    /// The secret of a token that may do everything.
    pub(crate) token: String,
    pub(crate) server: Server,
}

impl World {
    pub(crate) fn new(data: Data) -> Self {
        let file = file(data);
        let runtime = runtime();
        let (engine, token) = runtime.block_on(async {
            let store: Arc<dyn Store> = Arc::new(SqliteStore::open(file).unwrap());
            let engine = Engine::builder_on(store).build().await.unwrap();
            let new = NewApiToken {
                org: data.org(0),
                user: data.user(0),
                permissions: presets::operator(),
                description: String::new(),
            };
            let token = engine.create_api_token(new).await.unwrap().1.expose().to_owned();
            (engine, token)
        });
        let server = Server::start(portcullis_http::server_router(engine.clone()));
        Self { data, runtime, engine, token, server }
    }
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
