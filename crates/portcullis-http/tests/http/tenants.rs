//! Orgs, users and buckets: created, changed and deleted in the shapes of the v2 API.

use serde_json::{Value, json};

use crate::support::{Response, Server};

const NO_PASSWORDS: &str = "users have no passwords here: a user logs in with an API token (/api/v2/authorizations) or with a \
     v1 credential, whose password is set with POST /private/legacy/authorizations/ID/password";

impl Server {
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        self.call("POST", path, &body.to_string()).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Response {
        self.call("PATCH", path, &body.to_string()).await
    }

    /// Creates what the body describes and returns its id.
    async fn created(&self, path: &str, body: Value) -> String {
        let created = self.post(path, &body).await;
        assert_eq!(created.status, 201, "{}", created.text);
        created.json()["id"].as_str().unwrap().to_owned()
    }
}

/// [ORGS-1] [ORGS-2]
#[tokio::test]
async fn orgs_and_users_are_created_changed_and_deleted() {
    let server = Server::new().await;
    // Members that the v2 API has and this one does not keep are ignored.
    let body = json!({"name": "globex", "description": "not kept", "oauthID": "x"});
    let created = server.post("/api/v2/orgs/", &body).await;
    assert_eq!(created.status, 201);
    let id = created.json()["id"].as_str().unwrap().to_owned();
    let org = |name: &str, status: &str| {
        json!({"links": {"self": format!("/api/v2/orgs/{id}")}, "id": id, "name": name,
            "description": "", "status": status})
    };
    assert_eq!(created.json(), org("globex", "active"));
    let path = format!("/api/v2/orgs/{id}");
    assert_eq!(
        server.patch(&path, &json!({"name": "initech"})).await.json(),
        org("initech", "active")
    );
    let off = server.patch(&path, &json!({"status": "inactive", "name": null})).await;
    assert_eq!((off.status.as_u16(), off.json()), (200, org("initech", "inactive")));
    assert_eq!(server.get(&path).await.json(), off.json());
    let deleted = server.call("DELETE", &path, "").await;
    assert_eq!((deleted.status.as_u16(), &*deleted.text), (204, ""));
    server.get(&path).await.assert_error(404, "not found", "organization not found");

    let created = server.post("/api/v2/users", &json!({"name": "bob", "status": "inactive"})).await;
    assert_eq!(created.status, 201);
    let id = created.json()["id"].as_str().unwrap().to_owned();
    let user = |name: &str, status: &str| json!({"links": {"self": format!("/api/v2/users/{id}")}, "id": id, "name": name, "status": status});
    assert_eq!(created.json(), user("bob", "inactive"));
    let path = format!("/api/v2/users/{id}");
    let on = server.patch(&path, &json!({"id": id, "name": "bob", "status": "active"})).await;
    assert_eq!(on.json(), user("bob", "active"));
    assert_eq!(server.call("DELETE", &path, "").await.status, 204);
    server.get(&path).await.assert_error(404, "not found", "user not found");
}

/// [ORGS-2] [BUCKETS-3]
#[tokio::test]
async fn errors_are_those_of_the_v2_api() {
    let server = Server::new().await;
    let (org, user, bucket) = (server.org.id, server.user.id, server.bucket.id);
    let other = server.created("/api/v2/orgs", json!({"name": "globex"})).await;
    server.created("/api/v2/users", json!({"name": "bob"})).await;
    server.created("/api/v2/buckets", json!({"orgID": org.to_string(), "name": "events"})).await;
    let bad_status = "invalid status: must be active or inactive";
    let no_name = "a name must be between 1 and 4096 bytes long, not 0";
    let missing = "1111111111111111";
    let two = json!({"orgID": org.to_string(), "name": "x", "retentionRules": [{}, {}]});
    let negative = |member: &str| json!({"orgID": org.to_string(), "name": "x", "retentionRules": [{member: -1}]});
    for (method, path, body, status, code, message) in [
        ("POST", "/api/v2/orgs".to_owned(), json!({}), 400, "invalid", no_name),
        (
            "POST",
            "/api/v2/orgs".to_owned(),
            json!({"name": "acme"}),
            422,
            "conflict",
            "organization with name acme already exists",
        ),
        (
            "POST",
            "/api/v2/orgs".to_owned(),
            json!({"name": "x", "status": "on"}),
            400,
            "invalid",
            bad_status,
        ),
        (
            "PATCH",
            format!("/api/v2/orgs/{other}"),
            json!({"name": "acme"}),
            422,
            "conflict",
            "organization with name acme already exists",
        ),
        ("PATCH", format!("/api/v2/orgs/{other}"), json!({"name": ""}), 400, "invalid", no_name),
        (
            "PATCH",
            format!("/api/v2/orgs/{other}"),
            json!({"status": ""}),
            400,
            "invalid",
            bad_status,
        ),
        (
            "PATCH",
            format!("/api/v2/orgs/{missing}"),
            json!({}),
            404,
            "not found",
            "organization not found",
        ),
        (
            "DELETE",
            format!("/api/v2/orgs/{missing}"),
            json!({}),
            404,
            "not found",
            "organization not found",
        ),
        (
            "PATCH",
            "/api/v2/orgs/x".to_owned(),
            json!({}),
            400,
            "invalid",
            "id must have a length of 16 bytes",
        ),
        (
            "POST",
            "/api/v2/users".to_owned(),
            json!({"name": "ada"}),
            422,
            "conflict",
            "user with name ada already exists",
        ),
        (
            "PATCH",
            format!("/api/v2/users/{user}"),
            json!({"name": "bob"}),
            422,
            "conflict",
            "user with name bob already exists",
        ),
        (
            "PATCH",
            format!("/api/v2/users/{user}"),
            json!({"status": "on"}),
            400,
            "invalid",
            bad_status,
        ),
        (
            "DELETE",
            format!("/api/v2/users/{missing}"),
            json!({}),
            404,
            "not found",
            "user not found",
        ),
        (
            "POST",
            "/api/v2/buckets".to_owned(),
            json!({"name": "x"}),
            400,
            "invalid",
            "organization id must be provided",
        ),
        (
            "POST",
            "/api/v2/buckets".to_owned(),
            json!({"name": "x", "orgID": missing}),
            404,
            "not found",
            "organization not found",
        ),
        (
            "POST",
            "/api/v2/buckets".to_owned(),
            json!({"name": "events", "orgID": org.to_string()}),
            422,
            "conflict",
            "bucket with name events already exists",
        ),
        (
            "POST",
            "/api/v2/buckets".to_owned(),
            two,
            422,
            "unprocessable entity",
            "buckets cannot have more than one retention rule at this time",
        ),
        (
            "POST",
            "/api/v2/buckets".to_owned(),
            negative("everySeconds"),
            422,
            "unprocessable entity",
            "expiration seconds cannot be negative",
        ),
        (
            "POST",
            "/api/v2/buckets".to_owned(),
            negative("shardGroupDurationSeconds"),
            422,
            "unprocessable entity",
            "shard-group duration seconds cannot be negative",
        ),
        (
            "PATCH",
            format!("/api/v2/buckets/{bucket}"),
            json!({"name": "events"}),
            422,
            "conflict",
            "bucket name is not unique",
        ),
        (
            "PATCH",
            format!("/api/v2/buckets/{bucket}"),
            json!({"retentionRules": [{"everySeconds": -1}]}),
            422,
            "unprocessable entity",
            "expiration seconds cannot be negative",
        ),
        (
            "PATCH",
            format!("/api/v2/buckets/{bucket}"),
            json!({"retentionRules": [{"everySeconds": "1"}]}),
            400,
            "invalid",
            "invalid json structure: `everySeconds` must be a number",
        ),
        (
            "PATCH",
            format!("/api/v2/buckets/{missing}"),
            json!({}),
            404,
            "not found",
            "bucket not found",
        ),
        (
            "DELETE",
            format!("/api/v2/buckets/{missing}"),
            json!({}),
            404,
            "not found",
            "bucket not found",
        ),
    ] {
        let response = server.call(method, &path, &body.to_string()).await;
        response.assert_error(status, code, message);
    }
    for path in ["/api/v2/orgs", "/api/v2/users", "/api/v2/buckets"] {
        let response = server.call("POST", path, "{").await;
        response.assert_error(400, "invalid", "invalid json structure: unexpected EOF");
        let list = path.trim_start_matches("/api/v2/");
        assert_eq!(server.get(path).await.json()[list].as_array().unwrap().len(), 2, "{path}");
    }
}

/// [BUCKETS-1] [BUCKETS-2]
#[tokio::test]
async fn buckets_are_created_renamed_and_deleted_and_keep_no_rules() {
    let server = Server::new().await;
    let org = server.org.id.to_string();
    let rules = json!([{"type": "expire", "everySeconds": 3600, "shardGroupDurationSeconds": 0}]);
    let body = json!({"orgID": org, "name": "events", "description": "d", "rp": "0", "retentionRules": rules});
    let created = server.post("/api/v2/buckets", &body).await;
    assert_eq!(created.status, 201);
    let id = created.json()["id"].as_str().unwrap().to_owned();
    let bucket = |name: &str| {
        json!({"id": id, "orgID": org, "type": "user", "name": name, "retentionRules": [],
            "links": {"self": format!("/api/v2/buckets/{id}"), "org": format!("/api/v2/orgs/{org}")}})
    };
    assert_eq!(created.json(), bucket("events"));
    let path = format!("/api/v2/buckets/{id}");
    let renamed = server.patch(&path, &json!({"name": "logs", "retentionRules": rules})).await;
    assert_eq!((renamed.status.as_u16(), renamed.json()), (200, bucket("logs")));
    let same = server.patch(&path, &json!({"description": "other", "retentionRules": []})).await;
    assert_eq!(same.json(), bucket("logs"));
    assert_eq!(server.get(&path).await.json(), bucket("logs"));
    assert_eq!(server.call("DELETE", &path, "").await.status, 204);
    server.get(&path).await.assert_error(404, "not found", "bucket not found");
}

/// [ORGS-3]
#[tokio::test]
async fn a_password_of_a_user_is_refused_with_what_there_is_instead() {
    let server = Server::new().await;
    let path = format!("/api/v2/users/{}/password", server.user.id);
    for (method, path) in [
        ("POST", &*path),
        ("PUT", &*path),
        ("PUT", "/api/v2/me/password"),
        ("POST", "/api/v2/me/password/"),
    ] {
        let response = server.call(method, path, "{\"password\": \"s3cret-enough\"}").await;
        response.assert_error(400, "invalid", NO_PASSWORDS);
    }
}

/// [DRYRUN-1] [DRYRUN-3]
#[tokio::test]
async fn a_dry_run_counts_and_deletes_nothing() {
    let server = Server::new().await;
    let credential = server.credential("telegraf").await;
    let token = server.engine.list_api_tokens(None, 1.try_into().unwrap()).await.unwrap().remove(0);
    let (org, user, bucket) = (server.org.id, server.user.id, server.bucket.id);
    let mapping = json!({"orgID": org.to_string(), "bucketID": bucket.to_string(), "database": "db", "retention_policy": "rp"});
    let mapping = server.created("/api/v2/dbrps", mapping).await;
    let expected = |authorizations: u64, tokens: u64, buckets: u64, dbrps: u64, grants: u64| {
        json!({"dryRun": true, "authorizations": authorizations, "apiTokens": tokens, "buckets": buckets,
            "dbrps": dbrps, "grants": grants, "complete": true})
    };
    for (path, counts) in [
        (format!("/api/v2/orgs/{org}?"), expected(1, 1, 1, 1, 0)),
        (format!("/api/v2/users/{user}?"), expected(1, 1, 0, 0, 0)),
        (format!("/api/v2/buckets/{bucket}?"), expected(0, 0, 1, 1, 1)),
        (format!("/api/v2/dbrps/{mapping}?orgID={org}&"), expected(0, 0, 0, 1, 0)),
        (format!("/api/v2/authorizations/{}?", token.id), expected(0, 1, 0, 0, 0)),
        (format!("/private/legacy/authorizations/{}?", credential.id), expected(1, 0, 0, 0, 0)),
    ] {
        let previewed = server.call("DELETE", &format!("{path}dryRun=true"), "").await;
        assert_eq!((previewed.status.as_u16(), previewed.json()), (200, counts), "{path}");
        for unclear in ["dryRun", "dryrun=true", "dryRun=maybe"] {
            let refused = server.call("DELETE", &format!("{path}{unclear}"), "").await;
            refused.assert_error(400, "invalid", "give `dryRun` once, as true or false");
        }
        let path = path.replacen('?', &format!("?orgID={org}&"), 1);
        assert_eq!(server.get(&path).await.status, 200, "{path}: still there");
    }
    assert!(server.login("telegraf", "telegraf-password").await.is_ok());
    let uri = format!("/api/v2/buckets/{bucket}?dryRun=false");
    assert_eq!(server.call("DELETE", &uri, "").await.status, 204);
}
