//! Clients that are slow, that come in crowds, and that send nothing.

mod eviction;
mod requests;
mod timeouts;
mod tls;

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::routing::{get, post};
use futures_util::{FutureExt, StreamExt, stream};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::*;
use crate::serve::tls::tests::{certificate, load};

/// Longer than any of these tests takes.
const NEVER: Duration = Duration::from_secs(300);

const SHORT: Duration = Duration::from_millis(100);

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

const PATIENT: Limits = Limits {
    connections: 8,
    handshake: NEVER,
    idle: NEVER,
    head: NEVER,
    head_bytes: 16 * 1024,
    write: NEVER,
    min_idle: Duration::ZERO,
    shutdown: NEVER,
};

/// A server that runs until its test ends it.
struct Server {
    address: SocketAddr,
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(limits: Limits, router: Router) -> Self {
        Self::start_with(limits, router, None).await
    }

    async fn start_with(limits: Limits, router: Router, tls: Option<Tls>) -> Self {
        let socket = listen_at("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let (end, ended) = oneshot::channel();
        let ended = async {
            ended.await.unwrap();
        };
        let listener = Listener { name: "test", socket, tls, router };
        let task = tokio::spawn(serve(listener, limits, ended));
        Self { address, end, task }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn end(self) {
        self.end.send(()).unwrap();
        self.task.await.unwrap();
    }
}

/// Returns a router that responds with "hello".
fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

/// Returns a router that notifies `begun` of each request, and responds when `gate` is notified.
fn gated(begun: &Arc<Notify>, gate: &Arc<Notify>) -> Router {
    let (begun, gate) = (Arc::clone(begun), Arc::clone(gate));
    let respond = async move || {
        begun.notify_one();
        gate.notified().await;
        "admitted"
    };
    Router::new().route("/", get(respond))
}

/// Sends a request and reads its response to the end.
async fn roundtrip(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> String {
    stream.write_all(REQUEST).await.unwrap();
    read_response(stream).await
}

async fn read_response(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut response = Vec::new();
    while !response.ends_with(b"hello") && !response.ends_with(b"admitted") {
        let read = stream.read_buf(&mut response).await.unwrap();
        assert_ne!(read, 0, "ended after {:?}", String::from_utf8_lossy(&response));
    }
    String::from_utf8(response).unwrap()
}

/// Reads to the end, which may be a reset.
async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    bytes
}

/// Returns a client that trusts the certificate.
fn connector(certificate: &rcgen::Certificate, protocols: &[&[u8]]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config).into()
}

fn localhost() -> ServerName<'static> {
    "localhost".try_into().unwrap()
}
