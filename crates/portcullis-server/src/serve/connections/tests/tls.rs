//! TLS: handshakes, certificates, and the same timeouts.

use super::*;

#[tokio::test]
async fn https_is_served_with_a_renewed_certificate_after_a_reload() {
    let first = certificate();
    let (directory, tls, reloader) = load(&first);
    let server = Server::start_with(PATIENT, hello(), Some(tls)).await;
    let connect = async |certificate, protocols| {
        let stream = server.connect().await;
        connector(certificate, protocols).connect(localhost(), stream).await
    };
    let mut client = connect(&first.cert, &[b"h2", b"http/1.1"]).await.unwrap();
    assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    roundtrip(&mut client).await;
    assert!(connect(&first.cert, &[b"h2"]).await.is_err());

    let second = certificate();
    directory.write(&second);
    reloader.reload().unwrap();
    roundtrip(&mut client).await;
    assert!(connect(&first.cert, &[]).await.is_err());
    roundtrip(&mut connect(&second.cert, &[]).await.unwrap()).await;

    directory.write_key(&first);
    assert!(reloader.reload().is_err());
    roundtrip(&mut connect(&second.cert, &[]).await.unwrap()).await;
    server.end().await;
}

#[tokio::test]
async fn a_client_that_completes_no_handshake_is_disconnected_or_evicted() {
    let certificate = certificate();
    let (_directory, tls, _reloader) = load(&certificate);
    let limits = Limits { handshake: SHORT, ..PATIENT };
    let server = Server::start_with(limits, hello(), Some(tls.clone())).await;
    let before = Instant::now();
    assert_eq!(read_to_end(&mut server.connect().await).await, b"");
    assert!(before.elapsed() >= SHORT);
    let mut plain = server.connect().await;
    plain.write_all(REQUEST).await.unwrap();
    let response = read_to_end(&mut plain).await;
    assert!(!response.starts_with(b"HTTP"), "{response:?}");
    server.end().await;

    let limits = Limits { connections: 1, ..PATIENT };
    let server = Server::start_with(limits, hello(), Some(tls)).await;
    let mut silent = server.connect().await;
    let stream = server.connect().await;
    let mut client = connector(&certificate.cert, &[]).connect(localhost(), stream).await.unwrap();
    roundtrip(&mut client).await;
    assert_eq!(read_to_end(&mut silent).await, b"");

    // A client that has completed the handshake and sends nothing does not delay the end.
    let stream = server.connect().await;
    connector(&certificate.cert, &[]).connect(localhost(), stream).await.unwrap();
    server.end().await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_over_tls_is_disconnected() {
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
    // The server could not end while the connection is open.
    server.end().await;
}
