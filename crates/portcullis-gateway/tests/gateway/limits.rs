//! Limits of each credential.

use std::num::NonZeroU32;
use std::time::Duration;

use portcullis_http::{CredentialLimiter, CredentialLimits, RequestRate};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::{Act, PASSWORD, World, no_content};

const WRITE: &str = "/write?db=telemetry";

async fn limited(limits: CredentialLimits) -> (World, CredentialLimiter) {
    let limiter = CredentialLimiter::new(limits);
    let used = limiter.clone();
    (World::with(|gateway| gateway.limiter(used), |upstream| upstream).await, limiter)
}

fn rate(rate: &str, burst: u32) -> CredentialLimits {
    let rate: RequestRate = rate.parse().unwrap();
    CredentialLimits::none().rate(rate).burst(NonZeroU32::new(burst))
}

fn in_flight(most: u32) -> CredentialLimits {
    CredentialLimits::none().in_flight(NonZeroU32::new(most))
}

/// [LIMIT-2] [LIMIT-4] [LIMIT-6]
#[tokio::test]
async fn a_credential_beyond_its_rate_gets_429_and_no_other_does() {
    let (world, limiter) = limited(rate("1/h", 2)).await;
    assert_eq!(world.post("writer", WRITE, "cpu v=1").await.status, 204);
    // Denied requests count as well.
    assert_eq!(world.get("writer", "/query?q=SHOW+USERS").await.status, 403);
    world.script.take();
    let refused = world.post("writer", WRITE, "cpu v=1").await;
    assert_eq!(refused.error(429), "too many requests with this credential");
    let wait: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((3_500..=3_600).contains(&wait), "{wait}");
    assert_eq!(refused.header("x-platform-error-code"), Some("too many requests"));
    assert!(world.script.take().is_empty());
    assert_eq!(world.post("both", WRITE, "cpu v=1").await.status, 204);
    // A wrong password costs the owner nothing.
    let wrong = world
        .send(&format!(
            "POST {WRITE} HTTP/1.1\r\nHost: g\r\nConnection: close\r\nContent-Length: 0\r\n\
             Authorization: Token reader:wrong\r\n\r\n"
        ))
        .await;
    assert_eq!(wrong.status, 401);
    let both = world.post("both", WRITE, "cpu v=1").await.status;
    assert_eq!((both, world.post("both", WRITE, "cpu v=1").await.status), (204, 429));
    let counts: Vec<_> = limiter.most_refused(20).into_iter().map(|(_, count)| count).collect();
    assert_eq!(counts, [1, 1]);
    // A client that misreads the header does not get it.
    let agent = "User-Agent: influxdb-client-js/1.35\r\n";
    let refused = world.call("writer", "POST", WRITE, agent, "cpu v=1").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, None));
}

/// Sends a query and reads the beginning of its response, the rest of which the upstream keeps.
async fn open_response(world: &World) -> TcpStream {
    let mut stream = world.connect().await;
    let target = "/query?db=telemetry&q=SELECT+*+FROM+cpu";
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Token reader:{PASSWORD}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    timeout(Duration::from_secs(20), stream.read_exact(&mut head)).await.unwrap().unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    stream
}

/// [LIMIT-3]
#[tokio::test]
async fn a_request_is_in_flight_until_its_response_has_ended_or_its_client_has_gone() {
    let (world, _) = limited(in_flight(2)).await;
    let query = "/query?db=telemetry&q=SELECT+*+FROM+cpu";
    let half =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\nhalf";
    world.script.will(Act::Send(half.to_owned()));
    let first = open_response(&world).await;
    let second = open_response(&world).await;
    world.script.will(no_content());
    let refused = world.get("reader", query).await;
    assert_eq!(refused.error(429), "too many requests at the same time with this credential");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(world.get("both", query).await.status, 204);
    drop(first);
    let admitted = async {
        while world.get("reader", query).await.status == 429 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), admitted).await.expect("the request that was broken off ends");
    // Responses without a body, and whole ones, end at once.
    for _ in 0..10 {
        assert_eq!(world.get("reader", query).await.status, 204);
    }
    drop(second);
}

/// [LIMIT-3]
#[tokio::test]
async fn requests_that_fail_or_are_denied_end_as_well() {
    let (world, _) = limited(in_flight(1)).await;
    world.script.will(Act::CloseAtOnce);
    for _ in 0..5 {
        assert_eq!(world.post("writer", WRITE, "cpu v=1").await.status, 503);
        assert_eq!(world.get("writer", "/query?q=SHOW+USERS").await.status, 403);
        assert_eq!(world.get("writer", "/query?q=SELECT").await.status, 400);
    }
    // The client goes while the upstream has not responded.
    world.script.will(Act::Nothing);
    let mut stream = world.connect().await;
    let request = format!(
        "POST {WRITE} HTTP/1.1\r\nHost: g\r\nAuthorization: Token writer:{PASSWORD}\r\nContent-Length: 1\r\n\r\nx"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let arrived = async {
        while world.script.take().iter().all(|request| request.text() != "x") {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), arrived).await.unwrap();
    assert_eq!(world.post("writer", WRITE, "cpu v=1").await.status, 429);
    drop(stream);
    world.script.will(no_content());
    let admitted = async {
        while world.post("writer", WRITE, "cpu v=1").await.status == 429 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), admitted).await.expect("the abandoned request ends");
}

/// [LIMIT-4]
#[tokio::test]
async fn what_needs_no_credentials_is_not_limited() {
    let (world, _) = limited(rate("1/h", 1).in_flight(NonZeroU32::new(1))).await;
    for _ in 0..5 {
        let ping = "GET /ping HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n";
        assert_eq!(world.send(ping).await.status, 204);
    }
}
