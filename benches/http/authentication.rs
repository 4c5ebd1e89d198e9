//! How much of a warm request is authentication.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use portcullis::password::{HashParams, HashPoolConfig};
use portcullis::store::MemoryStore;
use portcullis::{Engine, Name, NewAuthorization, Permission, Resource, SetUp, Username};
use portcullis_benches::rounds::{Contender, median, rounds};
use portcullis_benches::table::{Row, nanos};
use portcullis_http::V1CredentialLayer;

use crate::engine::runtime;
use crate::server::{Connection, Server};

const ROUNDS: usize = 41;
const REQUESTS: usize = 2_048;

/// How many requests are sent at once. What it takes to wake a thread is many times what is to be found
/// out, and differs from round to round.
const AT_ONCE: usize = 32;

/// What a host pays for knowing who asks, of a processor: at most a microsecond a request.
pub(crate) fn authentication(rows: &mut Vec<Row>) {
    let runtime = runtime();
    let engine = runtime.block_on(engine());
    let route = || Router::new().route("/query", get(async || "{\"results\":[]}"));
    let known = Server::start(route().layer(V1CredentialLayer::new(engine)));
    let open = Server::start(route());
    let basic = BASE64_STANDARD.encode("telegraf:s3cret-of-telegraf");
    let requests = [
        ("Basic", "", format!("Authorization: Basic {basic}\r\n")),
        ("u and p", "&u=telegraf&p=s3cret-of-telegraf", String::new()),
    ];
    for (scheme, in_query, header) in requests {
        let request = format!(
            "GET /query?q=SHOW+DATABASES{in_query} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n"
        );
        let (mut one, mut other) = (known.connect(), open.connect());
        let contenders: Vec<Contender<'_>> = vec![
            Box::new(|| servers_part(&known, &mut one, &request)),
            Box::new(|| servers_part(&open, &mut other, &request)),
        ];
        let taken = rounds(ROUNDS, contenders);
        let (with, without) = (taken.median(0), taken.median(1));
        let share = median(&taken.differences(0, 1));
        rows.push(Row {
            what: format!("authentication's part of a warm request, {scheme}, the server's thread"),
            figure: nanos(share),
            peer: "the whole with and without".to_owned(),
            peer_figure: format!("{} and {}", nanos(with), nanos(without)),
            ratio: f64::NAN,
            target: "at most 1 µs".to_owned(),
            reached: share <= 1_000.0,
        });
    }
}

/// What one request takes of the server's thread.
fn servers_part(server: &Server, connection: &mut Connection, request: &str) -> f64 {
    let length = connection.ask(request);
    let requests = request.repeat(AT_ONCE);
    let before = server.time();
    (0..REQUESTS / AT_ONCE).for_each(|_| connection.ask_many(&requests, AT_ONCE * length));
    (server.time() - before).as_nanos() as f64 / REQUESTS as f64
}

async fn engine() -> Engine {
    let mut hashing = HashPoolConfig::default();
    hashing.params = HashParams::new(8, 1, 1).unwrap();
    let store = Arc::new(MemoryStore::new().unwrap());
    let engine = Engine::builder_on(store).hashing(hashing).build().await.unwrap();
    let name = |text| Name::new(text).unwrap();
    let set_up = SetUp { org: name("acme"), user: name("ada"), buckets: vec![name("telemetry")] };
    let set_up = engine.set_up(set_up).await.unwrap();
    let org = set_up.org.id;
    let may = Permission::write(Resource::bucket(org, set_up.buckets[0].id));
    let new = NewAuthorization::new(Username::new("telegraf").unwrap(), org, [may]);
    let authorization = engine.create_authorization(new.for_user(set_up.user.id)).await.unwrap();
    engine.set_password(authorization.id, "s3cret-of-telegraf").await.unwrap();
    engine
}
