//! No output holds a secret: responses, logs at the finest level, audit lines, metrics, errors and
//! `Debug`. Alone in its process, whose threads all log here.

mod shown;

use std::io::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::routing::any;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Request;
use http_body_util::BodyExt;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use portcullis::password::{HashParams, HashPoolConfig, PasswordHash};
use portcullis::snapshot::Snapshot;
use portcullis::store::{Batch, Entity, Expect, Kind, Lookup, Operation, Record, Revision, Store};
use portcullis::{
    AuditEvent, AuditSink, Credentials, Engine, Error, Principal, Setup, SetupDone, TokenSecret,
};
use portcullis_http::{ServerApi, V1CredentialLayer};
use portcullis_sqlite::SqliteStore;
use portcullis_testkit::world::name;
use portcullis_testkit::{Call, Fault, Faults, FaultyStore};
use tower::ServiceExt;
use tracing_subscriber::fmt::format::FmtSpan;

use shown::Shown;

/// A password and its bcrypt hash, which the first login replaces.
const IMPORTED: (&str, &str) =
    ("imported", "$2b$04$abcdefghijklmnopqrstuu2P8xRWSX2.OqyvLaDeHDR4HSDjn3vSi");

/// Adds a text and ends the line.
fn add(shown: &Shown, text: &str) {
    writeln!(shown.clone(), "{text}").unwrap();
}

impl AuditSink for Shown {
    fn record(&self, event: &AuditEvent<'_>) {
        add(self, &format!("audit {} {event:?}", serde_json::to_string(event).unwrap()));
    }
}

/// A server and a host on a store that can be made to fail, and all of their output.
struct World {
    engine: Engine,
    store: Arc<dyn Store>,
    faults: Faults,
    api: Router,
    host: Router,
    done: SetupDone,
    shown: Shown,
    metrics: PrometheusHandle,
    _directory: tempfile::TempDir,
}

/// An API token that a response has shown.
struct Created {
    id: String,
    secret: String,
}

impl World {
    async fn new() -> Self {
        let shown = Shown::default();
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_span_events(FmtSpan::FULL)
            .with_writer(shown.clone())
            .init();
        let recorder = PrometheusBuilder::new().build_recorder();
        let metrics = recorder.handle();
        metrics::set_global_recorder(recorder).unwrap();

        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path().join("secrets.db")).unwrap();
        let faults = Faults::new();
        let store: Arc<dyn Store> = Arc::new(FaultyStore::new(Arc::new(store), &faults));
        let hashing = HashPoolConfig::default().params(HashParams::new(64, 1, 1).unwrap());
        let builder = Engine::builder(Arc::clone(&store)).hashing(hashing);
        let engine = builder.audit(shown.clone()).build().await.unwrap();
        let buckets = vec![name("telemetry")];
        let setup = Setup { org: name("acme"), user: name("ada"), buckets };
        let done = engine.setup(setup).await.unwrap();

        // A handler that logs its request.
        let show = async |request: axum::extract::Request| tracing::info!(?request, "written");
        let layer = V1CredentialLayer::new(engine.clone());
        let host = Router::new().route("/write", any(show)).route("/ping", any(show)).layer(layer);
        let api = ServerApi::new(engine.clone()).into_router();
        Self { engine, store, faults, api, host, done, shown, metrics, _directory: directory }
    }

    fn operator(&self) -> String {
        format!("Token {}", self.done.secret.expose())
    }

    /// Sends the request and records the response.
    async fn send(&self, app: &Router, request: Request<Body>) -> String {
        let (parts, body) = app.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        add(&self.shown, &format!("response {} {:?} {body}", parts.status, parts.headers));
        body
    }

    async fn manage(&self, method: &str, path: &str, body: &str) -> String {
        self.call(method, &format!("/private{path}"), body).await
    }

    /// Creates an API token. The response, which holds the secret, is not recorded.
    async fn new_token(&self) -> Created {
        let body = format!(
            r#"{{"orgID":"{}","permissions":[{{"action":"read","resource":{{"type":"buckets"}}}}]}}"#,
            self.done.org.id
        );
        let request = Request::post("/api/v2/authorizations");
        let request = request.header("Authorization", self.operator()).body(Body::from(body));
        let response = self.api.clone().oneshot(request.unwrap()).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let text = |member: &str| body[member].as_str().unwrap().to_owned();
        Created { id: text("id"), secret: text("token") }
    }

    async fn call(&self, method: &str, path: &str, body: &str) -> String {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("Authorization", self.operator());
        self.send(&self.api, request.body(Body::from(body.to_owned())).unwrap()).await
    }

    /// Creates an authorization and returns its id.
    async fn create(&self, username: &str) -> String {
        let (org, bucket) = (self.done.org.id, self.done.buckets[0].id);
        let body = format!(
            r#"{{"token":"{username}","orgID":"{org}","permissions":[{{"action":"write","resource":{{"type":"buckets","id":"{bucket}","orgID":"{org}"}}}}]}}"#,
        );
        let response = self.manage("POST", "/legacy/authorizations", &body).await;
        let response: serde_json::Value = serde_json::from_str(&response).unwrap();
        response["id"].as_str().unwrap().to_owned()
    }

    /// Presents username and password in every form, to the host and to forward-auth.
    async fn present(&self, username: &str, password: &str) {
        let pair = BASE64_STANDARD.encode(format!("{username}:{password}"));
        for (query, authorization) in [
            (format!("&u={username}&p={password}"), None),
            (format!("&u={username}&p={password}&p={password}"), None),
            (format!("&u={username}&%70={password}"), None),
            (format!("&u={username}&p={password}%zz"), None),
            (format!("&p={password}"), Some(format!("Basic {pair}"))),
            (String::new(), Some(format!("Basic {pair}"))),
            (String::new(), Some(format!("Basic {pair}!"))),
            (String::new(), Some(format!("Token {username}:{password}"))),
            (String::new(), Some(format!("Token {password}"))),
            (String::new(), Some(format!("Bearer {password}"))),
            (String::new(), Some(password.to_owned())),
        ] {
            let with = |request: http::request::Builder| {
                let authorization = authorization.iter();
                let request = authorization.fold(request, |r, a| r.header("Authorization", a));
                request.body(Body::empty()).unwrap()
            };
            for path in ["/write", "/ping"] {
                let request = Request::post(format!("{path}?db=telemetry{query}"));
                self.send(&self.host, with(request)).await;
            }
            for own in ["", "?check=none"] {
                let request = Request::get(format!("/forward-auth{own}"));
                let request = request.header("X-Original-URI", format!("/write?db=x{query}"));
                self.send(&self.api, with(request)).await;
            }
            let request = Request::get(format!("/private/legacy/authorizations?x=y{query}"));
            self.send(&self.api, with(request)).await;
        }
    }

    /// Records the error and its sources.
    fn error(&self, error: &Error) {
        add(&self.shown, &format!("error {error} {error:?} {:?}", error.refusal()));
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            add(&self.shown, &format!("cause {cause} {cause:?}"));
            source = cause.source();
        }
    }

    fn outcome(&self, outcome: &Result<Principal, Error>) {
        match outcome {
            Ok(principal) => add(&self.shown, &format!("principal {principal:?}")),
            Err(error) => self.error(error),
        }
    }
}

/// [AUTH-2] [HTTP-13] [LOGIN-12]
#[tokio::test(flavor = "multi_thread")]
async fn no_response_log_audit_line_metric_debug_or_error_holds_a_secret() {
    let world = World::new().await;
    let id = world.create("telegraf").await;
    let path = format!("/legacy/authorizations/{id}");
    let password = "canary-password-1";
    for (body, extra) in [
        (format!(r#"{{"password":"{password}"}}"#), "?p=canary-query"),
        (r#"{"password":"canary-weak\u0000"#.to_owned(), ""),
        (r#"{"password":["canary-type"]}"#.to_owned(), ""),
        (r#"{"password":"canary","password":"canary"}"#.to_owned(), ""),
        (format!(r#"{{"password":"canary-{}"}}"#, "x".repeat(5_000)), ""),
    ] {
        world.manage("POST", &format!("{path}/password{extra}"), &body).await;
    }
    world.present("telegraf", password).await;
    world.present("telegraf", "canary-wrong").await;
    world.present("unknown", "canary-unknown").await;
    world.present("telegraf", world.done.secret.expose()).await;
    world.present("unknown", world.done.secret.expose()).await;

    // Every operation of the management API.
    for (method, below, body) in [
        ("GET", "", ""),
        ("PATCH", "", r#"{"description":"d","password":"canary-member"}"#),
        ("PATCH", "", r#"{"status":"canary-status""#),
        ("PUT", "/permissions", r#"{"permissions":[]}"#),
        ("GET", "/canary", ""),
    ] {
        world.manage(method, &format!("{path}{below}"), body).await;
    }
    // API tokens: one response holds the secret, which is checked apart; none of the others may.
    let created = world.new_token().await;
    for (method, below, body) in [
        ("GET", String::new(), ""),
        ("GET", format!("?token={}", created.secret), ""),
        ("GET", format!("/{}", created.id), ""),
        ("PATCH", format!("/{}", created.id), r#"{"description":"d","token":"canary-member"}"#),
        ("DELETE", format!("/{}?dryRun=true", created.id), ""),
    ] {
        world.call(method, &format!("/api/v2/authorizations{below}"), body).await;
    }
    for body in [
        r#"{"username":"a","org":"b","bucket":"c","password":"canary-member","token":"canary-secret"}"#,
        r#"{"password":["canary-member"]}"#,
        r#"{"password":"canary-member""#,
    ] {
        world.call("POST", "/api/v2/setup", body).await;
    }
    world.call("PUT", "/api/v2/me/password", r#"{"password":"canary-member"}"#).await;
    world.manage("GET", "/legacy/authorizations?token=telegraf", "").await;
    world.manage("GET", "/legacy/authorizations", "").await;
    let stored = world.engine.authorization_by_username("telegraf").await.unwrap().unwrap();
    let hash = stored.password_hash.clone().unwrap();

    // A hash that is imported, logged in with, and replaced; and lines that are refused.
    let line = |hash: &str| {
        let (org, user) = (world.done.org.id, world.done.user.id);
        format!(
            r#"{{"type":"authorization","id":"00000000000000aa","token":"imported","orgID":"{org}","userID":"{user}","passwordHash":"{hash}"}}"#
        )
    };
    for bad in ["$argon2id$canary", "$2b$99$canary", "canary"] {
        let refused = Snapshot::read(line(bad).as_bytes()).unwrap_err();
        add(&world.shown, &format!("refused {refused} {refused:?}"));
        let refused = PasswordHash::parse(bad).unwrap_err();
        add(&world.shown, &format!("refused {refused} {refused:?}"));
    }
    let snapshot = Snapshot::read(line(IMPORTED.1).as_bytes()).unwrap();
    add(&world.shown, &format!("{snapshot:?}"));
    world.engine.import(snapshot, false).await.unwrap();
    world.present("imported", IMPORTED.0).await;
    let rehashed = loop {
        let imported = world.engine.authorization_by_username("imported").await.unwrap().unwrap();
        let hash = imported.password_hash.unwrap();
        if hash.expose() != IMPORTED.1 {
            break hash;
        }
        tokio::task::yield_now().await;
    };

    // Debug output.
    let digest = world.done.token.digest.to_text();
    let record = stored.to_record(Revision::from_u128(1)).unwrap();
    let key = Lookup::UniqueKey(Kind::ApiToken, &digest);
    let token_record = world.store.get(key).await.unwrap().unwrap();
    add(
        &world.shown,
        &format!(
            "{:?} {:?} {stored:?} {record:?} {token_record:?} {:?} {:?} {:?} {:?}",
            world.engine,
            world.done,
            world.done.secret,
            TokenSecret::new("canary-secret"),
            Credentials::password("telegraf", password),
            Credentials::token("canary-token"),
        ),
    );

    // A record that cannot be read, and a store that fails.
    let broken = world.create("broken").await;
    let lookup = Lookup::Id(Kind::Authorization, broken.parse().unwrap());
    let record = world.store.get(lookup).await.unwrap().unwrap();
    let expect = Expect::Revision(record.revision);
    let body = format!(r#"{{"v":1,"passwordHash":"{}","canary-body"#, hash.expose());
    let record = Record { body: body.into(), revision: Revision::from_u128(9), ..record };
    let put = Operation::Put { record, grants: Vec::new(), expect };
    add(&world.shown, &format!("{put:?}"));
    world.store.commit(Batch::new().with(put)).await.unwrap();
    world.present("broken", "canary-broken").await;
    world.manage("GET", &format!("/legacy/authorizations/{broken}"), "").await;
    world.manage("GET", "/legacy/authorizations", "").await;
    for fault in Fault::ALL {
        world.faults.fail(Call::nth(1).and_later(), fault);
        world.present("telegraf", "canary-outage").await;
        let body = r#"{"password":"canary-password-2"}"#;
        world.manage("POST", &format!("{path}/password"), body).await;
        for credentials in [
            Credentials::password("telegraf", "canary-outage"),
            Credentials::password("unknown", "canary-outage"),
            Credentials::token("canary-outage"),
        ] {
            world.outcome(&world.engine.authenticate(credentials).await);
        }
        world.faults.reset();
    }
    world.outcome(&world.engine.authenticate(Credentials::token("canary-token")).await);
    world.outcome(&world.engine.authenticate(Credentials::password("telegraf", password)).await);
    let taken = world.engine.create_api_token(portcullis::NewApiToken::new(
        world.done.org.id,
        world.done.user.id,
        Vec::new(),
    ));
    let (token, secret) = taken.await.unwrap();
    add(&world.shown, &format!("{token:?} {secret:?}"));
    world.manage("DELETE", &path, "").await;
    world.engine.publish_metrics();
    add(&world.shown, &world.metrics.render());

    let shown = world.shown.text();
    for part in [
        "response 200",
        "login refused",
        "written",
        "audit {",
        "\"action\":\"rehash\"",
        "\"action\":\"setPassword\"",
        "portcullis_logins_total",
        "cause an injected fault of get",
        "p=redacted",
    ] {
        assert!(shown.contains(part), "nothing of {part:?} was shown");
    }
    let pair = BASE64_STANDARD.encode(format!("telegraf:{password}"));
    let hexadecimal = digest.strip_prefix("sha256:").unwrap();
    let secrets = [
        ("a password or token", "canary-"),
        ("Basic credentials", pair.as_str()),
        ("Basic credentials", "Y2FuYXJ5"),
        ("the operator's token", world.done.secret.expose()),
        ("another token", secret.expose()),
        ("a token that the API created", &created.secret),
        ("a digest", hexadecimal),
        ("a hash", hash.expose()),
        ("a hash", rehashed.expose()),
        ("a hash", IMPORTED.1),
        ("any hash", "$argon2id$v"),
        ("any hash", "$2b$04"),
    ];
    for (what, secret) in secrets {
        let lines = shown.lines().filter(|line| line.contains(secret));
        let lines: Vec<_> = lines.map(|line| line.get(..2_000).unwrap_or(line)).take(3).collect();
        assert!(lines.is_empty(), "{what} was shown: {lines:#?}");
    }
}
