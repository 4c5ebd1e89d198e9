//! Requests: their peers, their limits, and those that could be read in two ways.

use super::*;

#[tokio::test]
async fn handlers_receive_the_address_of_the_peer() {
    let peer = get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| format!("{peer} hello"));
    let server = Server::start(PATIENT, Router::new().route("/", peer)).await;
    let mut client = server.connect().await;
    let expected = format!("\r\n\r\n{} hello", client.local_addr().unwrap());
    assert!(roundtrip(&mut client).await.ends_with(&expected));
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
        // A head without an end.
        (format!("GET / HTTP/1.1\r\nx: {large}"), "431"),
    ] {
        let mut client = server.connect().await;
        client.write_all(head.as_bytes()).await.unwrap();
        let response = read_to_end(&mut client).await;
        let response = String::from_utf8_lossy(&response);
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{response}");
    }
    server.end().await;
}

/// A client of HTTP/1.0 takes the end of the connection for that of the response.
#[tokio::test]
async fn a_response_that_breaks_off_resets_the_connection_of_a_client_of_http_1_0() {
    let broken = async || {
        let parts = [Ok(Bytes::from("hello")), Err(io::Error::other("the upstream is gone"))];
        Body::from_stream(stream::iter(parts).then(async |part| {
            sleep(SHORT).await;
            part
        }))
    };
    let server = Server::start(PATIENT, Router::new().route("/", get(broken))).await;
    let mut client = server.connect().await;
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut received = Vec::new();
    let error = client.read_to_end(&mut received).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    // One of HTTP/1.1 misses the last chunk.
    let mut client = server.connect().await;
    client.write_all(REQUEST).await.unwrap();
    let received = read_to_end(&mut client).await;
    assert!(received.ends_with(b"5\r\nhello\r\n"), "{received:?}");
    server.end().await;
}

/// What follows a request of uncertain length must not be read as another request.
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
        let response = read_to_end(&mut client).await;
        let response = String::from_utf8_lossy(&response);
        let begin = format!("HTTP/1.1 {status} ");
        assert!(response.starts_with(&begin), "{headers:?}: {response}");
        assert_eq!(response.matches("HTTP/1").count(), 1, "{headers:?}: {response}");
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
        let response = read_to_end(&mut client).await;
        let response = String::from_utf8_lossy(&response);
        let expected = [format!("HTTP/1.1 {status}"), format!("HTTP/1.0 {status}")];
        assert!(expected.iter().any(|begin| response.starts_with(begin)), "{request}: {response}");
        assert!(!status.starts_with('4') || response.contains(r#""error":"#), "{response}");
    }
    server.end().await;
}
