//! How much of a warm request is authentication.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::ready;
use std::hint::black_box;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::FutureExt as _;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use portcullis::password::{HashParams, HashPoolConfig};
use portcullis::store::MemoryStore;
use portcullis::{Engine, Name, NewAuthorization, Permission, Resource, Setup, Username};
use portcullis_benches::rounds::{Contender, Rounds, median, on_this_thread, rounds};
use portcullis_benches::table::{Row, nanos};
use portcullis_http::V1CredentialLayer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::runtime::{Builder, Runtime};
use tower::{Layer as _, Service, service_fn};

use crate::engine::runtime;

const ROUNDS: usize = 301;

/// How many requests come at once, and how often in a round.
const AT_ONCE: usize = 32;
const BATCHES: usize = 32;

/// How often the layer alone is called in a round.
const CALLS: usize = 10_000;

const TARGET: f64 = 1_000.0;

const PATH: &str = "/query";

const ANSWER: &str = "{\"results\":[]}";

/// The processor time that a host pays for authentication: at most a microsecond a request.
///
/// Without sockets, on one thread. How often the system has to wake a client depends on how long each
/// answer takes, and costs more than what is to be found out.
pub(crate) fn authentication(rows: &mut Vec<Row>) {
    let layer = V1CredentialLayer::new(runtime().block_on(engine()));
    let basic = format!("Basic {}", BASE64_STANDARD.encode("telegraf:s3cret-of-telegraf"));
    for (scheme, in_query, header) in
        [("Basic", "", Some(basic)), ("u and p", "&u=telegraf&p=s3cret-of-telegraf", None)]
    {
        let query = format!("q=SHOW+DATABASES{in_query}");
        let presented = Presented { query, header };
        for (how, taken) in [
            ("in a router", through_servers(|server| server.layer(layer.clone()), &presented)),
            ("around a router", through_servers(|server| layer.layer(server), &presented)),
            ("the layer alone", alone(&layer, &presented)),
        ] {
            rows.push(share(&format!("a warm request, {scheme}, {how}"), &taken));
        }
    }
}

/// A request with its credentials.
struct Presented {
    query: String,
    /// The value of `Authorization`.
    header: Option<String>,
}

/// With all that a server of axum does with a request, on a pipe in memory: what is protected beside
/// what is open to all.
fn through_servers<S>(
    protect: impl Fn(Router) -> S,
    Presented { query, header }: &Presented,
) -> Rounds
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let header = header.as_deref();
    let header = header.map_or(String::new(), |value| format!("Authorization: {value}\r\n"));
    let request = format!("GET {PATH}?{query} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n");
    let requests = request.repeat(AT_ONCE);
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let open = Router::new().route(PATH, get(async || ANSWER));
    let clients = [serve(&runtime, protect(open.clone())), serve(&runtime, open)].map(RefCell::new);
    let (requests, runtime) = (&requests, &runtime);
    let contenders = clients.each_ref().map(|client| -> Contender<'_> {
        let mut responses = vec![0; 64 * 1_024];
        let length = runtime.block_on(first(&mut client.borrow_mut(), &request, &mut responses));
        responses.truncate(length * AT_ONCE);
        Box::new(move || {
            let client = &mut *client.borrow_mut();
            let mut send_batch = || {
                runtime.block_on(async {
                    client.write_all(requests.as_bytes()).await.unwrap();
                    client.read_exact(&mut responses).await.unwrap();
                });
            };
            on_this_thread(BATCHES, &mut send_batch) / AT_ONCE as f64
        })
    });
    rounds(ROUNDS, contenders.into())
}

/// Serves one connection, and returns the client's end.
fn serve<S>(runtime: &Runtime, service: S) -> DuplexStream
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let (client, server) = tokio::io::duplex(64 * 1_024);
    let service = TowerToHyperService::new(service);
    runtime.spawn(http1::Builder::new().serve_connection(TokioIo::new(server), service));
    client
}

/// Asks once and returns how long the answer is.
///
/// # Panics
///
/// When it is not the right one.
async fn first(client: &mut DuplexStream, request: &str, response: &mut [u8]) -> usize {
    client.write_all(request.as_bytes()).await.unwrap();
    let mut length = 0;
    while !response[..length].ends_with(ANSWER.as_bytes()) {
        let read = client.read(&mut response[length..]).await.unwrap();
        assert!(read > 0, "the connection was closed");
        length += read;
    }
    assert!(response.starts_with(b"HTTP/1.1 200 OK\r\n"));
    length
}

/// The layer around a service that answers at once: no sockets, whose noise is larger than what is
/// looked for.
fn alone(layer: &V1CredentialLayer, Presented { query, header }: &Presented) -> Rounds {
    let response =
        service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(Bytes::new()))));
    let uri: Uri = format!("{PATH}?{query}").parse().unwrap();
    let header = header.as_deref().map(|value| HeaderValue::from_str(value).unwrap());
    let request = || {
        let mut request = Request::new(());
        *request.uri_mut() = uri.clone();
        if let Some(value) = &header {
            request.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        request
    };
    let mut behind_it = layer.layer(response);
    rounds(
        ROUNDS,
        vec![
            Box::new(|| {
                on_this_thread(CALLS, || {
                    let response = behind_it.call(request()).now_or_never().unwrap().unwrap();
                    assert_eq!(black_box(response).status(), StatusCode::OK);
                })
            }),
            Box::new(|| {
                on_this_thread(CALLS, || {
                    let response =
                        response.clone().call(request()).now_or_never().unwrap().unwrap();
                    assert_eq!(black_box(response).status(), StatusCode::OK);
                })
            }),
        ],
    )
}

/// What the first needs more than the second.
fn share(of: &str, taken: &Rounds) -> Row {
    let share = median(&taken.differences(0, 1));
    Row {
        what: format!("authentication's part of {of}"),
        figure: nanos(share),
        peer: "the whole with and without".to_owned(),
        peer_figure: format!("{} and {}", nanos(taken.median(0)), nanos(taken.median(1))),
        ratio: f64::NAN,
        target: "at most 1 µs".to_owned(),
        reached: share <= TARGET,
    }
}

async fn engine() -> Engine {
    let hashing = HashPoolConfig::default().params(HashParams::new(8, 1, 1).unwrap());
    let store = Arc::new(MemoryStore::new().unwrap());
    let engine = Engine::builder(store).hashing(hashing).build().await.unwrap();
    let name = |text| Name::new(text).unwrap();
    let setup = Setup { org: name("acme"), user: name("ada"), buckets: vec![name("telemetry")] };
    let setup = engine.setup(setup).await.unwrap();
    let org = setup.org.id;
    let may = Permission::write(Resource::bucket(org, setup.buckets[0].id));
    let new = NewAuthorization::new(Username::new("telegraf").unwrap(), org, [may]);
    let authorization = engine.create_authorization(new.for_user(setup.user.id)).await.unwrap();
    engine.set_password(authorization.id, "s3cret-of-telegraf").await.unwrap();
    engine
}
