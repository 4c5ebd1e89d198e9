//! An engine with an org, a user and buckets, and stores that fail.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use portcullis::password::{HashParams, HashPoolConfig, PasswordPolicy};
use portcullis::store::{MemoryStore, Store};
use portcullis::{
    Authorization, Bucket, Clock, Credentials, Engine, EngineBuilder, Error, Name,
    NewAuthorization, Org, Permission, Principal, Random, RandomUnavailable, Resource,
    SystemRandom, Timestamp, User, Username,
};
use portcullis_testkit::{Call, Fault, Faults, FaultyStore};

/// Argon2id at the lowest cost.
pub(crate) fn cheap_hashing() -> HashPoolConfig {
    HashPoolConfig::default().params(HashParams::new(8, 1, 1).unwrap()).threads(2).queue(4_096)
}

pub(crate) fn builder(store: Arc<dyn Store>) -> EngineBuilder {
    Engine::builder(store).hashing(cheap_hashing())
}

/// An engine, and the records that authorizations refer to.
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) org: Org,
    pub(crate) user: User,
    pub(crate) bucket: Bucket,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_policy(PasswordPolicy::default()).await
    }

    pub(crate) async fn with_policy(policy: PasswordPolicy) -> Self {
        Self::with(|builder| builder.password_policy(policy)).await
    }

    /// An engine with these settings.
    pub(crate) async fn with(settings: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new().unwrap());
        let engine = settings(builder(Arc::clone(&store))).build().await.unwrap();
        let org = engine.create_org(name("acme")).await.unwrap();
        let user = engine.create_user(name("ada")).await.unwrap();
        let bucket = engine.create_bucket(org.id, name("telemetry")).await.unwrap();
        Self { engine, store, org, user, bucket }
    }

    pub(crate) fn resource(&self) -> Resource {
        Resource::bucket(self.org.id, self.bucket.id)
    }

    pub(crate) fn new_authorization(&self, username: &str) -> NewAuthorization {
        let permissions = [Permission::write(self.resource())];
        NewAuthorization::new(Username::new(username).unwrap(), self.org.id, permissions)
            .for_user(self.user.id)
    }

    pub(crate) async fn authorization(&self, username: &str) -> Authorization {
        self.engine.create_authorization(self.new_authorization(username)).await.unwrap()
    }

    /// An authorization with the password `USERNAME-password`.
    pub(crate) async fn with_password(&self, username: &str) -> Authorization {
        let authorization = self.authorization(username).await;
        self.engine.set_password(authorization.id, format!("{username}-password")).await.unwrap();
        authorization
    }

    pub(crate) async fn login(&self, username: &str, password: &str) -> Result<Principal, Error> {
        self.engine.authenticate(Credentials::password(username, password)).await
    }
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn permission(text: &str) -> Permission {
    text.parse().unwrap()
}

/// The store, with a fault on these calls.
pub(crate) fn failing(store: &Arc<dyn Store>, call: Call, fault: Fault) -> Arc<dyn Store> {
    let faults = Faults::new();
    faults.fail(call, fault);
    Arc::new(FaultyStore::new(Arc::clone(store), &faults))
}

/// The store, which is unavailable after `calls` calls.
pub(crate) fn gone_after(store: &Arc<dyn Store>, calls: u64) -> Arc<dyn Store> {
    failing(store, Call::nth(calls + 1).and_later(), Fault::Unavailable)
}

/// A clock whose monotonic time stands still until it is moved. Clones are the same clock.
#[derive(Clone, Debug)]
pub(crate) struct ManualClock {
    began: Instant,
    passed: Arc<Mutex<Duration>>,
}

impl ManualClock {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), passed: Arc::default() }
    }

    pub(crate) fn advance(&self, time: Duration) {
        *self.passed.lock().unwrap() += time;
    }

    /// Moves the clock past the time, by a millisecond.
    pub(crate) fn advance_past(&self, time: Duration) {
        self.advance(time + Duration::from_millis(1));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn instant(&self) -> Instant {
        self.began + *self.passed.lock().unwrap()
    }
}

/// Randomness that blocks the hash threads while it is shut: no later hash begins while the first one
/// waits for its salt. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Salts(Arc<(Mutex<Gate>, Condvar)>);

#[derive(Debug, Default)]
struct Gate {
    shut: bool,
    waiting: usize,
}

impl Salts {
    pub(crate) fn shut(&self, shut: bool) {
        self.0.0.lock().unwrap().shut = shut;
        self.0.1.notify_all();
    }

    /// Returns when `threads` threads wait.
    pub(crate) fn wait_until_waiting(&self, threads: usize) {
        let gate = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(gate, |gate| gate.waiting < threads).unwrap());
    }
}

impl Random for Salts {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomUnavailable> {
        let thread = std::thread::current();
        if thread.name().is_some_and(|name| name.starts_with("portcullis-hash")) {
            let mut gate = self.0.0.lock().unwrap();
            gate.waiting += 1;
            self.0.1.notify_all();
            let mut gate = self.0.1.wait_while(gate, |gate| gate.shut).unwrap();
            gate.waiting -= 1;
        }
        SystemRandom.fill(buffer)
    }
}
