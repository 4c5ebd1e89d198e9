//! Two passwords over HTTP: `keepPrevious`, `endPreviousOnUse`, and the end of the previous password.

use portcullis::Credentials;
use serde_json::{Value, json};

use crate::support::Server;

const LEGACY: &str = "/private/legacy/authorizations";

struct Credential {
    server: Server,
    path: String,
}

impl Credential {
    async fn new() -> Self {
        let server = Server::new().await;
        let id = server.credential("telegraf").await.id;
        Self { server, path: format!("{LEGACY}/{id}") }
    }

    async fn set(&self, body: Value) -> (u16, String) {
        let path = format!("{}/password", self.path);
        let response = self.server.call("POST", &path, &body.to_string()).await;
        (response.status.as_u16(), response.text)
    }

    async fn logs_in(&self, password: &str) -> bool {
        let credentials = Credentials::password("telegraf", password);
        self.server.engine.authenticate(credentials).await.is_ok()
    }

    async fn shown(&self) -> [Option<Value>; 2] {
        let shown = self.server.get(&self.path).await.json();
        ["passwordSetAt", "previousPassword"].map(|name| shown.get(name).cloned())
    }
}

/// [ROTATE-1] [ROTATE-5] [ROTATE-8] [ROTATE-12]
#[tokio::test]
async fn a_previous_password_is_kept_shown_and_ended() {
    let on = Credential::new().await;
    assert_eq!(on.shown().await, [None, None]);
    let body = json!({"password": "the-new-password", "keepPrevious": "24h"});
    assert_eq!(on.set(body).await, (204, String::new()));
    assert!(on.logs_in("telegraf-password").await && on.logs_in("the-new-password").await);
    let [set_at, previous] = on.shown().await;
    let (set_at, previous) = (set_at.unwrap(), previous.unwrap());
    assert!(previous["endsAt"].as_str() > set_at.as_str(), "{set_at} {previous}");
    assert!(previous["setAt"].as_str() <= set_at.as_str(), "{set_at} {previous}");
    assert_eq!(previous.get("endsOnUse"), None);
    assert_eq!(previous.get("lastUsedAt"), None);
    on.server.engine.flush_last_uses().await;
    let previous = on.shown().await[1].clone().unwrap();
    assert!(previous["lastUsedAt"].is_string(), "{previous}");
    let path = format!("{}/password/previous", on.path);
    for _ in 0..2 {
        assert_eq!(on.server.call("DELETE", &path, "").await.status, 204);
        assert!(!on.logs_in("telegraf-password").await && on.logs_in("the-new-password").await);
        assert_eq!(on.shown().await, [None, None]);
    }
    // A caller without the permission, and a credential that does not exist.
    let reader = on.server.token(vec!["read:users".parse().unwrap()]).await;
    let refused = on.server.call_as(&reader, "DELETE", &path, "").await;
    assert_eq!(refused.status, 401, "{}", refused.text);
    let nothing = format!("{LEGACY}/0000000000000005/password/previous");
    assert_eq!(on.server.call("DELETE", &nothing, "").await.status, 404);
}

/// [ROTATE-1] [ROTATE-4] [ROTATE-6]
#[tokio::test]
async fn without_a_time_the_previous_password_ends_at_once_and_with_the_option_on_use() {
    let on = Credential::new().await;
    let body = json!({"password": "the-new-password", "keepPrevious": null});
    assert_eq!(on.set(body).await.0, 204);
    assert!(!on.logs_in("telegraf-password").await && on.logs_in("the-new-password").await);
    let body =
        json!({"password": "the-newest-password", "keepPrevious": "1d", "endPreviousOnUse": true});
    assert_eq!(on.set(body).await.0, 204);
    assert_eq!(on.shown().await[1].as_ref().unwrap()["endsOnUse"], true);
    assert!(on.logs_in("the-new-password").await && on.logs_in("the-newest-password").await);
    assert!(!on.logs_in("the-new-password").await);
    assert_eq!(on.shown().await, [None, None]);
}

/// [ROTATE-1]
#[tokio::test]
async fn a_time_that_is_not_valid_changes_nothing() {
    let on = Credential::new().await;
    let of_time = |text: &str| {
        format!(
            "invalid keepPrevious: `{text}` is not a time from 1 second to 90 days, such as 30m, 24h \
             or 7d"
        )
    };
    for (more, message) in [
        (json!({"keepPrevious": ""}), of_time("")),
        (json!({"keepPrevious": "91d"}), of_time("91d")),
        (json!({"keepPrevious": "soon"}), of_time("soon")),
        (
            json!({"keepPrevious": 24}),
            "invalid json structure: `keepPrevious` must be a string".to_owned(),
        ),
        (
            json!({"endPreviousOnUse": true}),
            "invalid endPreviousOnUse: needs keepPrevious".to_owned(),
        ),
    ] {
        let mut body = json!({"password": "the-new-password"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, text) = on.set(body).await;
        let error: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, error["message"].as_str()), (400, Some(&*message)), "{more}");
        assert!(on.logs_in("telegraf-password").await);
    }
}
