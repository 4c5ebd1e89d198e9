//! When credentials were last used, over HTTP.

use portcullis::Credentials;
use serde_json::Value;

use crate::support::{PREFIX, Server};

const API_TOKENS: &str = "/api/v2/authorizations";

fn used<'a>(record: &'a Value, member: &str) -> Option<&'a str> {
    record.get(member).map(|value| value.as_str().unwrap())
}

/// Logs in with the password, and writes what was noted.
async fn log_in(server: &Server, username: &str) {
    let password = format!("{username}-password");
    let credentials = Credentials::password(username, &password);
    let from: std::net::IpAddr = "192.0.2.7".parse().unwrap();
    server.engine.authenticate(credentials.source(from)).await.unwrap();
    server.engine.flush_last_uses().await;
}

/// [USE-7]
#[tokio::test]
async fn one_credential_shows_its_last_use_and_a_list_does_on_request() {
    let server = Server::new().await;
    let created = server.credential("telegraf").await;
    server.credential("grafana").await;
    let uri = format!("{PREFIX}/{}", created.id);
    let before = server.get(&uri).await;
    assert!(!before.text.contains("lastUsed"), "{}", before.text);
    log_in(&server, "telegraf").await;

    let one = server.get(&uri).await;
    assert_eq!(used(&one.json(), "lastUsedFrom"), Some("192.0.2.7"));
    let at = one.json()["lastUsedAt"].as_str().unwrap().to_owned();
    // Everything else is as it was, and the members are the last ones.
    let rest = before.text.trim_end_matches("\n}\n");
    assert!(one.text.starts_with(&format!("{rest},\n\t\"lastUsedAt\": \"{at}\"")), "{}", one.text);

    let list = async |query: &str| {
        let response = server.get(&format!("{PREFIX}?{query}")).await;
        assert_eq!(response.status, 200, "{}", response.text);
        let mut found: Vec<_> = response.json()["authorizations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|record| {
                let name = record["token"].as_str().unwrap().to_owned();
                (name, used(record, "lastUsedAt").map(str::to_owned))
            })
            .collect();
        found.sort();
        found
    };
    let (grafana, telegraf) = ("grafana".to_owned(), "telegraf".to_owned());
    let hidden = [(grafana.clone(), None), (telegraf.clone(), None)];
    let shown = [(grafana.clone(), None), (telegraf.clone(), Some(at.clone()))];
    assert_eq!(list("").await, hidden);
    assert_eq!(list("lastUsed=false").await, hidden);
    assert_eq!(list("lastUsed=true").await, shown);
    assert_eq!(list("lastUsed=true&org=acme&limit=5").await, shown);
    assert_eq!(list("unusedSince=2999-01-01T00:00:00Z").await, shown);
    assert_eq!(list("unusedSince=2999-01-01T00:00:00%2B02:00&token=grafana").await, shown[..1]);
    assert_eq!(list("unusedSince=2020-01-01T00:00:00Z").await, []);
    let changed = server.call("PATCH", &uri, r#"{"description":"x"}"#).await;
    assert!(!changed.text.contains("lastUsed"), "{}", changed.text);
}

/// [USE-7] [LIST-4]
#[tokio::test]
async fn times_and_flags_that_cannot_be_read_are_named() {
    let server = Server::new().await;
    for path in [PREFIX, API_TOKENS] {
        let response = server.get(&format!("{path}?lastUsed=yes")).await;
        response.assert_error(400, "invalid", "`lastUsed` must be true or false");
        let response = server.get(&format!("{path}?unusedSince=yesterday")).await;
        let message =
            "`unusedSince`: `yesterday` is not a time such as `2026-01-31T23:59:59Z` (RFC 3339)";
        response.assert_error(400, "invalid", message);
    }
}

/// [USE-6] [USE-7]
#[tokio::test]
async fn api_tokens_show_their_last_use_too() {
    let server = Server::new().await;
    let (token, secret) = server.operator_token().await;
    let uri = format!("{API_TOKENS}/{}", token.id);
    assert!(!server.get(&uri).await.text.contains("lastUsed"));
    server.engine.authenticate_caller(Credentials::token(secret.expose())).await.unwrap();
    server.engine.flush_last_uses().await;
    let one = server.get(&uri).await.json();
    assert!(used(&one, "lastUsedAt").is_some() && used(&one, "lastUsedFrom").is_none());
    for (query, found, shown) in [
        ("", 2, 0),
        ("?lastUsed=true", 2, 2),
        ("?unusedSince=2999-01-01T00:00:00Z", 2, 2),
        ("?unusedSince=2020-01-01T00:00:00Z", 0, 0),
    ] {
        let list = server.get(&format!("{API_TOKENS}{query}")).await.json();
        let list = list["authorizations"].as_array().unwrap();
        let with = list.iter().filter(|record| record.get("lastUsedAt").is_some()).count();
        assert_eq!((list.len(), with), (found, shown), "{query}");
    }
}
