//! Databases, stores in them, records to put there.

use portcullis_postgres::PostgresStore;
use portcullis_testkit::postgres::{Database, server};

/// An empty database, where there is a server.
pub(crate) async fn database() -> Database {
    let made = tokio::task::spawn_blocking(|| server().expect("a server").database());
    made.await.unwrap()
}

pub(crate) async fn open(database: &Database) -> PostgresStore {
    PostgresStore::options().pool_size(8).open(database.url()).await.unwrap()
}
