//! Audit events: actor, action, record, address and outcome.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use portcullis::store::{MemoryStore, Store};
use portcullis::{
    ApiTokenDraft, AuditEvent, AuditSink, AuthorizationUpdate, AuthorizationUpdateDraft,
    BucketUpdate, Credentials, Deletion, Engine, NewApiToken, NewAuthorization, OrgId, Principal,
    Setup, Status, TenantUpdate, UncheckedPermission,
};
use portcullis_testkit::{Call, Fault, Faults, FaultyStore, Method};
use serde_json::Value;

#[derive(Clone, Debug, Default)]
pub(crate) struct Kept(Arc<Mutex<Vec<String>>>);

impl AuditSink for Kept {
    fn record(&self, event: &AuditEvent<'_>) {
        self.0.lock().unwrap().push(serde_json::to_string(event).unwrap());
    }
}

impl Kept {
    /// The events since the last call: action, outcome, reason, and the whole event.
    pub(crate) fn take(&self) -> Vec<(String, String, String, Value)> {
        let lines = std::mem::take(&mut *self.0.lock().unwrap());
        lines
            .iter()
            .map(|line| {
                let event: Value = serde_json::from_str(line).unwrap();
                let text = |member: &str| event[member].as_str().unwrap_or_default().to_owned();
                (text("action"), text("outcome"), text("reason"), event)
            })
            .collect()
    }

    /// The only event since the last call.
    fn one(&self) -> (String, String, String, Value) {
        let mut all = self.take();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }
}

struct World {
    engine: Engine,
    audit: Kept,
    new: NewAuthorization,
    token: NewApiToken,
    faults: Faults,
}

impl World {
    async fn new() -> Self {
        let (audit, faults) = (Kept::default(), Faults::new());
        let inner: Arc<dyn Store> = Arc::new(MemoryStore::new().unwrap());
        let store = Arc::new(FaultyStore::new(inner, &faults));
        let world = crate::support::World::on(store, |builder| builder.audit(audit.clone())).await;
        let (new, token) = (world.new_authorization("telegraf"), world.new_operator_token());
        let created = audit.take();
        let kinds: Vec<_> =
            created.iter().map(|(.., event)| event["record"]["kind"].clone()).collect();
        assert_eq!(kinds, ["organization", "user", "bucket"]);
        assert!(
            created.iter().all(|(action, outcome, ..)| action == "create" && outcome == "done")
        );
        Self { engine: world.engine, audit, new, token, faults }
    }
}

const SOURCE: &str = "192.0.2.7";

#[tokio::test]
async fn changes_of_tenants_and_tokens_are_reported_with_their_caller_and_without_secrets() {
    let world = World::new().await;
    let principal =
        Principal::trusted(OrgId::from_u64(1), world.token.user, portcullis::presets::operator());
    let source: IpAddr = SOURCE.parse().unwrap();
    let caller = world.engine.on_behalf_of(&principal).source(Some(source));
    let expect = |action: &str, kind: &str, id: String| {
        let (done, outcome, _, event) = world.audit.one();
        assert_eq!((&*done, &*outcome), (action, "done"), "{event}");
        assert_eq!(event["record"]["kind"], kind);
        assert_eq!(event["record"]["id"], id);
        assert_eq!(
            (&event["actor"]["kind"], &event["source"]),
            (&"hostUser".into(), &SOURCE.into())
        );
    };
    let name = crate::support::name;
    let org = caller.create_org(name("globex"), Status::Active).await.unwrap().id;
    expect("create", "organization", org.to_string());
    caller.update_org(org, TenantUpdate::name(name("initech"))).await.unwrap();
    expect("update", "organization", org.to_string());
    let user = caller.create_user(name("bob"), Status::Active).await.unwrap().id;
    expect("create", "user", user.to_string());
    caller.update_user(user, TenantUpdate::status(Status::Inactive)).await.unwrap();
    expect("update", "user", user.to_string());
    let bucket = caller.create_bucket(org, name("events")).await.unwrap().id;
    expect("create", "bucket", bucket.to_string());
    caller.update_bucket(bucket, BucketUpdate::name(name("logs"))).await.unwrap();
    expect("update", "bucket", bucket.to_string());
    let draft = ApiTokenDraft {
        org: Some(org),
        permissions: vec![UncheckedPermission::new("read", "buckets", None, Some(org))],
        ..ApiTokenDraft::default()
    };
    let (token, _) = caller.create_api_token(draft).await.unwrap();
    let token = token.token.id;
    expect("create", "API token", token.to_string());
    caller.update_api_token(token, AuthorizationUpdateDraft::default()).await.unwrap();
    expect("update", "API token", token.to_string());
    caller.preview_deletion(Deletion::ApiToken(token)).await.unwrap();
    assert!(world.audit.take().is_empty(), "a successful read");
    caller.delete_api_token(token).await.unwrap();
    expect("delete", "API token", token.to_string());
    caller.delete_bucket(bucket).await.unwrap();
    expect("delete", "bucket", bucket.to_string());
    caller.delete_user(user).await.unwrap();
    expect("delete", "user", user.to_string());
    caller.delete_org(org).await.unwrap();
    expect("delete", "organization", org.to_string());

    let powerless = Principal::trusted(OrgId::from_u64(1), world.token.user, []);
    let caller = world.engine.on_behalf_of(&powerless);
    caller.preview_deletion(Deletion::Org(world.token.org)).await.unwrap_err();
    let (action, outcome, reason, _) = world.audit.one();
    let needed = format!("write:orgs/{} is unauthorized", world.token.org);
    assert_eq!((&*action, &*outcome, reason), ("read", "refused", needed.clone()));
    caller.delete_org(world.token.org).await.unwrap_err();
    let (action, outcome, reason, _) = world.audit.one();
    assert_eq!((&*action, &*outcome, reason), ("delete", "refused", needed));
}

/// [SETUP-2]
#[tokio::test]
async fn a_setup_by_a_client_is_reported_with_its_address() {
    let audit = Kept::default();
    let store = MemoryStore::new().unwrap();
    let builder = crate::support::builder(Arc::new(store)).audit(audit.clone());
    let engine = builder.build().await.unwrap();
    let name = crate::support::name;
    let setup = || Setup { org: name("acme"), user: name("ada"), buckets: vec![] };
    for outcome in ["done", "refused"] {
        let done = engine.setup_by_client(setup(), None, Some(SOURCE.parse().unwrap())).await;
        let (action, reported, _, event) = audit.one();
        assert_eq!((&*action, &*reported), ("create", outcome));
        assert_eq!(
            (&event["actor"]["kind"], &event["source"]),
            (&"anonymous".into(), &SOURCE.into())
        );
        if let Ok(done) = done {
            assert!(!event.to_string().contains(done.secret.expose()));
        }
    }
}

/// [PATCH-3]
#[tokio::test]
async fn every_change_is_reported_with_its_actor() {
    let world = World::new().await;
    let (token, secret) = world.engine.create_api_token(world.token.clone()).await.unwrap();
    assert_eq!(world.audit.one().3["record"]["id"], token.id.to_string());
    let caller =
        world.engine.authenticate_caller(Credentials::token(secret.expose())).await.unwrap();
    let (action, outcome, _, event) = world.audit.one();
    assert_eq!((&*action, &*outcome), ("login", "done"));
    assert_eq!(event["actor"]["id"], token.id.to_string());
    world.engine.authenticate_caller(Credentials::token(secret.expose())).await.unwrap();
    assert!(world.audit.take().is_empty(), "a cached caller");

    let source: IpAddr = SOURCE.parse().unwrap();
    let caller = world.engine.on_behalf_of(&caller).source(Some(source));
    let id = caller.create_authorization(world.new.clone()).await.unwrap().authorization.id;
    let (action, outcome, _, event) = world.audit.one();
    assert_eq!((&*action, &*outcome), ("create", "done"));
    assert_eq!(event["record"]["id"], id.to_string());
    assert_eq!(event["record"]["name"], "telegraf");
    assert_eq!(event["source"], SOURCE);
    assert_eq!(event["actor"]["kind"], "apiToken");

    caller.set_password(id, "long-enough").await.unwrap();
    assert_eq!(world.audit.one().0, "setPassword");
    let off = AuthorizationUpdate::status(Status::Inactive);
    caller.update_authorization(id, off).await.unwrap();
    assert_eq!(world.audit.one().0, "update");
    // A change that makes it active again is reported as such, once.
    let actions = |taken: Vec<(String, String, String, Value)>| -> Vec<String> {
        taken.into_iter().map(|(action, ..)| action).collect()
    };
    for (update, expected) in [
        (AuthorizationUpdate::description("off"), &["update"][..]),
        (AuthorizationUpdate::status(Status::Active), &["reactivate", "update"]),
        (AuthorizationUpdate::status(Status::Active), &["update"]),
    ] {
        caller.update_authorization(id, update).await.unwrap();
        assert_eq!(actions(world.audit.take()), expected);
    }
    let grant = world.engine.authorization(id).await.unwrap().unwrap().permissions;
    caller.set_permissions(id, grant).await.unwrap();
    assert_eq!(world.audit.one().0, "setPermissions");
    caller.delete_authorization(id).await.unwrap();
    assert_eq!(world.audit.one().0, "delete");
    world.engine.revoke_api_token(token.id).await.unwrap();
    let (action, _, _, event) = world.audit.one();
    assert_eq!((&*action, &event["actor"]["kind"]), ("delete", &Value::from("host")));
}

#[tokio::test]
async fn refusals_are_reported_with_their_reason() {
    let world = World::new().await;
    let id = world.engine.create_authorization(world.new.clone()).await.unwrap().id;
    world.audit.take();
    let powerless = Principal::trusted(world.token.org, world.token.user, []);
    let caller = world.engine.on_behalf_of(&powerless);
    let refused = |(_, outcome, reason, _): (String, String, String, Value)| {
        assert_eq!(outcome, "refused");
        reason
    };
    caller.delete_authorization(id).await.unwrap_err();
    assert!(refused(world.audit.one()).ends_with("is unauthorized"));
    caller.authorization(id).await.unwrap_err();
    let event = world.audit.one();
    assert_eq!(event.0, "read");
    assert!(refused(event).starts_with("read:orgs/"));
    world.engine.create_authorization(world.new.clone()).await.unwrap_err();
    assert_eq!(refused(world.audit.one()), "token already exists");

    let login = async |username, password: &str| {
        let credentials = Credentials::password(username, password);
        let source = SOURCE.parse().ok();
        world.engine.authenticate(credentials.source(source)).await.is_ok()
    };
    assert!(!login("telegraf", "guess-of-a-password").await);
    let (action, outcome, reason, event) = world.audit.one();
    assert_eq!((&*action, &*outcome, &*reason), ("login", "refused", "no password is set"));
    assert_eq!(event["actor"]["kind"], "anonymous");
    assert_eq!((&event["source"], &event["record"]["name"]), (&SOURCE.into(), &"telegraf".into()));
    for _ in 0..9 {
        login("telegraf", "guess-of-a-password").await;
    }
    world.audit.take();
    assert!(!login("telegraf", "guess-of-a-password").await);
    assert!(refused(world.audit.one()).starts_with("too many failed logins"));
}

#[tokio::test]
async fn a_failure_is_reported_and_a_cache_hit_is_not() {
    let world = World::new().await;
    let id = world.engine.create_authorization(world.new.clone()).await.unwrap().id;
    world.engine.set_password(id, "long-enough").await.unwrap();
    let login = async || {
        let right = Credentials::password("telegraf", "long-enough");
        world.engine.authenticate(right).await
    };
    world.audit.take();
    login().await.unwrap();
    assert_eq!(world.audit.one().1, "done");
    for _ in 0..10 {
        login().await.unwrap();
    }
    assert!(world.audit.take().is_empty());

    world.faults.reset();
    world.faults.fail(Call::nth_of(Method::Commit, 1), Fault::RequestLost);
    let off = AuthorizationUpdate::status(Status::Inactive);
    world.engine.update_authorization(id, off).await.unwrap_err();
    assert_eq!(world.audit.one().1, "failed");
}

#[tokio::test]
async fn a_change_whose_request_is_dropped_is_reported_as_unknown() {
    let world = World::new().await;
    let id = world.engine.create_authorization(world.new.clone()).await.unwrap().id;
    world.audit.take();
    world.faults.reset();
    let mut gate = world.faults.hold(Call::nth_of(Method::Commit, 1));
    let off = AuthorizationUpdate::status(Status::Inactive);
    let mut change = Box::pin(world.engine.update_authorization(id, off));
    assert!(futures_util::poll!(&mut change).is_pending());
    gate.reached().await;
    drop(change);
    let (_, outcome, reason, _) = world.audit.one();
    assert_eq!((&*outcome, &*reason), ("failed", "given up before the outcome was known"));
}
