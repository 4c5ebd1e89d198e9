//! A host that serves `SHOW DATABASES`: on one address with authentication, on another without.
//!
//! `run.py` here starts it beside InfluxDB. It prints the addresses in its first lines, and ends on a
//! signal. `run.py` starts two, and uses both addresses of each in turn: two processes of one program
//! differ by more than the layer costs, since each has its memory elsewhere.

use std::io::Write;
use std::sync::Arc;

use axum::extract::Request;
use axum::routing::get;
use axum::{Router, ServiceExt};
use portcullis::store::MemoryStore;
use portcullis::{Engine, Name, NewAuthorization, Permission, Resource, Setup, Username};
use portcullis_http::V1CredentialLayer;
use tokio::net::TcpListener;
use tower_layer::Layer as _;

/// InfluxDB's response where there is one database.
const ANSWER: &str = "{\"results\":[{\"statement_id\":0,\"series\":[{\"name\":\"databases\",\
                      \"columns\":[\"name\"],\"values\":[[\"_internal\"],[\"telemetry\"]]}]}]}\n";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let open = Router::new().route("/query", get(async || ANSWER));
        // All of it is protected, so the layer is around the router and not around each route.
        let protected = V1CredentialLayer::new(engine().await).layer(open.clone());
        let protected = ServiceExt::<Request>::into_make_service(protected);
        let listeners = [listener().await, listener().await];
        for listener in &listeners {
            println!("{}", listener.local_addr().unwrap());
        }
        std::io::stdout().flush().unwrap();
        let [with, without] = listeners;
        let (protected, open) = (axum::serve(with, protected), axum::serve(without, open));
        tokio::try_join!(protected.into_future(), open.into_future()).unwrap();
    });
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// An engine with one credential, as in InfluxDB, hashed at the default cost.
async fn engine() -> Engine {
    let store = Arc::new(MemoryStore::new().unwrap());
    let engine = Engine::builder(store).build().await.unwrap();
    let name = |text| Name::new(text).unwrap();
    let setup = Setup { org: name("acme"), user: name("ada"), buckets: vec![name("telemetry")] };
    let setup = engine.setup(setup).await.unwrap();
    let org = setup.org.id;
    let may = Permission::read(Resource::bucket(org, setup.buckets[0].id));
    let new = NewAuthorization::new(Username::new("telegraf").unwrap(), org, [may]);
    let authorization = engine.create_authorization(new.for_user(setup.user.id)).await.unwrap();
    engine.set_password(authorization.id, "s3cret-of-telegraf").await.unwrap();
    engine
}
