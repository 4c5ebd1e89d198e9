//! The bodies of writes and queries: their limits, and what becomes of half of one.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use crate::support::{Answer, PASSWORD, World};

fn head(path: &str, headers: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Token all:{PASSWORD}\r\n\
         {headers}\r\n"
    )
}

/// [GATE-9]
#[tokio::test]
async fn a_large_body_is_streamed_with_a_length_or_in_chunks() {
    let world = World::new().await;
    let points = "cpu,host=a value=1\n".repeat(500_000);
    let answer = world.post("writer", "/write?db=telemetry", &points).await;
    assert_eq!(answer.status, 204);
    let received = world.script.take_one();
    assert_eq!(received.header("content-length"), Some(points.len().to_string().as_str()));
    assert!(received.is_complete && received.text() == points);

    let head = head("/write?db=telemetry", "Transfer-Encoding: chunked\r\n");
    let chunk = format!("{:x}\r\n{points}\r\n", points.len());
    assert_eq!(world.send(&format!("{head}{chunk}0\r\n\r\n")).await.status, 204);
    let received = world.script.take_one();
    assert_eq!(received.header("transfer-encoding"), Some("chunked"));
    assert!(received.is_complete && received.text() == points);
}

/// [GATE-9]
#[tokio::test]
async fn a_body_that_is_too_large_is_413_and_the_upstream_receives_no_whole_one() {
    let world = World::with(|gateway| gateway.max_body_bytes(1_000), |upstream| upstream).await;
    assert_eq!(world.post("all", "/write?db=telemetry", &"x".repeat(1_000)).await.status, 204);
    assert!(world.script.take_one().is_complete);
    let why = world.post("all", "/write?db=telemetry", &"x".repeat(1_001)).await.error(413);
    assert_eq!(why, "the request body is larger than 1000 bytes");
    let head = head("/write?db=telemetry", "Transfer-Encoding: chunked\r\n");
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    let answer = world.send(&format!("{head}{}0\r\n\r\n", chunk.repeat(3))).await;
    assert_eq!(answer.error(413), "the request body is larger than 1000 bytes");
    sleep(Duration::from_millis(50)).await;
    assert!(world.script.take().iter().all(|request| !request.is_complete));

    let form = format!("q={}", "x".repeat(1024 * 1024));
    let why = world.query("all", &form).await.error(413);
    assert_eq!(why, "the body of a query is larger than 1048576 bytes");
    let query = format!("SELECT v FROM cpu WHERE {}", "a = 1 OR ".repeat(100_000) + "a = 1");
    let form = format!("db=telemetry&q={}", query.replace(' ', "+"));
    assert_eq!(world.query("all", &form).await.status, 204);
    assert!(world.script.take_one().is_complete);
}

/// [GATE-9]
#[tokio::test]
async fn a_client_that_stalls_is_408_and_the_upstream_receives_no_whole_body() {
    let configure =
        |gateway: portcullis_gateway::Gateway| gateway.client_timeout(Duration::from_millis(200));
    let world = World::with(configure, |upstream| upstream).await;
    for (path, headers, part) in [
        ("/write?db=telemetry", "Content-Length: 100\r\n", "cpu v=1\n"),
        ("/write?db=telemetry", "Transfer-Encoding: chunked\r\n", "8\r\ncpu v=1\n\r\n"),
        (
            "/query?db=telemetry",
            "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n",
            "q=SHOW",
        ),
    ] {
        let request = head(path, headers) + part;
        let answer = world.send(&request).await;
        assert_eq!(answer.status, 408, "{answer:?}");
        sleep(Duration::from_millis(50)).await;
        assert!(world.script.take().iter().all(|request| !request.is_complete));
    }
    // One that sends a little again and again does not stall.
    let mut stream = world.connect().await;
    stream
        .write_all(head("/write?db=telemetry", "Content-Length: 10\r\n").as_bytes())
        .await
        .unwrap();
    for byte in "cpu v=123\n".bytes() {
        sleep(Duration::from_millis(60)).await;
        stream.write_all(&[byte]).await.unwrap();
    }
    assert_eq!(Answer::read(&mut stream).await.status, 204);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_no_whole_body() {
    let world = World::new().await;
    for (headers, part) in [
        ("Content-Length: 100\r\n", "cpu v=1\n"),
        ("Transfer-Encoding: chunked\r\n", "8\r\ncpu v=1\n\r\n"),
    ] {
        let mut stream = world.connect().await;
        let request = head("/write?db=telemetry", headers) + part;
        stream.write_all(request.as_bytes()).await.unwrap();
        sleep(Duration::from_millis(50)).await;
        drop(stream);
        let received = timeout(Duration::from_secs(5), async {
            loop {
                if let Some(request) = world.script.take().pop() {
                    return request;
                }
                sleep(Duration::from_millis(10)).await;
            }
        });
        assert!(!received.await.unwrap().is_complete);
    }
}

/// [GATE-11]
#[tokio::test]
async fn a_refusal_does_not_wait_for_the_body() {
    let world = World::new().await;
    let expect = "Content-Length: 1000\r\nExpect: 100-continue\r\n";
    for (path, status) in
        [("/write?db=telemetry&u=all&p=wrong", 401), ("/nowhere", 404), ("/write", 400)]
    {
        let mut stream = world.connect().await;
        stream.write_all(head(path, expect).as_bytes()).await.unwrap();
        assert_eq!(Answer::read(&mut stream).await.status, status, "{path}");
    }
    let mut stream = world.connect().await;
    stream.write_all(head("/write?db=telemetry", expect).as_bytes()).await.unwrap();
    let mut line = [0; 25];
    stream.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all("x".repeat(1_000).as_bytes()).await.unwrap();
    assert_eq!(Answer::read(&mut stream).await.status, 204);
    let received = world.script.take_one();
    assert_eq!((received.header("expect"), received.body.len()), (None, 1_000));
}
