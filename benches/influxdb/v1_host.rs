//! A host that answers `SHOW DATABASES`, and does so with `--auth` only to whom it knows.
//!
//! `run.py` here starts it beside InfluxDB. It says its address in its first line, and ends when it
//! is told to.

use std::env;
use std::io::Write;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use portcullis::store::MemoryStore;
use portcullis::{Engine, Name, NewAuthorization, Permission, Resource, SetUp, Username};
use portcullis_http::V1CredentialLayer;
use tokio::net::TcpListener;

/// What InfluxDB answers where there is one database.
const ANSWER: &str = "{\"results\":[{\"statement_id\":0,\"series\":[{\"name\":\"databases\",\
                      \"columns\":[\"name\"],\"values\":[[\"_internal\"],[\"telemetry\"]]}]}]}\n";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut router = Router::new().route("/query", get(async || ANSWER));
        if env::args().any(|argument| argument == "--auth") {
            router = router.layer(V1CredentialLayer::new(engine().await));
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        std::io::stdout().flush().unwrap();
        axum::serve(listener, router).await.unwrap();
    });
}

/// One who is known, as in InfluxDB, and hashed at the default cost.
async fn engine() -> Engine {
    let store = Arc::new(MemoryStore::new().unwrap());
    let engine = Engine::builder_on(store).build().await.unwrap();
    let name = |text| Name::new(text).unwrap();
    let set_up = SetUp { org: name("acme"), user: name("ada"), buckets: vec![name("telemetry")] };
    let set_up = engine.set_up(set_up).await.unwrap();
    let org = set_up.org.id;
    let may = Permission::read(Resource::bucket(org, set_up.buckets[0].id));
    let new = NewAuthorization::new(Username::new("telegraf").unwrap(), org, [may]);
    let authorization = engine.create_authorization(new.for_user(set_up.user.id)).await.unwrap();
    engine.set_password(authorization.id, "s3cret-of-telegraf").await.unwrap();
    engine
}
