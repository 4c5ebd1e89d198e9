//! A server in memory with a few records, which are restored after each input.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::routing::any;
use http::Request;
use portcullis::password::{HashParams, HashPoolConfig, Password};
use portcullis::snapshot::Snapshot;
use portcullis::store::{
    Batch, Entity, Expect, Index, Kind, MemoryStore, Operation, PageRequest, Record, Store,
};
use portcullis::{Authorization, Engine, GrantKey, Id};
use portcullis_http::V1CredentialLayer;
use tokio::runtime::Runtime;

use crate::response::Response;

/// The secret of the operator's API token.
pub const OPERATOR: &str = "op-token-7f3a";
/// The username of the authorization [`GRAFANA_ID`].
pub const GRAFANA: &str = "grafana";
/// Its password.
pub const GRAFANA_PASSWORD: &str = "grafana-pass-1";
/// Its id.
pub const GRAFANA_ID: &str = "0d0d000000000001";
/// Where authorizations are managed.
pub const PREFIX: &str = "/private/legacy/authorizations";

/// The names and ids of the vectors' first world, so that inputs from the vectors refer to existing
/// records.
const RECORDS: &str = concat!(
    r#"{"type":"org","id":"0a11ce0000000001","name":"acme"}"#,
    "\n",
    r#"{"type":"org","id":"0a11ce0000000002","name":"globex"}"#,
    "\n",
    r#"{"type":"user","id":"0b0b000000000001","name":"operator"}"#,
    "\n",
    r#"{"type":"user","id":"0b0b000000000002","name":"alice"}"#,
    "\n",
    r#"{"type":"user","id":"0b0b000000000003","name":"bob"}"#,
    "\n",
    r#"{"type":"bucket","id":"0c0c000000000001","orgID":"0a11ce0000000001","name":"telegraf"}"#,
    "\n",
    r#"{"type":"bucket","id":"0c0c000000000003","orgID":"0a11ce0000000002","name":"metrics"}"#,
    "\n",
    r#"{"type":"apiToken","id":"0e0e000000000001","orgID":"0a11ce0000000001","#,
    r#""userID":"0b0b000000000001","token":"op-token-7f3a","permissions":["#,
    r#"{"action":"read","resource":{"type":"instance"}},"#,
    r#"{"action":"write","resource":{"type":"instance"}}]}"#,
    "\n",
    r#"{"type":"authorization","id":"0d0d000000000001","token":"grafana","#,
    r#""orgID":"0a11ce0000000001","userID":"0b0b000000000002","description":"dashboards","#,
    r#""permissions":[{"action":"read","resource":{"type":"buckets","#,
    r#""id":"0c0c000000000001","orgID":"0a11ce0000000001"}}],"passwordHash":"@HASH@"}"#,
    "\n",
    r#"{"type":"authorization","id":"0d0d000000000002","token":"telegraf","#,
    r#""orgID":"0a11ce0000000001","userID":"0b0b000000000003","#,
    r#""permissions":[{"action":"write","resource":{"type":"buckets","#,
    r#""orgID":"0a11ce0000000001"}}]}"#,
    "\n",
    r#"{"type":"authorization","id":"0d0d000000000003","token":"collector","#,
    r#""orgID":"0a11ce0000000002","userID":"0b0b000000000002","status":"inactive","#,
    r#""permissions":[{"action":"write","resource":{"type":"buckets"}}]}"#,
    "\n",
);

/// The server, and what its store held at first.
#[derive(Debug)]
pub struct World {
    /// The management API.
    pub app: Router,
    /// A route behind [`V1CredentialLayer`].
    pub protected: Router,
    runtime: Runtime,
    store: Arc<MemoryStore>,
    authorizations: HashMap<Id, (Record, Vec<GrantKey>)>,
}

/// Makes an engine on the store with the cheapest hashes.
pub async fn engine(store: Arc<dyn Store>) -> Engine {
    let hashing = HashPoolConfig::default()
        .params(HashParams::new(8, 1, 1).expect("the smallest parameters"))
        .threads(1);
    Engine::builder(store).hashing(hashing).no_throttle().build().await.expect("an engine")
}

/// Makes a single-threaded runtime, so that an input runs the same way every time.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

impl World {
    /// Sets the world up.
    pub fn new() -> Self {
        let runtime = runtime();
        let store = Arc::new(MemoryStore::new().expect("a store"));
        let (engine, authorizations) = runtime.block_on(async {
            let engine = engine(Arc::clone(&store) as Arc<dyn Store>).await;
            let password = Password::new(GRAFANA_PASSWORD).expect("a short password");
            let hash = engine.hash_pool().hash(&password).await.expect("a hash");
            let records = RECORDS.replace("@HASH@", hash.expose());
            let snapshot = Snapshot::read(records.as_bytes()).expect("a snapshot");
            engine.import(snapshot, false).await.expect("an import");
            let first = all(&*store, Kind::Authorization).await.into_iter().map(|record| {
                let grants = Authorization::from_record(&record).expect("readable").grants();
                (record.id, (record, grants))
            });
            (engine, first.collect())
        });
        let protected = Router::new()
            .route("/query", any(async || r#"{"in":true}"#))
            .layer(V1CredentialLayer::new(engine.clone()));
        let app = portcullis_http::ServerApi::new(engine).into_router();
        Self { app, protected, runtime, store, authorizations }
    }

    /// Runs to the end, then restores the authorizations.
    pub fn run<T>(&self, input: impl Future<Output = T>) -> T {
        self.runtime.block_on(async {
            let done = input.await;
            self.restore().await;
            done
        })
    }

    /// Sends a request as the operator; `None` when it cannot be written as one.
    pub async fn call(&self, method: &str, uri: &str, body: Vec<u8>) -> Option<Response> {
        let request = Request::builder().method(method).uri(uri);
        let request = request.header("Authorization", format!("Token {OPERATOR}"));
        let request = request.body(Body::from(body)).ok()?;
        Some(Response::of(&self.app, request).await)
    }

    async fn restore(&self) {
        let mut batch = Batch::new();
        let mut missing = self.authorizations.clone();
        for record in all(&*self.store, Kind::Authorization).await {
            match missing.remove(&record.id) {
                Some((first, _)) if first.revision == record.revision => {}
                Some((first, grants)) => batch.push(Operation::Put {
                    record: first,
                    grants,
                    expect: Expect::Revision(record.revision),
                }),
                None => batch.push(Operation::Delete {
                    kind: record.kind,
                    id: record.id,
                    expect: record.revision,
                }),
            }
        }
        for (record, grants) in missing.into_values() {
            batch.push(Operation::Put { record, grants, expect: Expect::Absent });
        }
        if !batch.is_empty() {
            self.store.commit(batch).await.expect("the world put back");
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// Deletes every record of the kinds.
pub async fn empty(store: &dyn Store, kinds: &[Kind]) {
    let mut batch = Batch::new();
    for kind in kinds.iter().copied() {
        for Record { id, revision: expect, .. } in all(store, kind).await {
            batch.push(Operation::Delete { kind, id, expect });
        }
    }
    if batch.is_empty() {
        return;
    }
    store.commit(batch).await.expect("everything deleted");
    for kind in kinds {
        assert!(all(store, *kind).await.is_empty(), "{kind} records are left");
    }
}

async fn all(store: &dyn Store, kind: Kind) -> Vec<Record> {
    let mut page = PageRequest { after: None, limit: NonZeroUsize::MAX };
    let mut found = Vec::new();
    loop {
        let next = store.list(Index::All(kind), page).await.expect("a page");
        found.extend(next.records);
        match next.next {
            None => return found,
            after => page.after = after,
        }
    }
}
