//! `/forward-auth` costs what reading a request and writing its response costs.

use std::borrow::Cow;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread;

use axum::Router;
use axum::extract;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::join_all;
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use portcullis::{Authorization, Permission, Resource};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::rounds::{Contender, rounds, thread_time, took};
use crate::table::{Row, nanos};
use crate::world::{Request, World, cheap, password, username};

const ROUNDS: usize = 15;
const CONNECTIONS: usize = 8;
const REQUESTS: usize = 4_000;

/// The number of the authorization that is presented.
const KNOWN: usize = 7;

/// On cache hits, `/forward-auth` reaches at least 0.9 of the rate of a bare route of axum, which
/// reads the same request and writes the same response without a decision.
pub(crate) fn forward_auth(table: &mut Vec<Row>) {
    let world = World::in_memory(1_000, cheap());
    world.warm_up(&world.requests(1_000));
    let authorization = world.authorizations[KNOWN].clone();
    let org = world.setup.org.id;
    let bucket = Resource::bucket(org, world.setup.buckets[0].id);
    let change = world.engine.set_permissions(authorization.id, vec![Permission::write(bucket)]);
    world.runtime.block_on(change).unwrap();
    let known = Request { username: username(KNOWN), password: password(KNOWN), resource: bucket };
    world.runtime.block_on(world.login(&known));

    let ours = Server::start(portcullis_http::ServerApi::new(world.engine.clone()).into_router());
    let bare = Server::start(bare_route(authorization));
    let client = Builder::new_current_thread().enable_all().build().unwrap();
    let permission = Permission::write(bucket).to_string();
    let permission = utf8_percent_encode(&permission, NON_ALPHANUMERIC);
    for (variant, target) in [
        ("permission=…", format!("/forward-auth?permission={permission}")),
        ("/write?db=…", "/forward-auth".to_owned()),
    ] {
        let mut ours = Client::connect(&ours, &client, &target);
        let mut bare = Client::connect(&bare, &client, &target);
        let what = format!("/forward-auth, {variant}, warm");
        let contenders: Vec<Contender<'_>> =
            vec![Box::new(|| ours.ask_all().0), Box::new(|| bare.ask_all().0)];
        let taken = rounds(ROUNDS, contenders);
        let rate = |contender| format!("{:.0} requests/s", 1e9 / taken.median(contender));
        let ratio = 1.0 / taken.ratio(0, 1);
        table.push(Row {
            what: what.clone(),
            figure: rate(0),
            peer: "a bare route of axum".to_owned(),
            peer_figure: rate(1),
            ratio,
            target: "at least 0.9".to_owned(),
            reached: ratio >= 0.9,
        });
        let contenders: Vec<Contender<'_>> =
            vec![Box::new(|| ours.ask_all().1), Box::new(|| bare.ask_all().1)];
        let taken = rounds(ROUNDS, contenders);
        table.push(Row {
            what: format!("{what}: the server's part"),
            figure: nanos(taken.median(0)),
            peer: "a bare route of axum".to_owned(),
            peer_figure: nanos(taken.median(1)),
            ratio: taken.ratio(0, 1),
            target: String::new(),
            reached: true,
        });
    }
}

/// A server on a thread of its own.
struct Server {
    address: SocketAddr,
    runtime: Handle,
}

impl Server {
    fn start(router: Router) -> Self {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                sender.send((listener.local_addr().unwrap(), Handle::current())).unwrap();
                let service = router.into_make_service_with_connect_info::<SocketAddr>();
                axum::serve(listener, service).await.unwrap();
            });
        });
        let (address, runtime) = receiver.recv().unwrap();
        Self { address, runtime }
    }
}

/// Connections that are kept, on each of which one request follows the other.
struct Client<'a> {
    server: &'a Server,
    runtime: &'a Runtime,
    request: http::Request<Empty<Bytes>>,
    connections: Vec<http1::SendRequest<Empty<Bytes>>>,
}

impl<'a> Client<'a> {
    /// Sends requests as nginx does: the client's target is in a header.
    fn connect(server: &'a Server, runtime: &'a Runtime, target: &str) -> Self {
        let credentials = format!("{}:{}", username(KNOWN), password(KNOWN));
        let request = http::Request::get(target)
            .header(header::HOST, "auth.example.org")
            .header(header::AUTHORIZATION, format!("Basic {}", BASE64_STANDARD.encode(credentials)))
            .header("x-original-uri", "/write?db=telemetry&precision=ns")
            .header("x-forwarded-for", "192.0.2.7")
            .header(header::USER_AGENT, "Telegraf/1.30.0")
            .body(Empty::new())
            .unwrap();
        let connect = async || {
            let stream = TcpStream::connect(server.address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            sender
        };
        let connections =
            runtime.block_on(async { join_all((0..CONNECTIONS).map(|_| connect())).await });
        Self { server, runtime, request, connections }
    }

    /// Sends [`REQUESTS`] requests; returns the time of one, and the share of the server's thread.
    fn ask_all(&mut self) -> (f64, f64) {
        let server_time = || {
            let time = self.server.runtime.spawn(async { thread_time() });
            self.runtime.block_on(time).unwrap()
        };
        let before = server_time();
        let connections = self.connections.iter_mut().map(async |connection| {
            for _ in 0..REQUESTS / CONNECTIONS {
                connection.ready().await.unwrap();
                let response = connection.send_request(self.request.clone()).await.unwrap();
                assert_eq!(response.status(), StatusCode::NO_CONTENT);
                assert!(response.headers().contains_key("x-portcullis-user"));
            }
        });
        let (nanos, _) = took(|| self.runtime.block_on(join_all(connections)));
        let server = (server_time() - before).as_nanos() as f64;
        (nanos / REQUESTS as f64, server / REQUESTS as f64)
    }
}

/// Reads what `/forward-auth` reads, and writes the response that it writes for a cache hit.
fn bare_route(authorization: Authorization) -> Router {
    let known = Arc::new(authorization);
    Router::new().route(
        "/forward-auth",
        any(move |request: extract::Request| {
            let known = Arc::clone(&known);
            async move {
                match black_box(read(&request)) {
                    Some(_) => respond(&known),
                    None => StatusCode::BAD_REQUEST.into_response(),
                }
            }
        }),
    )
}

/// Credentials, the client's target, and the permission that the proxy names.
type Read = (Vec<u8>, Option<String>, Option<Permission>);

fn read(request: &extract::Request) -> Option<Read> {
    let headers = request.headers();
    let uri = headers.get("x-original-uri")?.to_str().ok()?;
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let value = |query: &str, name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(its_name, _)| *its_name == name)?;
        percent_decode_str(value).decode_utf8().ok().map(Cow::into_owned)
    };
    let credentials = match (value(query, "u"), value(query, "p")) {
        (Some(username), Some(password)) => format!("{username}:{password}").into_bytes(),
        _ => {
            let basic =
                headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
            BASE64_STANDARD.decode(basic).ok()?
        }
    };
    let database = value(query, "db").filter(|_| path == "/write");
    let asked = value(request.uri().query().unwrap_or_default(), "permission");
    let asked = asked.map(|asked| asked.parse()).transpose().ok()?;
    Some((credentials, database, asked))
}

fn respond(known: &Authorization) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let mut insert = |name, value: String| {
        let value = HeaderValue::try_from(value).unwrap();
        response.headers_mut().insert(HeaderName::from_static(name), value);
    };
    insert("x-portcullis-authorization", known.id.to_string());
    insert("x-portcullis-org", known.org.to_string());
    insert("x-portcullis-user", known.user.to_string());
    let username = utf8_percent_encode(known.username.as_str(), NON_ALPHANUMERIC);
    insert("x-portcullis-username", username.to_string());
    response
}
