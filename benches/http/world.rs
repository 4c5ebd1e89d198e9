//! A server on a file with so many records, and the users, orgs and buckets that they refer to.

use portcullis::Engine;
use portcullis_benches::data::Data;
use portcullis_http::ServerApi;
use tokio::runtime::Runtime;

use crate::engine::{engine, runtime};
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
        let runtime = runtime();
        let (engine, token) = engine(data, &runtime);
        let server = Server::start(ServerApi::new(engine.clone()).into_router());
        Self { data, runtime, engine, token, server }
    }
}
