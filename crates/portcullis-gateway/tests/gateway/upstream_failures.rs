//! An upstream that is away, slow, hangs up, refuses, or breaks off: never half a response as a whole one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_gateway::{Gateway, Upstream};
use rcgen::{CertifiedKey, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::support::{Act, Script, World, respond};

const AWAY: &str = "the database is unavailable, try again later";
const QUERY: &str = "/query?db=telemetry&q=SHOW+SERIES";

/// [GATE-14] [GATE-17]
#[tokio::test]
async fn an_upstream_that_is_away_is_503_with_retry_after_and_is_found_again() {
    let script = Script::start().await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let upstream = Upstream::new(&format!("http://{free}")).unwrap();
    let world = World::before(script, upstream, |gateway| gateway).await;
    assert_eq!(world.post("writer", "/write?db=telemetry", "cpu v=1\n").await.error(503), AWAY);
    assert_eq!(world.get("reader", QUERY).await.error(503), AWAY);
    // What is refused without the upstream is refused meanwhile.
    world.post("reader", "/write?db=telemetry", "").await.error(403);

    let listener = TcpListener::bind(free).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4_096];
            let _ = stream.read(&mut buffer).await.unwrap();
            stream
                .write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
                .await
                .unwrap();
        }
    });
    assert_eq!(world.post("writer", "/write?db=telemetry", "cpu v=1\n").await.status, 204);
}

#[tokio::test]
async fn a_client_that_misreads_retry_after_receives_none() {
    let world = World::new().await;
    world.script.will(Act::CloseAtOnce);
    let agent = "User-Agent: influxdb-client-js/1.33.2\r\n";
    let answer = world.call("writer", "POST", "/write?db=telemetry", agent, "cpu v=1\n").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, None));
}

#[tokio::test]
async fn an_upstream_that_hangs_up_before_a_response_is_503() {
    let world = World::new().await;
    for act in [
        Act::CloseAtOnce,
        Act::SendAndClose(String::new()),
        Act::SendAndClose("HTTP/1.1 204 No".to_owned()),
        Act::SendAndClose("nonsense\r\n\r\n".to_owned()),
    ] {
        world.script.will(act);
        assert_eq!(world.post("writer", "/write?db=telemetry", "cpu v=1\n").await.error(503), AWAY);
        assert_eq!(world.get("reader", QUERY).await.error(503), AWAY);
    }
}

/// [GATE-13]
#[tokio::test]
async fn half_a_response_is_never_shown_as_a_whole_one() {
    let world = World::new().await;
    for half in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
    ] {
        world.script.will(Act::SendAndClose(half.to_owned()));
        let answer = world.get("reader", QUERY).await;
        // The head may not have been sent yet.
        assert!([0, 200].contains(&answer.status), "{answer:?}");
        assert!(!answer.is_complete, "{half:?} {answer:?}");
    }
    // Without a length nothing shows that it is half.
    world.script.will(Act::SendAndClose("HTTP/1.1 200 OK\r\n\r\nhello".to_owned()));
    assert_eq!(world.get("reader", QUERY).await.error(503), AWAY);
    world.script.will(Act::SendAndClose("HTTP/1.0 200 OK\r\n\r\nhello".to_owned()));
    assert_eq!(world.get("reader", QUERY).await.error(503), AWAY);
}

/// [GATE-13] [GATE-14]
#[tokio::test]
async fn a_slow_upstream_is_503_and_one_that_stalls_is_broken_off() {
    let configure = |upstream: Upstream| upstream.timeout(Duration::from_millis(300));
    let world = World::with(|gateway| gateway, configure).await;
    world.script.will(Act::Nothing);
    for _ in 0..2 {
        let begun = Instant::now();
        let answer = world.post("writer", "/write?db=telemetry", "cpu v=1\n").await;
        assert_eq!(answer.error(503), "the database has not responded in time, try again later");
        let waited = begun.elapsed();
        assert!(
            waited > Duration::from_millis(250) && waited < Duration::from_secs(5),
            "{waited:?}"
        );
    }
    let begin = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    world.script.will(Act::Send(begin.to_owned()));
    let answer = world.get("reader", QUERY).await;
    assert!(answer.status == 200 && !answer.is_complete, "{answer:?}");
}

/// [GATE-14]
#[tokio::test]
async fn a_refusal_of_the_gateways_own_credentials_is_not_the_clients() {
    let world = World::new().await;
    for status in ["401 Unauthorized", "403 Forbidden", "407 x", "302 Found", "307 x"] {
        world.script.will(respond(
            status,
            "WWW-Authenticate: Basic\r\nLocation: http://elsewhere/\r\n",
            "{\"error\":\"upstream-detail\"}",
        ));
        let answer = world.post("writer", "/write?db=telemetry", "cpu v=1\n").await;
        assert_eq!(answer.error(503), AWAY, "{status}");
        for header in ["www-authenticate", "location"] {
            assert_eq!(answer.header(header), None);
        }
        assert!(!answer.text().contains("detail"));
    }
    for status in ["400 Bad Request", "404 Not Found", "413 x", "422 x", "500 x", "503 x"] {
        world.script.will(respond(status, "", "{\"error\":\"partial write\"}"));
        let answer = world.post("writer", "/write?db=telemetry", "cpu v=1\n").await;
        assert_eq!(answer.status, status.get(..3).unwrap().parse::<u16>().unwrap());
        assert_eq!(answer.text(), "{\"error\":\"partial write\"}");
    }
}

/// Starts an upstream that speaks TLS, and returns its address and its certificate.
async fn with_tls() -> (std::net::SocketAddr, String) {
    let CertifiedKey { cert, signing_key }: CertifiedKey<KeyPair> =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut buffer = [0; 4_096];
                let _ = stream.read(&mut buffer).await.unwrap();
                let response = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
                stream.write_all(response).await.unwrap();
                stream.shutdown().await.unwrap();
            });
        }
    });
    (address, cert.pem())
}

#[tokio::test]
async fn tls_to_the_upstream_needs_a_trusted_certificate_of_its_name() {
    let (address, pem) = with_tls().await;
    let (_, other) = with_tls().await;
    for (host, trusted, status) in [
        ("localhost", &pem, 204),
        ("localhost", &other, 503),
        // It is the certificate of another name.
        ("127.0.0.1", &pem, 503),
    ] {
        let url = format!("https://{host}:{}", address.port());
        let upstream = Upstream::new(&url).unwrap().certificates(trusted.as_bytes()).unwrap();
        let script = Script::start().await;
        let world = World::before(script, upstream, |gateway: Gateway| gateway).await;
        let answer = world.post("writer", "/write?db=telemetry", "cpu v=1\n").await;
        assert_eq!(answer.status, status, "{host} {answer:?}");
    }
    let upstream = Upstream::new("https://localhost").unwrap();
    assert!(upstream.certificates(b"-----BEGIN").is_err());
}
