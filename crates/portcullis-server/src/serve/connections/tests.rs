//! Clients that take their time, come in crowds or say nothing.

use std::sync::Arc;
use std::time::Instant;

use axum::routing::{get, post};
use futures_util::{FutureExt, stream};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::*;
use crate::serve::tls::tests::{certificate, load};

/// Too long for any of these tests.
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
    stay: Duration::ZERO,
    grace: NEVER,
};

/// A server that runs until it is told to end.
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

/// Says hello.
fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

/// Answers when it is let.
fn gated(begun: &Arc<Notify>, gate: &Arc<Notify>) -> Router {
    let (begun, gate) = (Arc::clone(begun), Arc::clone(gate));
    let answer = async move || {
        begun.notify_one();
        gate.notified().await;
        "let through"
    };
    Router::new().route("/", get(answer))
}

/// Sends a request and reads its answer to the end.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> String {
    stream.write_all(REQUEST).await.unwrap();
    answer(stream).await
}

async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") && !answer.ends_with(b"let through") {
        let read = stream.read_buf(&mut answer).await.unwrap();
        assert_ne!(read, 0, "ended after {:?}", String::from_utf8_lossy(&answer));
    }
    String::from_utf8(answer).unwrap()
}

/// Reads to the end, which may be a reset.
async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    rest
}

#[tokio::test]
async fn what_does_not_finish_is_cut_off() {
    let (begun, gate) = (Arc::default(), Arc::default());
    let limits = Limits { grace: SHORT, ..PATIENT };
    let server = Server::start(limits, gated(&begun, &gate)).await;
    let address = server.address;
    let mut client = server.connect().await;
    client.write_all(REQUEST).await.unwrap();
    begun.notified().await;

    let before = Instant::now();
    server.end().await;
    assert!(before.elapsed() >= SHORT, "it was not waited for");
    assert!(TcpStream::connect(address).await.is_err(), "it still listens");
}

#[tokio::test]
async fn half_a_head_is_given_up() {
    let limits = Limits { head: SHORT, ..PATIENT };
    let server = Server::start(limits, hello()).await;
    let mut client = server.connect().await;
    // A wait without a byte does not count, and neither does the request before.
    ask(&mut client).await;
    sleep(2 * SHORT).await;
    ask(&mut client).await;

    let before = Instant::now();
    client.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    assert_eq!(rest(&mut client).await, b"");
    assert!(before.elapsed() >= SHORT);

    // One byte at a time is no way around it.
    let mut client = server.connect().await;
    let drip = async {
        while client.write_all(b"x").await.is_ok() {
            sleep(SHORT / 10).await;
        }
    };
    timeout(NEVER, drip).await.unwrap();
    server.end().await;
}

#[tokio::test]
async fn who_waits_too_long_with_a_request_is_closed() {
    // Long enough for a request on a machine that is busy.
    let limits = Limits { idle: 10 * SHORT, ..PATIENT };
    let server = Server::start(limits, hello()).await;
    let mut silent = server.connect().await;
    assert_eq!(rest(&mut silent).await, b"");
    let mut once = server.connect().await;
    ask(&mut once).await;
    assert_eq!(rest(&mut once).await, b"");
    server.end().await;
}

/// An answer without end, and what is told when it is given up.
fn endless() -> (Router, Arc<Notify>) {
    struct Told(Arc<Notify>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }

    let dropped = Arc::new(Notify::new());
    let told = Arc::clone(&dropped);
    let endless = async move || {
        let told = Told(told);
        Body::from_stream(stream::repeat_with(move || {
            let _ = &told;
            Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 16 * 1024]))
        }))
    };
    (Router::new().route("/", get(endless)), dropped)
}

#[tokio::test]
async fn who_reads_nothing_of_a_large_answer_is_given_up() {
    let (router, dropped) = endless();
    let server = Server::start(Limits { write: SHORT, ..PATIENT }, router).await;
    let mut client = server.connect().await;
    client.write_all(REQUEST).await.unwrap();
    dropped.notified().await;
    assert!(rest(&mut client).await.starts_with(b"HTTP/1.1 200 OK"));
    server.end().await;
}

#[tokio::test]
async fn a_client_that_reads_slowly_is_not_given_up() {
    let (router, dropped) = endless();
    let server = Server::start(Limits { write: 20 * SHORT, ..PATIENT }, router).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let mut client = socket.connect(server.address).await.unwrap();
    client.write_all(REQUEST).await.unwrap();
    let mut some = vec![0; 32 * 1024];
    for _ in 0..50 {
        client.read_exact(&mut some).await.unwrap();
        sleep(SHORT).await;
    }
    assert!(dropped.notified().now_or_never().is_none(), "given up");
    drop(client);
    server.end().await;
}

#[tokio::test]
async fn at_the_limit_who_waits_makes_room() {
    let limits = Limits { connections: 2, ..PATIENT };
    let server = Server::start(limits, hello()).await;
    let mut first = server.connect().await;
    ask(&mut first).await;
    let mut second = server.connect().await;
    ask(&mut second).await;
    ask(&mut first).await;

    let mut third = server.connect().await;
    ask(&mut third).await;
    assert_eq!(rest(&mut second).await, b"", "it has waited longest");
    ask(&mut first).await;
    ask(&mut third).await;
    server.end().await;
}

/// Has as many as three times the places opened at once, and again when they are closed, while others
/// connect and ask. Each must be answered within a second, although a place is free only when one
/// is closed.
async fn is_held_against<F>(
    opening: impl Fn(TcpStream) -> F + Clone + Send + 'static,
    tls: Option<(Tls, TlsConnector)>,
    router: Router,
) where
    F: Future<Output = ()> + Send,
{
    let limits = Limits { connections: 8, stay: SHORT, ..PATIENT };
    let (tls, connector) = tls.unzip();
    let server = Server::start_with(limits, router, tls).await;
    let address = server.address;
    let crowd: Vec<_> = (0..24)
        .map(|_| {
            let opening = opening.clone();
            tokio::spawn(async move {
                while let Ok(stream) = TcpStream::connect(address).await {
                    opening(stream).await;
                }
            })
        })
        .collect();
    sleep(2 * SHORT).await;
    for _ in 0..10 {
        let asks = async {
            let mut stream = server.connect().await;
            match &connector {
                None => ask(&mut stream).await,
                Some(connector) => {
                    ask(&mut connector.connect(localhost(), stream).await.unwrap()).await
                }
            }
        };
        timeout(Duration::from_secs(1), asks).await.expect("others are kept out");
    }
    crowd.into_iter().for_each(|member| member.abort());
    server.end().await;
}

async fn send(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) {
    let _ = stream.write_all(bytes).await;
    rest(&mut stream).await;
}

#[tokio::test]
async fn a_crowd_with_half_a_head_keeps_no_client_out() {
    is_held_against(|stream| send(stream, b"GET / HT"), None, hello()).await;
}

#[tokio::test]
async fn a_crowd_with_half_a_second_head_keeps_no_client_out() {
    const REQUESTS: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT";
    is_held_against(|stream| send(stream, REQUESTS), None, hello()).await;
}

#[tokio::test]
async fn a_crowd_with_slow_bodies_keeps_no_client_out() {
    const BODY: &[u8] = b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx";
    let length = async |body: Bytes| format!("{} bytes", body.len());
    let router = hello().route("/length", post(length));
    is_held_against(|stream| send(stream, BODY), None, router).await;
}

#[tokio::test]
async fn a_crowd_that_reads_no_answers_keeps_no_client_out() {
    let large = get(async || vec![b'x'; 16 << 20]);
    let unread = |mut stream: TcpStream| async move {
        let _ = stream.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await;
        while stream.write_all(b"x").await.is_ok() {
            sleep(SHORT / 10).await;
        }
    };
    is_held_against(unread, None, hello().route("/large", large)).await;
}

#[tokio::test]
async fn a_crowd_with_half_a_handshake_or_head_over_tls_keeps_no_client_out() {
    let certificate = certificate();
    let (_directory, tls, _reloader) = load(&certificate);
    let trusting = || Some((tls.clone(), connector(&certificate.cert, &[])));
    let half = b"\x16\x03\x01\x02\x00\x01";
    is_held_against(|stream| send(stream, half), trusting(), hello()).await;

    let client = connector(&certificate.cert, &[]);
    let half_head = move |stream| {
        let client = client.clone();
        async move {
            if let Ok(stream) = client.connect(localhost(), stream).await {
                send(stream, b"GET / HT").await;
            }
        }
    };
    is_held_against(half_head, trusting(), hello()).await;
}

#[tokio::test]
async fn an_authenticated_client_keeps_its_connection_while_strangers_crowd() {
    let user = get(async || ([("x-portcullis-user", "1")], "hello"));
    let limits = Limits { connections: 4, stay: SHORT, ..PATIENT };
    let server = Server::start(limits, hello().route("/forward-auth", user)).await;
    let mut client = server.connect().await;
    client.write_all(b"GET /forward-auth HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    answer(&mut client).await;
    for _ in 0..10 {
        let mut stranger = server.connect().await;
        ask(&mut stranger).await;
        tokio::spawn(async move { rest(&mut stranger).await });
    }
    ask(&mut client).await;
    server.end().await;
}

#[tokio::test]
async fn a_connection_that_has_just_come_is_not_closed() {
    let limits = Limits { connections: 1, stay: 3 * SHORT, ..PATIENT };
    let server = Server::start(limits, hello()).await;
    let mut first = server.connect().await;
    let mut second = server.connect().await;
    second.write_all(REQUEST).await.unwrap();
    sleep(SHORT).await;
    let before = Instant::now();
    ask(&mut first).await;
    answer(&mut second).await;
    assert!(before.elapsed() >= 2 * SHORT, "a request is a new beginning");
    assert_eq!(rest(&mut first).await, b"");
    server.end().await;
}

#[tokio::test]
async fn at_the_limit_who_works_is_waited_for() {
    let (begun, gate) = (Arc::default(), Arc::default());
    let limits = Limits { connections: 1, ..PATIENT };
    let server = Server::start(limits, gated(&begun, &gate)).await;
    let mut first = server.connect().await;
    first.write_all(REQUEST).await.unwrap();
    begun.notified().await;
    let mut second = server.connect().await;
    second.write_all(REQUEST).await.unwrap();
    assert!(timeout(SHORT, begun.notified()).await.is_err(), "more than the limit at once");

    gate.notify_one();
    answer(&mut first).await;
    begun.notified().await;
    gate.notify_one();
    answer(&mut second).await;
    assert_eq!(rest(&mut first).await, b"");
    server.end().await;
}

#[tokio::test]
async fn whoever_waits_for_a_place_does_not_hold_up_the_end() {
    let (begun, gate) = (Arc::default(), Arc::default());
    let limits = Limits { connections: 1, ..PATIENT };
    let server = Server::start(limits, gated(&begun, &gate)).await;
    let mut first = server.connect().await;
    first.write_all(REQUEST).await.unwrap();
    begun.notified().await;
    let mut second = server.connect().await;
    server.end.send(()).unwrap();
    assert_eq!(rest(&mut second).await, b"");
    gate.notify_one();
    answer(&mut first).await;
    server.task.await.unwrap();
}

#[tokio::test]
async fn routes_are_told_who_the_peer_is() {
    let peer = get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| format!("{peer} hello"));
    let server = Server::start(PATIENT, Router::new().route("/", peer)).await;
    let mut client = server.connect().await;
    let expected = format!("\r\n\r\n{} hello", client.local_addr().unwrap());
    assert!(ask(&mut client).await.ends_with(&expected));
    server.end().await;
}

#[tokio::test]
async fn heads_are_bounded() {
    let server = Server::start(PATIENT, hello()).await;
    let large = "x".repeat(PATIENT.head_bytes);
    let many = "x: y\r\n".repeat(101);
    for (head, status) in [
        (format!("GET / HTTP/1.1\r\nHost: x\r\nx: {large}\r\n\r\n"), "431"),
        (format!("GET /?{large} HTTP/1.1\r\nHost: x\r\n\r\n"), "431"),
        (format!("GET / HTTP/1.1\r\n{many}\r\n"), "431"),
        // The end never comes.
        (format!("GET / HTTP/1.1\r\nx: {large}"), "431"),
    ] {
        let mut client = server.connect().await;
        client.write_all(head.as_bytes()).await.unwrap();
        let answer = rest(&mut client).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    server.end().await;
}

/// What the client has sent after a request whose length is in doubt must not become a request.
#[tokio::test]
async fn request_smuggling_is_refused() {
    let length = async |body: Bytes| format!("{} bytes", body.len());
    let server = Server::start(PATIENT, Router::new().route("/", post(length))).await;
    let two_lengths = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\nConnection: keep-alive",
    ];
    let none = [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 6",
        "Content-Length: +5",
        "Content-Length: -1",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length:",
        "Content-Length: 99999999999999999999",
        "Content-Length : 5",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding: \x0bchunked",
        "X: y\r\n\x00: z",
    ];
    for (version, headers, status) in
        (two_lengths.map(|headers| ("1.1", headers, "200")).into_iter())
            .chain(none.map(|headers| ("1.1", headers, "400")))
            .chain([("1.0", "Transfer-Encoding: chunked", "400")])
    {
        let mut client = server.connect().await;
        let request = format!(
            "POST / HTTP/{version}\r\nHost: x\r\n{headers}\r\n\r\n0\r\n\r\nPOST / HTTP/1.1\r\n\
             Host: x\r\nContent-Length: 0\r\n\r\n"
        );
        client.write_all(request.as_bytes()).await.unwrap();
        let answer = rest(&mut client).await;
        let answer = String::from_utf8_lossy(&answer);
        let begin = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&begin), "{headers:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1").count(), 1, "{headers:?}: {answer}");
    }
    server.end().await;
}

#[tokio::test]
async fn a_request_names_one_host() {
    let server = Server::start(PATIENT, hello()).await;
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "400 Bad Request"),
        ("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", "400 Bad Request"),
        ("GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", "400 Bad Request"),
        ("GET / HTTP/1.0\r\n\r\n", "200 OK"),
        ("GET / HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n", "200 OK"),
    ] {
        let mut client = server.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        let answer = rest(&mut client).await;
        let answer = String::from_utf8_lossy(&answer);
        let expected = [format!("HTTP/1.1 {status}"), format!("HTTP/1.0 {status}")];
        assert!(expected.iter().any(|begin| answer.starts_with(begin)), "{request}: {answer}");
        assert!(!status.starts_with('4') || answer.contains(r#""error":"#), "{answer}");
    }
    server.end().await;
}

/// A client that trusts the certificate.
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

#[tokio::test]
async fn https_is_served_and_a_renewed_certificate_taken() {
    let first = certificate();
    let (directory, tls, reloader) = load(&first);
    let server = Server::start_with(PATIENT, hello(), Some(tls)).await;
    let connect = async |certificate, protocols| {
        let stream = server.connect().await;
        connector(certificate, protocols).connect(localhost(), stream).await
    };
    let mut client = connect(&first.cert, &[b"h2", b"http/1.1"]).await.unwrap();
    assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    ask(&mut client).await;
    assert!(connect(&first.cert, &[b"h2"]).await.is_err());

    let second = certificate();
    directory.write(&second);
    reloader.reload().unwrap();
    ask(&mut client).await;
    assert!(connect(&first.cert, &[]).await.is_err());
    ask(&mut connect(&second.cert, &[]).await.unwrap()).await;

    directory.write_key(&first);
    assert!(reloader.reload().is_err());
    ask(&mut connect(&second.cert, &[]).await.unwrap()).await;
    server.end().await;
}

#[tokio::test]
async fn who_does_not_shake_hands_is_given_up_and_makes_room() {
    let certificate = certificate();
    let (_directory, tls, _reloader) = load(&certificate);
    let limits = Limits { handshake: SHORT, ..PATIENT };
    let server = Server::start_with(limits, hello(), Some(tls.clone())).await;
    let before = Instant::now();
    assert_eq!(rest(&mut server.connect().await).await, b"");
    assert!(before.elapsed() >= SHORT);
    let mut plain = server.connect().await;
    plain.write_all(REQUEST).await.unwrap();
    let answer = rest(&mut plain).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    server.end().await;

    let limits = Limits { connections: 1, ..PATIENT };
    let server = Server::start_with(limits, hello(), Some(tls)).await;
    let mut silent = server.connect().await;
    let stream = server.connect().await;
    let mut client = connector(&certificate.cert, &[]).connect(localhost(), stream).await.unwrap();
    ask(&mut client).await;
    assert_eq!(rest(&mut silent).await, b"");

    // Neither does one that has shaken hands and said nothing.
    let stream = server.connect().await;
    connector(&certificate.cert, &[]).connect(localhost(), stream).await.unwrap();
    server.end().await;
}

#[tokio::test]
async fn who_reads_nothing_through_tls_is_given_up() {
    let certificate = certificate();
    let (_directory, tls, _reloader) = load(&certificate);
    let endless = async || {
        Body::from_stream(stream::repeat(Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 16_384]))))
    };
    let limits = Limits { write: SHORT, ..PATIENT };
    let router = Router::new().route("/", get(endless));
    let server = Server::start_with(limits, router, Some(tls)).await;
    let stream = server.connect().await;
    let mut client = connector(&certificate.cert, &[]).connect(localhost(), stream).await.unwrap();
    client.write_all(REQUEST).await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'H');
    // Without its end, the server would never end.
    server.end().await;
}

/// All tasks of this test are on its thread, and so is the recorder.
#[tokio::test]
async fn what_is_cut_off_is_counted_by_reason() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let certificate = certificate();
    let (_directory, tls, _reloader) = load(&certificate);
    let endless = async || {
        Body::from_stream(stream::repeat(Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 16_384]))))
    };
    let router = hello().route("/endless", get(endless));

    let server = Server::start(Limits { idle: SHORT, ..PATIENT }, router.clone()).await;
    rest(&mut server.connect().await).await;
    server.end().await;

    let limits = Limits { head: SHORT, write: SHORT, ..PATIENT };
    let server = Server::start(limits, router.clone()).await;
    let mut client = server.connect().await;
    client.write_all(b"GET").await.unwrap();
    rest(&mut client).await;
    let mut client = server.connect().await;
    client.write_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'H');
    server.end().await;

    let limits = Limits { connections: 1, ..PATIENT };
    let server = Server::start(limits, router.clone()).await;
    let mut first = server.connect().await;
    ask(&mut first).await;
    ask(&mut server.connect().await).await;
    rest(&mut first).await;
    server.end().await;

    let server = Server::start_with(PATIENT, router, Some(tls)).await;
    let mut client = server.connect().await;
    client.write_all(REQUEST).await.unwrap();
    rest(&mut client).await;
    server.end().await;

    let text = recorder.handle().render();
    for (reason, count) in [("idle", 1), ("slow", 2), ("crowded", 1), ("handshake", 1)] {
        let line = format!(
            r#"portcullis_connections_cut_off_total{{listener="test",reason="{reason}"}} {count}"#
        );
        assert!(text.lines().any(|shown| shown == line), "no {line} in {text}");
    }
    assert!(text.contains(r#"portcullis_connections{listener="test"} 0"#), "{text}");
}
