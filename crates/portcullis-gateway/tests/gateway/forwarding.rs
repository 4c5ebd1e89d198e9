//! What the upstream receives, and what the client receives of it.

use crate::support::{Act, PASSWORD, World, no_content, respond};

/// [GATE-3] [GATE-4]
#[tokio::test]
async fn a_write_is_passed_on_with_the_gateways_credentials_and_none_of_the_clients() {
    let world = World::new().await;
    let hostile = "Cookie: session=client\r\nProxy-Authorization: Basic client\r\n\
                   X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Forwarded-Host: evil\r\n\
                   X-Real-IP: 6.6.6.6\r\nX-Original-URL: /query\r\nX-HTTP-Method-Override: GET\r\n\
                   X-Portcullis-User: someone\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\
                   TE: trailers\r\nKeep-Alive: timeout=9\r\nX-Secret: client\r\n\
                   Content-Type: application/x-www-form-urlencoded\r\n\
                   User-Agent: telegraf/1\r\nContent-Encoding: identity\r\n";
    let target = format!("/write?db=telemetry&precision=ms&u=writer&p={PASSWORD}&x=y");
    let answer = world.call("writer", "POST", &target, hostile, "cpu v=1 2\n").await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("x-influxdb-version"), Some("1.6.7"));
    let received = world.script.take_one();
    assert_eq!(
        (received.method.as_str(), received.target.as_str()),
        ("POST", "/write?db=telemetry&precision=ms")
    );
    assert_eq!(received.text(), "cpu v=1 2\n");
    let mut names: Vec<_> = received.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "authorization",
            "content-encoding",
            "content-length",
            "content-type",
            "host",
            "user-agent",
            "x-forwarded-for"
        ]
    );
    // portcullis:upstream-s3cret
    let ours = "Basic cG9ydGN1bGxpczp1cHN0cmVhbS1zM2NyZXQ=";
    assert_eq!(received.header("authorization"), Some(ours));
    assert_eq!(received.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(received.header("host"), Some(world.script.address.to_string().as_str()));
    assert_eq!(received.header("x-forwarded-for"), Some("127.0.0.1"));
}

/// [GATE-3] [GATE-10]
#[tokio::test]
async fn a_query_is_passed_on_as_it_was_decided() {
    let world = World::new().await;
    let query =
        "/query?q=SELECT+*+FROM+%22cpu%22+WHERE+a%3D'%26'&db=telemetry&epoch=ms&chunked=true";
    assert_eq!(world.get("reader", query).await.status, 204);
    let received = world.script.take_one();
    assert_eq!(received.method, "GET");
    assert_eq!(
        received.target,
        "/query?q=SELECT+*+FROM+%22cpu%22+WHERE+a%3D%27%26%27&db=telemetry&epoch=ms&chunked=true"
    );
    assert_eq!(received.header("content-length"), None);

    // Parameters of a POST are in the form, wherever the client has them.
    for (target, content_type, form) in [
        ("/query?q=SELECT+v+FROM+cpu&db=telemetry", "", ""),
        ("/query?db=telemetry", "application/x-www-form-urlencoded", "q=SELECT+v+FROM+cpu"),
        (
            "/query",
            "application/x-www-form-urlencoded; charset=utf-8",
            "q=SELECT+v+FROM+cpu&db=telemetry",
        ),
        (
            "/query?db=telemetry",
            "multipart/form-data; boundary=XX",
            "--XX\r\nContent-Disposition: form-data; name=\"q\"\r\n\r\nSELECT v FROM cpu\r\n--XX--\r\n",
        ),
        (
            "/query?db=telemetry",
            "multipart/form-data; boundary=XX",
            "--XX\r\nContent-Disposition: form-data; name=\"q\"; filename=\"q.txt\"\r\nContent-Type: text/plain\r\n\r\nSELECT v FROM cpu\r\n--XX--\r\n",
        ),
    ] {
        let header = match content_type {
            "" => String::new(),
            content_type => format!("Content-Type: {content_type}\r\n"),
        };
        let answer = world.call("reader", "POST", target, &header, form).await;
        assert_eq!(answer.status, 204, "{target} {form} {answer:?}");
        let received = world.script.take_one();
        assert_eq!((received.method.as_str(), received.target.as_str()), ("POST", "/query"));
        assert_eq!(received.header("content-type"), Some("application/x-www-form-urlencoded"));
        let mut pairs: Vec<_> = received.text().split('&').collect();
        pairs.sort_unstable();
        assert_eq!(pairs, ["db=telemetry", "q=SELECT+v+FROM+cpu"], "{target}");
    }
}

/// [GATE-5] [GATE-10]
#[tokio::test]
async fn a_body_of_a_query_that_differs_from_the_url_or_is_no_form_is_refused() {
    let world = World::new().await;
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    for (target, header, body, status, why) in [
        ("/query?db=telemetry", form, "q=SHOW+SERIES&db=telemetry", 400, "`db` is given twice"),
        ("/query?q=SHOW+SERIES", form, "q=SHOW+SERIES", 400, "`q` is given twice"),
        (
            "/query?db=telemetry&rp=a",
            form,
            "q=SHOW+SERIES&rp=b",
            400,
            "`rp` has one value in the URL and another one in the body",
        ),
        ("/query?db=telemetry", form, "q=SHOW+SERIES&q=DROP+DATABASE+x", 400, "`q` is given twice"),
        (
            "/query?db=telemetry",
            form,
            "q=%ff",
            400,
            "a parameter is not encoded for a URL, or is not UTF-8",
        ),
        (
            "/query?db=telemetry&q=SHOW+SERIES",
            "Content-Type: application/json\r\n",
            "{}",
            415,
            "the body of a query must be a form, with InfluxQL in `q`",
        ),
        (
            "/query?db=telemetry&q=SHOW+SERIES",
            "Content-Type: application/vnd.flux\r\n",
            "buckets()",
            415,
            "the body of a query must be a form, with InfluxQL in `q`",
        ),
        (
            "/query?db=telemetry&q=SHOW+SERIES",
            "",
            "q=DROP+DATABASE+x",
            415,
            "the body of a query must be a form, with InfluxQL in `q`",
        ),
        (
            "/query?db=telemetry",
            "Content-Type: application/x-www-form-urlencoded\r\nContent-Type: text/plain\r\n",
            "q=SHOW+SERIES",
            400,
            "there are several lines of `Content-Type`",
        ),
        (
            "/query?db=telemetry",
            "Content-Type: application/x-www-form-urlencoded\r\nContent-Encoding: gzip\r\n",
            "q=SHOW+SERIES",
            400,
            "the body of a query must not be compressed",
        ),
        (
            "/query?db=telemetry",
            "Content-Type: multipart/form-data\r\n",
            "q=SHOW+SERIES",
            400,
            "`Content-Type` has no boundary",
        ),
        (
            "/query?db=telemetry",
            "Content-Type: multipart/form-data; boundary=X\r\n",
            "--X\r\nContent-Disposition: form-data; name=\"q\"\r\n\r\nSHOW",
            400,
            "the form cannot be read",
        ),
        (
            "/query?db=telemetry",
            "Content-Type: multipart/form-data; boundary=X\r\n",
            "--X\r\nContent-Disposition: form-data; name=\"q\"\r\n\r\nSHOW SERIES\r\n--X\r\nContent-Disposition: form-data; name=\"q\"\r\n\r\nSHOW SERIES\r\n--X--\r\n",
            400,
            "`q` is given twice",
        ),
    ] {
        let answer = world.call("all", "POST", target, header, body).await;
        assert_eq!(answer.error(status), why, "{target} {body}");
    }
    assert!(world.script.take().is_empty());
    // A body of GET is not read by the database either, and not passed on.
    let answer = world
        .call("reader", "GET", "/query?db=telemetry&q=SHOW+SERIES", form, "q=DROP+DATABASE+x")
        .await;
    assert_eq!(answer.status, 204);
    let received = world.script.take_one();
    assert_eq!(
        (received.target.as_str(), received.text()),
        ("/query?db=telemetry&q=SHOW+SERIES", "")
    );
}

#[tokio::test]
async fn ping_and_health_need_no_credentials_and_pass_none_on() {
    let world = World::new().await;
    for (method, target, expected) in [
        ("GET", "/ping", "/ping"),
        ("HEAD", "/ping?verbose=true&u=writer&p=s3cret", "/ping?verbose=true"),
        ("GET", "/health?x=y", "/health"),
    ] {
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Token x:y\r\n\
             Content-Length: 4\r\n\r\nq=xy"
        );
        let answer = world.send(&request).await;
        assert_eq!(answer.status, 204);
        let received = world.script.take_one();
        assert_eq!((received.method.as_str(), received.target.as_str()), (method, expected));
        assert!(received.body.is_empty());
        let ours = "Basic cG9ydGN1bGxpczp1cHN0cmVhbS1zM2NyZXQ=";
        assert_eq!(received.header("authorization"), Some(ours));
    }
}

/// [GATE-7]
#[tokio::test]
async fn a_preflight_is_passed_on_only_if_configured() {
    let preflight = |target: &str| {
        format!(
            "OPTIONS {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nOrigin: https://a.example\r\n\
             Access-Control-Request-Method: POST\r\n\r\n"
        )
    };
    let world = World::new().await;
    assert_eq!(world.send(&preflight("/write?db=telemetry")).await.status, 405);
    let world = World::with(|gateway| gateway.preflight(true), |upstream| upstream).await;
    world.script.will(respond(
        "204 No Content",
        "Access-Control-Allow-Origin: https://a.example\r\n",
        "",
    ));
    let answer = world.send(&preflight("/write?db=telemetry&precision=s")).await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://a.example"));
    let received = world.script.take_one();
    assert_eq!(received.method, "OPTIONS");
    assert_eq!(received.header("origin"), Some("https://a.example"));
    for target in ["/write?db=telemetry&u=a&p=b", "/ping", "/api/v1/prom/write?db=telemetry"] {
        assert_eq!(world.send(&preflight(target)).await.status, 405, "{target}");
    }
    assert!(world.script.take().is_empty());
}

/// [GATE-12]
#[tokio::test]
async fn a_response_loses_what_concerns_the_connection_and_keeps_the_rest() {
    let world = World::new().await;
    world.script.will(respond(
        "404 Not Found",
        "Content-Type: application/json\r\nX-Influxdb-Version: 1.6.7\r\nX-Influxdb-Build: OSS\r\n\
         Request-Id: 7\r\nX-Influxdb-Error: x\r\nConnection: X-Private, keep-alive\r\nX-Private: 1\r\n\
         Keep-Alive: timeout=5\r\nSet-Cookie: a=b\r\nProxy-Authenticate: x\r\nUpgrade: h2c\r\n",
        "{\"error\":\"database not found\"}\n",
    ));
    let request = format!(
        "POST /write?db=telemetry HTTP/1.1\r\nHost: x\r\nAuthorization: Token writer:{PASSWORD}\r\n\
         Content-Length: 0\r\n\r\n"
    );
    let answer = world.send(&request).await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.text(), "{\"error\":\"database not found\"}\n");
    let mut names: Vec<_> = answer.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "content-length",
            "content-type",
            "date",
            "request-id",
            "x-influxdb-build",
            "x-influxdb-error",
            "x-influxdb-version"
        ]
    );
}

#[tokio::test]
async fn a_chunked_response_is_streamed_and_complete() {
    let world = World::new().await;
    let part = "x".repeat(100_000);
    let chunk = format!("{:x}\r\n{part}\r\n", part.len());
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n";
    world.script.will(Act::Send(format!("{head}{}0\r\n\r\n", chunk.repeat(20))));
    let answer = world.get("reader", "/query?db=telemetry&q=SHOW+SERIES").await;
    assert_eq!((answer.status, answer.body.len(), answer.is_complete), (200, 2_000_000, true));
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    assert_eq!(answer.header("content-length"), None);
}

/// [GATE-13]
#[tokio::test]
async fn a_client_of_http_1_0_receives_a_length() {
    let world = World::new().await;
    let body = "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    world.script.will(Act::Send(format!("{chunked}{body}")));
    let request =
        format!("GET /query?db=telemetry&q=SHOW+SERIES&u=reader&p={PASSWORD} HTTP/1.0\r\n\r\n");
    let answer = world.send(&request).await;
    assert_eq!(
        (answer.text().as_str(), answer.header("content-length")),
        ("hello world", Some("11"))
    );
    assert_eq!(answer.header("transfer-encoding"), None);
    world.script.will(Act::SendAndClose(format!("{chunked}5\r\nhello\r\n")));
    let answer = world.send(&request).await;
    answer.error(503);
    // One that is too long to be collected ends with the connection.
    let chunk = format!("{:x}\r\n{}\r\n", 100_000, "y".repeat(100_000));
    world.script.will(Act::Send(format!("{chunked}{}0\r\n\r\n", chunk.repeat(20))));
    let answer = world.send(&request).await;
    assert_eq!((answer.status, answer.body.len()), (200, 2_000_000));
}

#[tokio::test]
async fn connections_to_the_upstream_are_used_again() {
    let world = World::new().await;
    for _ in 0..3 {
        assert_eq!(world.post("writer", "/write?db=telemetry", "cpu v=1\n").await.status, 204);
    }
    // The upstream closes them: the next request has another one.
    world.script.will(Act::SendAndClose("HTTP/1.1 204 No Content\r\n\r\n".to_owned()));
    for _ in 0..20 {
        assert_eq!(world.post("writer", "/write?db=telemetry", "cpu v=1\n").await.status, 204);
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    world.script.will(no_content());
    assert_eq!(world.post("writer", "/write?db=telemetry", "cpu v=1\n").await.status, 204);
    assert_eq!(world.script.take().len(), 24);
}

/// [GATE-4]
#[tokio::test]
async fn the_gateways_credentials_are_renewed_while_it_serves() {
    let world = World::new().await;
    let sent = async || {
        assert_eq!(world.post("writer", "/write?db=telemetry", "cpu v=1\n").await.status, 204);
        let received = world.script.take_one();
        received.header("authorization").map(str::to_owned)
    };
    let first = sent().await;
    let upstream = || portcullis_gateway::Upstream::new("http://elsewhere.invalid").unwrap();
    world.gateway.renew_credentials(&upstream().token("renewed").unwrap());
    assert_eq!(sent().await.as_deref(), Some("Token renewed"));
    world.gateway.renew_credentials(&upstream());
    assert_eq!(sent().await, None);
    world.gateway.renew_credentials(&upstream().password("portcullis", "upstream-s3cret").unwrap());
    assert_eq!(sent().await, first);
}
