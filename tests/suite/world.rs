//! A world of the vectors: an engine over a store, and a server around it.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::response::IntoResponse;
use axum::routing::any;
use axum::{Extension, Router};
use portcullis::password::{Password, PasswordPolicy};
use portcullis::snapshot::Snapshot;
use portcullis::store::{MemoryStore, Store};
use portcullis::{Engine, Identity, Permission, Principal, StaticDirectory};
use portcullis_http::V1CredentialLayer;
use portcullis_sqlite::SqliteStore;
use portcullis_testkit::world::builder;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Which store a world is kept in.
#[derive(Clone, Copy, Debug)]
pub enum Backend {
    Memory,
    Sqlite,
}

/// A server with the records of a world.
pub struct World {
    pub app: Router,
    pub engine: Engine,
    _directory: Option<TempDir>,
}

impl World {
    /// Sets the world up.
    pub async fn new(world: &Value, backend: Backend) -> Self {
        let (store, directory): (Arc<dyn Store>, _) = match backend {
            Backend::Memory => (Arc::new(MemoryStore::new().unwrap()), None),
            Backend::Sqlite => {
                let directory = tempfile::tempdir().unwrap();
                let store = SqliteStore::open(directory.path().join("world.db")).unwrap();
                (Arc::new(store), Some(directory))
            }
        };
        let strong = world["options"]["strong_passwords"] == json!(true);
        let policy = if strong { PasswordPolicy::strong() } else { PasswordPolicy::default() };
        let engine = builder(store).password_policy(policy).no_throttle().build().await.unwrap();
        let snapshot = snapshot(world, &engine).await;
        let snapshot = Snapshot::read(snapshot.as_bytes()).expect("a snapshot of the world");
        engine.import(snapshot, false).await.expect("an import of the world");
        let app = Router::new()
            .route("/query", any(whoami))
            .route("/write", any(whoami))
            .route("/ping", any(async || "pong"))
            .layer(V1CredentialLayer::new(engine.clone()))
            .merge(portcullis_http::ManagementApi::new(engine.clone()).into_router());
        Self { app, engine, _directory: directory }
    }
}

/// The response of the protected paths of the test server: the principal's identity, and whether the
/// requested permission is allowed.
async fn whoami(
    Extension(principal): Extension<Principal>,
    request: axum::extract::Request,
) -> impl IntoResponse {
    let id = match principal.identity() {
        Identity::Authorization(id, _) => id.to_string(),
        Identity::ApiToken(id) => id.to_string(),
        other => panic!("{other:?}"),
    };
    let requested = request.headers().get("x-check-permission").map(|requested| {
        let requested: Permission = requested.to_str().unwrap().parse().unwrap();
        principal.check(requested.action, &requested.resource).is_allowed()
    });
    axum::body::Body::from(json!({"authenticated_as": id, "allowed": requested}).to_string())
}

/// Writes the world as a snapshot; passwords are hashed without the policy's checks.
async fn snapshot(world: &Value, engine: &Engine) -> String {
    let mut lines = String::new();
    let mut line = |record_type: &str, record: &Value| {
        let mut line = record.clone();
        line["type"] = json!(record_type);
        writeln!(lines, "{line}").unwrap();
    };
    let records = |name: &str| world[name].as_array().cloned().unwrap_or_default();
    records("orgs").iter().for_each(|org| line("org", org));
    records("users").iter().for_each(|user| line("user", user));
    records("buckets").iter().for_each(|bucket| line("bucket", bucket));
    records("api_tokens").iter().for_each(|token| line("apiToken", token));
    for mut authorization in records("authorizations") {
        if let Some(password) = authorization.as_object_mut().unwrap().remove("password") {
            let password = Password::new(password.as_str().unwrap()).unwrap();
            let hash = engine.hash_pool().hash(&password).await.unwrap();
            authorization["passwordHash"] = json!(hash.expose());
        }
        line("authorization", &authorization);
    }
    lines
}

/// An engine without records, for cases that need no world.
pub async fn empty_engine() -> Engine {
    let store = Arc::new(MemoryStore::new().unwrap());
    builder(store).directory(StaticDirectory::new()).build().await.unwrap()
}
