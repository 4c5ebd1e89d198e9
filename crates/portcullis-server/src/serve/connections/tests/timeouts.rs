//! Timeouts of connections, and the metrics of closed ones.

use super::*;

#[tokio::test]
async fn requests_that_do_not_finish_in_time_are_dropped_at_the_end() {
    let (begun, gate) = (Arc::default(), Arc::default());
    let limits = Limits { shutdown: SHORT, ..PATIENT };
    let server = Server::start(limits, gated(&begun, &gate)).await;
    let address = server.address;
    let mut client = server.connect().await;
    client.write_all(REQUEST).await.unwrap();
    begun.notified().await;

    let before = Instant::now();
    server.end().await;
    assert!(before.elapsed() >= SHORT, "the request had no time to finish");
    assert!(TcpStream::connect(address).await.is_err(), "it still listens");
}

#[tokio::test]
async fn a_head_that_is_never_completed_closes_its_connection() {
    let limits = Limits { head: SHORT, ..PATIENT };
    let server = Server::start(limits, hello()).await;
    let mut client = server.connect().await;
    // Neither the time before the first byte counts, nor that of the request before.
    roundtrip(&mut client).await;
    sleep(2 * SHORT).await;
    roundtrip(&mut client).await;

    let before = Instant::now();
    client.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    assert_eq!(read_to_end(&mut client).await, b"");
    assert!(before.elapsed() >= SHORT);

    // A client that sends a byte at a time is disconnected, too.
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
async fn a_connection_without_a_request_for_too_long_is_closed() {
    // Long enough for a request on a slow machine.
    let limits = Limits { idle: 10 * SHORT, ..PATIENT };
    let server = Server::start(limits, hello()).await;
    let mut silent = server.connect().await;
    assert_eq!(read_to_end(&mut silent).await, b"");
    let mut once = server.connect().await;
    roundtrip(&mut once).await;
    assert_eq!(read_to_end(&mut once).await, b"");
    server.end().await;
}

/// Returns a router whose response has no end, and what is notified when the response is dropped.
fn endless() -> (Router, Arc<Notify>) {
    struct NotifyOnDrop(Arc<Notify>);
    impl Drop for NotifyOnDrop {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }

    let dropped = Arc::new(Notify::new());
    let notify = Arc::clone(&dropped);
    let endless = async move || {
        let guard = NotifyOnDrop(notify);
        Body::from_stream(stream::repeat_with(move || {
            let _ = &guard;
            Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 16 * 1024]))
        }))
    };
    (Router::new().route("/", get(endless)), dropped)
}

#[tokio::test]
async fn a_client_that_reads_nothing_of_a_large_response_is_disconnected() {
    let (router, dropped) = endless();
    let server = Server::start(Limits { write: SHORT, ..PATIENT }, router).await;
    let mut client = server.connect().await;
    client.write_all(REQUEST).await.unwrap();
    dropped.notified().await;
    assert!(read_to_end(&mut client).await.starts_with(b"HTTP/1.1 200 OK"));
    server.end().await;
}

#[tokio::test]
async fn a_client_that_reads_slowly_stays_connected() {
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
    assert!(dropped.notified().now_or_never().is_none(), "disconnected");
    drop(client);
    server.end().await;
}

/// The recorder is local to the thread on which all tasks of this test run.
#[tokio::test]
async fn closed_connections_are_counted_by_reason() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let certificate = certificate();
    let (_directory, tls, _reloader) = load(&certificate);
    let endless = async || {
        Body::from_stream(stream::repeat(Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 16_384]))))
    };
    let router = hello().route("/endless", get(endless));

    let server = Server::start(Limits { idle: SHORT, ..PATIENT }, router.clone()).await;
    read_to_end(&mut server.connect().await).await;
    server.end().await;

    let limits = Limits { head: SHORT, write: SHORT, ..PATIENT };
    let server = Server::start(limits, router.clone()).await;
    let mut client = server.connect().await;
    client.write_all(b"GET").await.unwrap();
    read_to_end(&mut client).await;
    let mut client = server.connect().await;
    client.write_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'H');
    server.end().await;

    let limits = Limits { connections: 1, ..PATIENT };
    let server = Server::start(limits, router.clone()).await;
    let mut first = server.connect().await;
    roundtrip(&mut first).await;
    roundtrip(&mut server.connect().await).await;
    read_to_end(&mut first).await;
    server.end().await;

    let server = Server::start_with(PATIENT, router, Some(tls)).await;
    let mut client = server.connect().await;
    client.write_all(REQUEST).await.unwrap();
    read_to_end(&mut client).await;
    server.end().await;

    let text = recorder.handle().render();
    for (reason, count) in [("idle", 1), ("slow", 2), ("crowded", 1), ("handshake", 1)] {
        let line = format!(
            r#"portcullis_connections_evicted_total{{listener="test",reason="{reason}"}} {count}"#
        );
        assert!(text.lines().any(|shown| shown == line), "no {line} in {text}");
    }
    assert!(text.contains(r#"portcullis_connections{listener="test"} 0"#), "{text}");
}
