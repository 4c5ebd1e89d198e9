//! In which order a request is checked: credentials, path, size, id, body, permissions.

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::Request;

use crate::support::{PREFIX, Server};

const MIB: usize = 1024 * 1024;

/// [HTTP-6]
#[tokio::test]
async fn each_check_comes_before_the_next() {
    let server = Server::new().await;
    let powerless = server.token(vec![]).await;
    let id = server.authorization("telegraf").await.id;
    let huge = "x".repeat(MIB + 1);
    let password = |id: &str| format!("{PREFIX}/{id}/password");

    // Size before id before body before permissions.
    let response = server.call_as(&powerless, "POST", &password("abc"), &huge).await;
    response.assert_error(
        413,
        "request too large",
        "the request body is larger than 1048576 bytes",
    );
    let response = server.call_as(&powerless, "POST", &password("abc"), "{").await;
    response.assert_error(400, "invalid", "id must have a length of 16 bytes");
    let response = server.call_as(&powerless, "POST", &password(&id.to_string()), "{").await;
    response.assert_error(400, "invalid", "invalid json structure: unexpected EOF");
    let response = server.call_as(&powerless, "POST", &password(&id.to_string()), "{}").await;
    let missing = format!("write:users/{} is unauthorized", server.user.id);
    response.assert_error(401, "unauthorized", &missing);
    let response = server.call("POST", &password(&id.to_string()), "{}").await;
    response.assert_error(400, "invalid", "passwords must be between 8 and 72 characters long");

    // A record that is not there before permissions, permissions before the status.
    let item = |id: &str| format!("{PREFIX}/{id}");
    let bogus = r#"{"status":"bogus"}"#;
    let response = server.call_as(&powerless, "PATCH", &item("00000000000000ff"), bogus).await;
    response.assert_error(404, "not found", "authorization not found");
    let response = server.call_as(&powerless, "PATCH", &item(&id.to_string()), bogus).await;
    assert_eq!(response.status, 401);
    let response = server.call("PATCH", &item(&id.to_string()), bogus).await;
    response.assert_error(400, "invalid", "unknown authorization status");

    // The form of a creation before the caller's permissions.
    let response = server.call_as(&powerless, "POST", PREFIX, "{}").await;
    response.assert_error(400, "invalid", "authorization must include permissions");
}

/// [HTTP-7]
#[tokio::test]
async fn a_body_is_too_large_with_or_without_content_length() {
    let server = Server::new().await;
    let part = Bytes::from(vec![b' '; 64 * 1024]);
    let endless = stream::repeat_with(move || Ok::<_, std::io::Error>(part.clone()));
    let request =
        Request::post(PREFIX).header("Authorization", format!("Token {}", server.operator));
    let response = server.send(request.body(Body::from_stream(endless)).unwrap()).await;
    response.assert_error(
        413,
        "request too large",
        "the request body is larger than 1048576 bytes",
    );

    // Announced, and never sent.
    let request = Request::post(PREFIX)
        .header("Authorization", format!("Token {}", server.operator))
        .header("Content-Length", (MIB + 1).to_string());
    let never = stream::pending::<Result<Bytes, std::io::Error>>();
    let response = server.send(request.body(Body::from_stream(never)).unwrap()).await;
    assert_eq!(response.status, 413);
}

/// [HTTP-7]
#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_times_out() {
    let server = Server::new().await;
    let never = stream::pending::<Result<Bytes, std::io::Error>>();
    let request =
        Request::post(PREFIX).header("Authorization", format!("Token {}", server.operator));
    let response = server.send(request.body(Body::from_stream(never)).unwrap()).await;
    response.assert_error(408, "invalid", "the request body did not arrive within 30 seconds");
}

/// [HTTP-7] [AUTH-5]
#[tokio::test]
async fn a_body_of_exactly_the_limit_is_read() {
    let server = Server::new().await;
    let mut draft = server.draft("telegraf");
    draft["description"] = "".into();
    let rest = MIB - draft.to_string().len();
    draft["description"] = "d".repeat(rest).into();
    assert_eq!(draft.to_string().len(), MIB);
    let response = server.call("POST", PREFIX, &draft.to_string()).await;
    assert_eq!(response.status, 201);
}

/// [HTTP-11]
#[tokio::test]
async fn a_body_that_two_parsers_could_read_differently_is_refused_and_stores_nothing() {
    let server = Server::new().await;
    let good = server.draft("telegraf").to_string();
    for bad in [
        good.replacen('{', "{\"token\":\"other\",", 1),
        good.replacen('{', "{\"x\":{\"a\":1,\"a\":2},", 1),
        good.replace("\"action\":\"read\"", "\"action\":\"read\",\"action\":\"write\""),
        format!("{good}{good}"),
        format!("{good} x"),
        good.replace("\"token\"", "\"Token\""),
    ] {
        let response = server.call("POST", PREFIX, &bad).await;
        assert_eq!(response.status, 400, "{bad}");
    }
    assert_eq!(server.get(PREFIX).await.json()["authorizations"], serde_json::json!([]));
    assert_eq!(server.call("POST", PREFIX, &good).await.status, 201);
}

#[tokio::test]
async fn a_path_that_is_not_utf8_holds_no_id() {
    let server = Server::new().await;
    for path in ["%ff%ff%ff%ff%ff%ff%ff%ff%ff%ff%ff%ff%ff%ff%ff%ff", "%00", "..%2f..%2fetc"] {
        let response = server.get(&format!("{PREFIX}/{path}")).await;
        assert_eq!(response.status, 400, "{path}");
        assert_eq!(response.json()["code"], "invalid");
    }
}
