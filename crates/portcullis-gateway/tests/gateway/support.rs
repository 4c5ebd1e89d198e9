//! A gateway on a socket, an upstream that follows a script, and a client that sends bytes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use portcullis::password::{HashParams, HashPoolConfig};
use portcullis::store::MemoryStore;
use portcullis::{
    AuditEvent, AuditSink, Engine, Name, NewAuthorization, Org, Permission, Resource, ResourceType,
    User, Username,
};
use portcullis_gateway::{Gateway, GatewayService, Upstream};
use portcullis_http::ClientAddressLayer;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tower_layer::Layer as _;

pub(crate) const PASSWORD: &str = "s3cret-enough";
const PATIENCE: Duration = Duration::from_secs(20);

/// A request as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the body has ended as its length or its chunks say.
    pub(crate) is_complete: bool,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(own, _)| own == name);
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} is there twice: {:?}", self.headers);
        value
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// What the upstream does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// It sends these bytes and keeps the connection.
    Send(String),
    /// It sends these bytes and closes the connection.
    SendAndClose(String),
    /// It sends nothing, and keeps the connection.
    Nothing,
    /// It closes the connection, and does so before it has read the body.
    CloseAtOnce,
}

pub(crate) fn respond(status: &str, headers: &str, body: &str) -> Act {
    let length = body.len();
    Act::Send(format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"))
}

pub(crate) fn no_content() -> Act {
    Act::Send("HTTP/1.1 204 No Content\r\nX-Influxdb-Version: 1.6.7\r\n\r\n".to_owned())
}

/// An upstream that follows a script.
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    act: Arc<Mutex<Act>>,
}

impl Script {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script =
            Self { address, received: Arc::default(), act: Arc::new(Mutex::new(no_content())) };
        let running = script.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(running.clone().serve(stream));
            }
        });
        script
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        while let Some(head) = read_head(&mut stream, &mut buffer).await {
            let act = self.act.lock().unwrap().clone();
            let mut request = head;
            if let Act::CloseAtOnce = act {
                self.received.lock().unwrap().push(request);
                return;
            }
            request.is_complete = read_body(&mut stream, &mut buffer, &mut request).await;
            let is_complete = request.is_complete;
            self.received.lock().unwrap().push(request);
            if !is_complete {
                return;
            }
            match act {
                Act::Send(text) => stream.write_all(text.as_bytes()).await.unwrap(),
                Act::SendAndClose(text) => {
                    stream.write_all(text.as_bytes()).await.unwrap();
                    return;
                }
                Act::Nothing => std::future::pending().await,
                Act::CloseAtOnce => return,
            }
        }
    }

    pub(crate) fn will(&self, act: Act) {
        *self.act.lock().unwrap() = act;
    }

    /// Takes the requests that it has received since the last time.
    pub(crate) fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.received.lock().unwrap())
    }

    /// Takes the one request that it has received.
    #[track_caller]
    pub(crate) fn take_one(&self) -> Received {
        let mut received = self.take();
        assert_eq!(received.len(), 1, "{received:?}");
        received.remove(0)
    }
}

async fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> bool {
    let mut part = vec![0; 65_536];
    match stream.read(&mut part).await {
        Ok(0) | Err(_) => false,
        Ok(count) => {
            buffer.extend_from_slice(&part[..count]);
            true
        }
    }
}

async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Received> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|part| part == b"\r\n\r\n") {
            break end;
        }
        if !fill(stream, buffer).await {
            return None;
        }
    };
    let head: Vec<u8> = buffer.drain(..end + 4).collect();
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    });
    Some(Received {
        method: first.next().unwrap().to_owned(),
        target: first.next().unwrap().to_owned(),
        headers: headers.collect(),
        body: Vec::new(),
        is_complete: false,
    })
}

async fn read_body(stream: &mut TcpStream, buffer: &mut Vec<u8>, request: &mut Received) -> bool {
    if request.header("transfer-encoding").is_some() {
        loop {
            let Some(end) = buffer.windows(2).position(|part| part == b"\r\n") else {
                if !fill(stream, buffer).await {
                    return false;
                }
                continue;
            };
            let length = std::str::from_utf8(&buffer[..end]).unwrap();
            let length = usize::from_str_radix(length, 16).unwrap();
            while buffer.len() < end + 4 + length {
                if !fill(stream, buffer).await {
                    return false;
                }
            }
            request.body.extend_from_slice(&buffer[end + 2..end + 2 + length]);
            buffer.drain(..end + 4 + length);
            if length == 0 {
                return true;
            }
        }
    }
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    while buffer.len() < length {
        if !fill(stream, buffer).await {
            return false;
        }
    }
    request.body = buffer.drain(..length).collect();
    true
}

/// The audit events, as JSON.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<String>>>);

impl AuditSink for Events {
    fn record(&self, event: &AuditEvent<'_>) {
        self.0.lock().unwrap().push(serde_json::to_string(event).unwrap());
    }
}

impl Events {
    /// Returns those about queries.
    pub(crate) fn of_queries(&self) -> Vec<String> {
        let events = self.0.lock().unwrap();
        events.iter().filter(|event| event.contains("\"query\"")).cloned().collect()
    }
}

/// A gateway with credentials: `reader` and `writer` of `telemetry`, `both`, `other` (reads `events`),
/// `none`, and `all`, which may read and write every bucket.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) script: Script,
    pub(crate) events: Events,
    pub(crate) engine: Engine,
    pub(crate) org: Org,
    pub(crate) gateway: GatewayService,
    user: User,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|gateway| gateway, |upstream| upstream).await
    }

    pub(crate) async fn with(
        configure: impl FnOnce(Gateway) -> Gateway,
        configure_upstream: impl FnOnce(Upstream) -> Upstream,
    ) -> Self {
        let script = Script::start().await;
        let upstream = Upstream::new(&format!("http://{}", script.address)).unwrap();
        let upstream =
            configure_upstream(upstream.password("portcullis", "upstream-s3cret").unwrap());
        Self::before(script, upstream, configure).await
    }

    pub(crate) async fn before(
        script: Script,
        upstream: Upstream,
        configure: impl FnOnce(Gateway) -> Gateway,
    ) -> Self {
        let events = Events::default();
        let hashing =
            HashPoolConfig::default().params(HashParams::new(8, 1, 1).unwrap()).threads(1);
        let engine = Engine::builder(MemoryStore::new().unwrap())
            .hashing(hashing)
            .audit(events.clone())
            .build()
            .await
            .unwrap();
        let name = |text| Name::new(text).unwrap();
        let org = engine.create_org(name("acme")).await.unwrap();
        let user = engine.create_user(name("ada")).await.unwrap();
        let telemetry = engine.create_bucket(org.id, name("telemetry")).await.unwrap();
        let events_bucket = engine.create_bucket(org.id, name("events")).await.unwrap();
        engine.create_bucket(org.id, name("hidden")).await.unwrap();
        let gateway = configure(Gateway::new(engine.clone(), upstream)).into_service().unwrap();
        let service = ClientAddressLayer::new([]).layer(gateway.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback_service(service);
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let world = Self { address, script, events, engine, org, gateway, user };
        let bucket = |id| Resource::bucket(world.org.id, id);
        let (read, write) = (Permission::read, Permission::write);
        let buckets = || Resource::all(ResourceType::Buckets).in_org(world.org.id);
        for (username, permissions) in [
            ("reader", vec![read(bucket(telemetry.id))]),
            ("writer", vec![write(bucket(telemetry.id))]),
            ("both", vec![read(bucket(telemetry.id)), write(bucket(telemetry.id))]),
            ("other", vec![read(bucket(events_bucket.id))]),
            ("none", vec![read(Resource::all(ResourceType::Users).in_org(world.org.id))]),
            ("all", vec![read(buckets()), write(buckets())]),
        ] {
            world.authorize(username, permissions).await;
        }
        world
    }

    pub(crate) async fn authorize(&self, username: &str, permissions: Vec<Permission>) {
        let new = NewAuthorization::new(Username::new(username).unwrap(), self.org.id, permissions);
        let made = self.engine.create_authorization(new.for_user(self.user.id)).await.unwrap();
        self.engine.set_password(made.id, PASSWORD).await.unwrap();
    }

    /// Sends the bytes, and returns the response.
    pub(crate) async fn send(&self, request: &str) -> Answer {
        self.send_bytes(request.as_bytes()).await
    }

    pub(crate) async fn send_bytes(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        Answer::read(&mut stream).await
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends a request as this user, on a connection of its own.
    pub(crate) async fn call(
        &self,
        username: &str,
        method: &str,
        target: &str,
        headers: &str,
        body: &str,
    ) -> Answer {
        let length = body.len();
        self.send(&format!(
            "{method} {target} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nAuthorization: Token \
             {username}:{PASSWORD}\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        ))
        .await
    }

    pub(crate) async fn get(&self, username: &str, target: &str) -> Answer {
        self.call(username, "GET", target, "", "").await
    }

    pub(crate) async fn post(&self, username: &str, target: &str, body: &str) -> Answer {
        self.call(username, "POST", target, "", body).await
    }

    /// Sends a query in a form.
    pub(crate) async fn query(&self, username: &str, form: &str) -> Answer {
        let form_type = "Content-Type: application/x-www-form-urlencoded\r\n";
        self.call(username, "POST", "/query", form_type, form).await
    }
}

/// A response.
#[derive(Debug)]
pub(crate) struct Answer {
    /// 0 if the connection was closed before any.
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether it has ended as its length or its chunks say.
    pub(crate) is_complete: bool,
}

impl Answer {
    pub(crate) async fn read(stream: &mut TcpStream) -> Self {
        timeout(PATIENCE, Self::read_whole(stream)).await.expect("a response in time")
    }

    async fn read_whole(stream: &mut TcpStream) -> Self {
        let mut buffer = Vec::new();
        let Some(mut head) = read_head(stream, &mut buffer).await else {
            assert!(buffer.is_empty(), "half a head: {:?}", String::from_utf8_lossy(&buffer));
            return Self { status: 0, headers: Vec::new(), body: buffer, is_complete: false };
        };
        let status = head.target.parse().unwrap();
        let has_length =
            head.header("transfer-encoding").or_else(|| head.header("content-length")).is_some();
        let is_complete = match has_length || matches!(status, 100 | 204) {
            true => read_body(stream, &mut buffer, &mut head).await,
            false => {
                while fill(stream, &mut buffer).await {}
                head.body = buffer;
                true
            }
        };
        Self { status, headers: head.headers, body: head.body, is_complete }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Asserts that it is an error in the form that v1 clients read, and returns its message.
    #[track_caller]
    pub(crate) fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(body["error"], body["message"]);
        assert_eq!(self.header("retry-after").is_some(), matches!(status, 429 | 503), "{self:?}");
        body["error"].as_str().unwrap().to_owned()
    }
}
