//! Connections that are evicted for others, and those that are not.

use super::*;

#[tokio::test]
async fn at_the_limit_the_connection_idle_longest_is_evicted() {
    let limits = Limits { connections: 2, ..PATIENT };
    let server = Server::start(limits, hello()).await;
    let mut first = server.connect().await;
    roundtrip(&mut first).await;
    let mut second = server.connect().await;
    roundtrip(&mut second).await;
    roundtrip(&mut first).await;

    let mut third = server.connect().await;
    roundtrip(&mut third).await;
    assert_eq!(read_to_end(&mut second).await, b"", "it was idle longest");
    roundtrip(&mut first).await;
    roundtrip(&mut third).await;
    server.end().await;
}

/// Keeps opening three times as many connections as there are permits, while other clients send one
/// request each.
///
/// Each of them must be served. Without eviction, it would wait for as long as the crowd is there, and
/// for at least [`NEVER`] until a timeout closes a connection of the crowd.
async fn assert_no_client_is_kept_out<F>(
    hold_open: impl Fn(TcpStream) -> F + Clone + Send + 'static,
    tls: Option<(Tls, TlsConnector)>,
    router: Router,
) where
    F: Future<Output = ()> + Send,
{
    // All clients are one source, which gets a quarter of this time: enough for a probe to send its
    // request on a slow machine.
    let limits = Limits { connections: 8, min_idle: 4 * SHORT, ..PATIENT };
    let (tls, connector) = tls.unzip();
    let server = Server::start_with(limits, router, tls).await;
    let address = server.address;
    let crowd: Vec<_> = (0..24)
        .map(|_| {
            let hold_open = hold_open.clone();
            tokio::spawn(async move {
                while let Ok(stream) = TcpStream::connect(address).await {
                    hold_open(stream).await;
                }
            })
        })
        .collect();
    sleep(2 * SHORT).await;
    for _ in 0..10 {
        let probe = async {
            let mut stream = server.connect().await;
            match &connector {
                None => roundtrip(&mut stream).await,
                Some(connector) => {
                    roundtrip(&mut connector.connect(localhost(), stream).await.unwrap()).await
                }
            }
        };
        timeout(NEVER / 10, probe).await.expect("a client is kept out");
    }
    crowd.into_iter().for_each(|member| member.abort());
    server.end().await;
}

async fn send(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) {
    let _ = stream.write_all(bytes).await;
    read_to_end(&mut stream).await;
}

#[tokio::test]
async fn a_crowd_with_half_a_head_keeps_no_client_out() {
    assert_no_client_is_kept_out(|stream| send(stream, b"GET / HT"), None, hello()).await;
}

#[tokio::test]
async fn a_crowd_with_half_a_second_head_keeps_no_client_out() {
    const REQUESTS: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT";
    assert_no_client_is_kept_out(|stream| send(stream, REQUESTS), None, hello()).await;
}

#[tokio::test]
async fn a_crowd_with_slow_bodies_keeps_no_client_out() {
    const BODY: &[u8] = b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx";
    let length = async |body: Bytes| format!("{} bytes", body.len());
    let router = hello().route("/length", post(length));
    assert_no_client_is_kept_out(|stream| send(stream, BODY), None, router).await;
}

#[tokio::test]
async fn a_crowd_that_reads_no_responses_keeps_no_client_out() {
    let body = Bytes::from(vec![b'x'; 16 << 20]);
    let large = get(async move || body);
    let unread = |mut stream: TcpStream| async move {
        let _ = stream.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await;
        while stream.write_all(b"x").await.is_ok() {
            sleep(SHORT / 10).await;
        }
    };
    assert_no_client_is_kept_out(unread, None, hello().route("/large", large)).await;
}

#[tokio::test]
async fn a_crowd_with_half_a_handshake_or_head_over_tls_keeps_no_client_out() {
    let certificate = certificate();
    let (_directory, tls, _reloader) = load(&certificate);
    let trusting = || Some((tls.clone(), connector(&certificate.cert, &[])));
    let half = b"\x16\x03\x01\x02\x00\x01";
    assert_no_client_is_kept_out(|stream| send(stream, half), trusting(), hello()).await;

    let client = connector(&certificate.cert, &[]);
    let half_head = move |stream| {
        let client = client.clone();
        async move {
            if let Ok(stream) = client.connect(localhost(), stream).await {
                send(stream, b"GET / HT").await;
            }
        }
    };
    assert_no_client_is_kept_out(half_head, trusting(), hello()).await;
}

#[tokio::test]
async fn an_authenticated_connection_is_not_evicted_for_unauthenticated_ones() {
    let user = get(async || ([("x-portcullis-user", "1")], "hello"));
    let limits = Limits { connections: 4, min_idle: SHORT, ..PATIENT };
    let server = Server::start(limits, hello().route("/forward-auth", user)).await;
    let mut client = server.connect().await;
    client.write_all(b"GET /forward-auth HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    read_response(&mut client).await;
    for _ in 0..10 {
        let mut other = server.connect().await;
        roundtrip(&mut other).await;
        tokio::spawn(async move { read_to_end(&mut other).await });
    }
    roundtrip(&mut client).await;
    server.end().await;
}

#[tokio::test]
async fn a_connection_is_not_evicted_before_it_was_idle_for_the_minimum_time() {
    let limits = Limits { connections: 1, min_idle: 3 * SHORT, ..PATIENT };
    let server = Server::start(limits, hello()).await;
    let mut first = server.connect().await;
    let mut second = server.connect().await;
    second.write_all(REQUEST).await.unwrap();
    sleep(SHORT).await;
    let before = Instant::now();
    roundtrip(&mut first).await;
    read_response(&mut second).await;
    assert!(before.elapsed() >= 2 * SHORT, "a request begins a new idle time");
    assert_eq!(read_to_end(&mut first).await, b"");
    server.end().await;
}

#[tokio::test]
async fn at_the_limit_a_request_in_progress_is_finished_first() {
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
    read_response(&mut first).await;
    begun.notified().await;
    gate.notify_one();
    read_response(&mut second).await;
    assert_eq!(read_to_end(&mut first).await, b"");
    server.end().await;
}

#[tokio::test]
async fn a_connection_that_waits_for_a_permit_does_not_delay_the_end() {
    let (begun, gate) = (Arc::default(), Arc::default());
    let limits = Limits { connections: 1, ..PATIENT };
    let server = Server::start(limits, gated(&begun, &gate)).await;
    let mut first = server.connect().await;
    first.write_all(REQUEST).await.unwrap();
    begun.notified().await;
    let mut second = server.connect().await;
    server.end.send(()).unwrap();
    assert_eq!(read_to_end(&mut second).await, b"");
    gate.notify_one();
    read_response(&mut first).await;
    server.task.await.unwrap();
}
