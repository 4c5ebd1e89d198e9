//! Ends and networks over HTTP: `expiresAt`, `passwordExpiresAt`, `allowedNetworks`, `expiresBefore`.

use serde_json::{Value, json};

use crate::support::Server;

const LEGACY: &str = "/private/legacy/authorizations";
const TOKENS: &str = "/api/v2/authorizations";

fn body(server: &Server, path: &str, more: Value) -> Value {
    let mut body = json!({"orgID": server.org.id.to_string(),
        "permissions": [{"action": "read", "resource": {"type": "buckets"}}]});
    let members = body.as_object_mut().unwrap();
    if path == LEGACY {
        members.insert("token".to_owned(), json!("telegraf"));
        // The caller grants only what it holds, and a grant is of the org.
        let org = server.org.id.to_string();
        members["permissions"][0]["resource"]["orgID"] = json!(org);
    }
    members.extend(more.as_object().unwrap().clone());
    body
}

/// [EXP-2] [NET-2] [GET-1] [PATCH-1]
#[tokio::test]
async fn the_members_are_shown_where_they_are_set_changed_and_removed() {
    let server = Server::new().await;
    for path in [LEGACY, TOKENS] {
        let more = json!({"expiresAt": "2100-01-02T03:04:05+01:00",
            "allowedNetworks": ["10.1.2.3/8", "::1"], "passwordExpiresAt": "ignored"});
        let created = server.post(path, &body(&server, path, more)).await;
        assert_eq!(created.status, 201, "{}", created.text);
        let created = created.json();
        assert_eq!(created["expiresAt"], "2100-01-02T02:04:05Z");
        assert_eq!(created["allowedNetworks"], json!(["10.0.0.0/8", "::1"]));
        let one = format!("{path}/{}", created["id"].as_str().unwrap());
        let shown = |value: &Value| {
            ["expiresAt", "passwordExpiresAt", "allowedNetworks"]
                .map(|name| value.get(name).cloned())
        };
        let (end, networks) = (json!("2100-01-02T02:04:05Z"), json!(["10.0.0.0/8", "::1"]));
        assert_eq!(
            shown(&server.get(&one).await.json()),
            [Some(end), None, Some(networks.clone())]
        );
        let list = server.get(path).await.json();
        let list = list["authorizations"].as_array().unwrap();
        assert!(list.iter().any(|one| one["allowedNetworks"] == networks));

        for (change, expected) in [
            (json!({"description": "d"}), [Some(json!("2100-01-02T02:04:05Z")), Some(networks)]),
            (
                json!({"expiresAt": "2101-01-01T00:00:00Z", "allowedNetworks": ["192.0.2.1/32"]}),
                [Some(json!("2101-01-01T00:00:00Z")), Some(json!(["192.0.2.1"]))],
            ),
            (json!({"expiresAt": null}), [None, Some(json!(["192.0.2.1"]))]),
            (json!({"allowedNetworks": []}), [None, None]),
            (json!({"allowedNetworks": ["::1"]}), [None, Some(json!(["::1"]))]),
            (json!({"allowedNetworks": null}), [None, None]),
        ] {
            let changed = server.patch(&one, &change).await;
            assert_eq!(changed.status, 200, "{change}: {}", changed.text);
            let [end, _, networks] = shown(&changed.json());
            assert_eq!([end, networks], expected, "{change}");
        }
    }
}

/// [EXP-2] [EXP-3] [NET-2] [CREATE-2] [PATCH-2]
#[tokio::test]
async fn ends_and_networks_that_are_not_valid_are_refused() {
    let server = Server::new().await;
    let networks: Vec<String> = (0..65).map(|last| format!("10.0.0.{last}")).collect();
    let cases = [
        (json!({"expiresAt": "2000-01-01T00:00:00Z"}), "invalid expiresAt: must be in the future"),
        (
            json!({"expiresAt": "soon"}),
            "invalid expiresAt: `soon` is not a time such as `2026-01-31T23:59:59Z` (RFC 3339)",
        ),
        (json!({"expiresAt": 4}), "invalid json structure: `expiresAt` must be a string"),
        (
            json!({"allowedNetworks": ["office"]}),
            "invalid allowedNetworks: `office` is neither an IP address nor a network such as 10.0.0.0/8",
        ),
        (
            json!({"allowedNetworks": networks}),
            "invalid allowedNetworks: there must be at most 64 networks, not 65",
        ),
        (
            json!({"allowedNetworks": "::1"}),
            "invalid json structure: `allowedNetworks` must be an array",
        ),
        (
            json!({"allowedNetworks": [null]}),
            "invalid json structure: each of `allowedNetworks` must be a string",
        ),
    ];
    for path in [LEGACY, TOKENS] {
        let created = server.post(path, &body(&server, path, json!({}))).await.json();
        let one = format!("{path}/{}", created["id"].as_str().unwrap());
        for (part, message) in &cases {
            let refused = server.post(path, &body(&server, path, part.clone())).await;
            refused.assert_error(400, "invalid", message);
            server.patch(&one, part).await.assert_error(400, "invalid", message);
        }
        let end = json!({"passwordExpiresAt": "2100-01-01T00:00:00Z"});
        let changed = server.patch(&one, &end).await;
        if path == TOKENS {
            assert_eq!(changed.json().get("passwordExpiresAt"), None);
            continue;
        }
        changed.assert_error(400, "invalid", "invalid passwordExpiresAt: no password is set");
        let password = json!({"password": "a-password-1"});
        assert_eq!(server.post(&format!("{one}/password"), &password).await.status, 204);
        let changed = server.patch(&one, &end).await;
        assert_eq!(changed.json()["passwordExpiresAt"], "2100-01-01T00:00:00Z");
        assert_eq!(server.post(&format!("{one}/password"), &password).await.status, 204);
        assert_eq!(server.get(&one).await.json().get("passwordExpiresAt"), None);
    }
}

/// [EXP-9] [LIST-2] [LIST-4]
#[tokio::test]
async fn a_list_has_what_expires_before_a_time() {
    let server = Server::new().await;
    for path in [LEGACY, TOKENS] {
        let end = json!({"expiresAt": "2100-01-01T00:00:00Z"});
        let id = server.post(path, &body(&server, path, end)).await.json()["id"].clone();
        for (time, expected) in [
            ("2100-01-01T00:00:00Z", vec![]),
            ("2100-01-01T00:00:00.000000001Z", vec![id.clone()]),
            ("2100-01-01T02:00:00%2B01:00", vec![id]),
        ] {
            let list = server.get(&format!("{path}?expiresBefore={time}")).await.json();
            let found = list["authorizations"].as_array().unwrap().iter();
            assert_eq!(found.map(|one| one["id"].clone()).collect::<Vec<_>>(), expected, "{time}");
        }
        let refused = server.get(&format!("{path}?expiresBefore=soon")).await;
        let message =
            "`expiresBefore`: `soon` is not a time such as `2026-01-31T23:59:59Z` (RFC 3339)";
        refused.assert_error(400, "invalid", message);
    }
}

/// [EXP-5] [NET-3]
#[tokio::test]
async fn a_caller_is_refused_from_another_address() {
    let server = Server::new().await;
    let more = json!({"allowedNetworks": ["203.0.113.0/24"]});
    let created = server.post(TOKENS, &body(&server, TOKENS, more)).await.json();
    let secret = created["token"].as_str().unwrap();
    let refused = server.call_as(secret, "GET", "/api/v2/me", "").await;
    refused.assert_error(401, "unauthorized", "unauthorized access");
}
