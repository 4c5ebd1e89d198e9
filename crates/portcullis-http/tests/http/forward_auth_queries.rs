//! Queries behind a proxy: what is in the URL is decided, and what may be in a body is not let through.

use axum::Router;
use axum::body::Body;
use http::Request;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use portcullis::{Action, Permission, Resource};
use portcullis_http::{ForwardAuthConfig, ServerApi, UpstreamSemantics};

use crate::support::{Response, Server, forward_auth, name, send};

const URI: &str = "X-Original-URI";

/// The buckets `telemetry`, `telemetry/weekly` and `events`, and credentials that may read or write one of
/// them: `read-telemetry` and so on.
struct World {
    server: Server,
    app: Router,
}

impl World {
    async fn new() -> Self {
        let server = Server::new().await;
        for bucket in ["events", "telemetry/weekly"] {
            server.engine.create_bucket(server.org.id, name(bucket)).await.unwrap();
        }
        for bucket in ["telemetry", "telemetry/weekly", "events"] {
            for (word, action) in [("read", Action::Read), ("write", Action::Write)] {
                let id = server.engine.bucket_id(server.org.id, bucket).await.unwrap().unwrap();
                let grant = [Permission::new(action, Resource::bucket(server.org.id, id))];
                server.credential_with(&format!("{word}-{bucket}"), grant).await;
            }
        }
        let app = ServerApi::new(server.engine.clone()).into_router();
        Self { server, app }
    }

    async fn request(&self, username: &str, target: &str, headers: &[(&str, &str)]) -> Response {
        let token = format!("Token {username}:{username}-password");
        let own = [(URI, target), ("Authorization", &*token)];
        forward_auth(&self.app, "", &[&own, headers].concat()).await
    }

    async fn query(&self, username: &str, q: &str) -> Response {
        self.request(username, &format!("/query?db=telemetry&q={}", encoded(q)), &[]).await
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// [FWD-14]
#[tokio::test]
async fn a_query_in_the_url_is_decided_by_its_statements() {
    let world = World::new().await;
    for (username, q, status) in [
        ("read-telemetry", "SELECT v FROM cpu", 204),
        ("read-telemetry", "SELECT v FROM cpu; SHOW TAG KEYS", 204),
        ("write-telemetry", "SELECT v FROM cpu", 403),
        ("read-events", "SELECT v FROM cpu", 403),
        ("read-events", "SELECT v FROM events..cpu", 204),
        ("read-telemetry", "SELECT v FROM (SELECT v FROM events..cpu)", 403),
        ("read-telemetry", "SELECT v FROM weekly.cpu", 403),
        ("read-telemetry/weekly", "SELECT v FROM weekly.cpu", 204),
        ("read-telemetry", "SELECT v INTO copy FROM cpu", 403),
        ("write-telemetry", "DELETE FROM cpu", 204),
        ("read-telemetry", "DROP DATABASE telemetry", 403),
        ("read-telemetry", "SHOW DATABASES", 403),
        ("read-telemetry", "SELECT v FROM cpu; DROP MEASUREMENT cpu", 403),
    ] {
        let response = world.query(username, q).await;
        assert_eq!(response.status, status, "{username}: {q}: {}", response.text);
        assert_ne!(response.header("x-portcullis-authorization"), None);
    }
}

/// [FWD-19]
#[tokio::test]
async fn the_client_sees_which_statement_is_denied_and_what_is_wrong_with_a_query() {
    let world = World::new().await;
    for (q, message) in [
        (
            "SELECT v FROM cpu; DELETE FROM cpu",
            "not authorized to execute statement 2, DELETE: it needs write to \"telemetry\"",
        ),
        ("SELECT v", "error parsing query: found EOF, expected FROM at line 1, char 9"),
    ] {
        let response = world.query("read-telemetry", q).await;
        response.assert_error(403, "forbidden", message);
        assert_eq!(response.json()["error"], message);
        // A proxy puts it into a string of JSON as it is.
        let denial = format!("\"{}\"", response.header("x-portcullis-denial").unwrap());
        assert_eq!(serde_json::from_str::<String>(&denial).unwrap(), message);
    }
    let response = world.request("read-telemetry", "/query?db=telemetry", &[]).await;
    let message = "there is no `q` in the URL, and a body is not seen here";
    response.assert_error(403, "forbidden", message);
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let target = format!("/query?db=telemetry&q={}", encoded("SELECT v FROM cpu"));
    let response = world.request("read-telemetry", &target, &form).await;
    let message = response.json()["message"].as_str().unwrap().to_owned();
    assert!(response.status == 403 && message.contains("in the URL, without a form"), "{message}");
}

/// [FWD-14]
#[tokio::test]
async fn what_the_url_does_not_tell_is_refused() {
    let world = World::new().await;
    let q = encoded("SELECT v FROM cpu");
    let good = format!("/query?db=telemetry&q={q}");
    assert_eq!(world.request("read-telemetry", &good, &[]).await.status, 204);
    for target in [
        "/query?db=telemetry".to_owned(),
        "/query?db=telemetry&q=".to_owned(),
        format!("/query?q={q}"),
        format!("/query?db=&q={q}"),
        // Twice, or in a way that another parser could read differently.
        format!("{good}&q={q}"),
        format!("{good}&%71={q}"),
        format!("{good}&q=%zz"),
        format!("{good}&db=events"),
        format!("{good}&rp=a&rp=b"),
        format!("{good}&params=%7B%7D&params=%7B%7D"),
        format!("{good}&params=%5B%5D"),
        format!("{good}%00"),
        // Other paths, and other languages.
        format!("/query/?db=telemetry&q={q}"),
        format!("/api/v2/query?db=telemetry&q={q}"),
        format!("/Query?db=telemetry&q={q}"),
    ] {
        let status = world.request("read-telemetry", &target, &[]).await.status;
        assert!([401, 403].contains(&status.as_u16()), "{target}: {status}");
    }
    // A form in the body may have a `q` of its own, which InfluxDB takes first.
    for content_type in [
        "application/x-www-form-urlencoded",
        "Application/X-WWW-Form-URLEncoded; charset=utf-8",
        "multipart/form-data; boundary=x",
        "application/vnd.flux",
    ] {
        let headers = [("Content-Type", content_type)];
        assert_eq!(
            world.request("read-telemetry", &good, &headers).await.status,
            403,
            "{content_type}"
        );
    }
    let headers = [("Content-Type", "application/json")];
    assert_eq!(world.request("read-telemetry", &good, &headers).await.status, 204);
}

#[tokio::test]
async fn parameters_are_a_part_of_the_query() {
    let world = World::new().await;
    let target = |database: &str| {
        let params = encoded(&format!(r#"{{"d": {{"identifier": "{database}"}}, "n": 5}}"#));
        let q = encoded("SELECT v FROM $d..cpu WHERE v > $n");
        format!("/query?q={q}&params={params}")
    };
    assert_eq!(world.request("read-telemetry", &target("telemetry"), &[]).await.status, 204);
    assert_eq!(world.request("read-telemetry", &target("events"), &[]).await.status, 403);
}

/// [FWD-14]
#[tokio::test]
async fn a_permission_that_the_proxy_names_does_not_say_what_a_query_does() {
    let world = World::new().await;
    let telemetry = world.server.bucket.id;
    let org = world.server.org.id;
    for (q, status) in [("SELECT v FROM cpu", 204), ("DROP DATABASE telemetry", 403)] {
        let uri = format!("/forward-auth?permission=read:orgs/{org}/buckets/{telemetry}");
        let request = Request::get(uri)
            .header("Authorization", "Token read-telemetry:read-telemetry-password");
        let request = request.header(URI, format!("/query?db=telemetry&q={}", encoded(q)));
        let response = send(&world.app, request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status, status, "{q}");
    }
    let uri = format!("/forward-auth?permission=write:orgs/{org}/buckets/{telemetry}");
    let request =
        Request::get(uri).header("Authorization", "Token read-telemetry:read-telemetry-password");
    let request =
        request.header(URI, format!("/query?db=telemetry&q={}", encoded("SELECT v FROM cpu")));
    assert_eq!(send(&world.app, request.body(Body::empty()).unwrap()).await.status, 403);
}

/// [FWD-10]
#[tokio::test]
async fn prometheus_reads_and_writes_a_database() {
    let world = World::new().await;
    for (username, target, status) in [
        ("read-telemetry", "/api/v1/prom/read?db=telemetry", 204),
        ("write-telemetry", "/api/v1/prom/read?db=telemetry", 403),
        ("write-telemetry", "/api/v1/prom/write?db=telemetry", 204),
        ("read-telemetry", "/api/v1/prom/write?db=telemetry", 403),
        ("read-telemetry/weekly", "/api/v1/prom/read?db=telemetry&rp=weekly", 204),
        ("read-telemetry", "/api/v1/prom/read?db=telemetry&rp=weekly", 403),
        ("read-telemetry", "/api/v1/prom/read", 403),
        ("read-telemetry", "/api/v1/prom/metrics?db=telemetry", 403),
    ] {
        let headers = [("Content-Type", "application/x-protobuf")];
        assert_eq!(
            world.request(username, target, &headers).await.status,
            status,
            "{username} {target}"
        );
    }
    // The database could find `db` in a form.
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let target = "/api/v1/prom/read?db=telemetry";
    assert_eq!(world.request("read-telemetry", target, &headers).await.status, 403);
}

/// [QUERY-4]
#[tokio::test]
async fn a_policy_without_a_bucket_is_what_the_database_takes_it_for() {
    let world = World::new().await;
    let v2 = ForwardAuthConfig::new().upstream(UpstreamSemantics::V2);
    let v2 = ServerApi::new(world.server.engine.clone()).forward_auth(v2).into_router();
    let target = format!("/query?db=telemetry&rp=daily&q={}", encoded("SELECT v FROM cpu"));
    assert_eq!(world.request("read-telemetry", &target, &[]).await.status, 204);
    let v2 = World { app: v2, ..world };
    assert_eq!(v2.request("read-telemetry", &target, &[]).await.status, 403);
}

#[tokio::test]
async fn no_word_of_a_query_that_cannot_be_parsed_is_logged() {
    let world = World::new().await;
    let log = crate::support::logged(async {
        let response = world.query("read-telemetry", "SET PASSWORD FOR x = s3cret").await;
        assert_eq!(response.status, 403);
        // The client has written it.
        assert!(response.text.contains("s3cret"), "{}", response.text);
    })
    .await;
    assert!(log.contains("cannot be parsed") && !log.contains("s3cret"), "{log}");
}
