//! An engine with cheap hashes, an org, a user and a bucket: what most tests of an engine begin with.
//!
//! ```
//! use portcullis::Action;
//! use portcullis_testkit::world::World;
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let world = World::new().await;
//! world.credential("telegraf").await;
//! let principal = world.login("telegraf", "telegraf-password").await?;
//! assert!(principal.check(Action::Write, &world.resource()).is_allowed());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It is test code: it panics where an engine fails.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use portcullis::password::{HashParams, HashPoolConfig};
use portcullis::store::{MemoryStore, Store};
use portcullis::{
    ApiToken, Authorization, Bucket, Clock, Credentials, Engine, EngineBuilder, Error, Name,
    NewApiToken, NewAuthorization, Org, Permission, Principal, Resource, Timestamp, TokenSecret,
    User, Username, presets,
};

/// Argon2id at the lowest cost: two threads, and a queue for 4,096 passwords.
///
/// # Panics
///
/// Never.
pub fn cheap_hashing() -> HashPoolConfig {
    let params = HashParams::new(8, 1, 1).expect("the lowest bounds");
    HashPoolConfig::default().params(params).threads(2).queue(4_096)
}

/// A builder of engines on the store, with [`cheap_hashing`].
pub fn builder(store: Arc<dyn Store>) -> EngineBuilder {
    Engine::builder(store).hashing(cheap_hashing())
}

/// The name of an org, a user or a bucket.
///
/// # Panics
///
/// If it is empty or too long.
pub fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

/// An engine, and the records that authorizations refer to.
#[derive(Debug)]
pub struct World {
    /// The engine.
    pub engine: Engine,
    /// Its store.
    pub store: Arc<dyn Store>,
    /// The org `acme`.
    pub org: Org,
    /// The user `ada`.
    pub user: User,
    /// The bucket `telemetry` of the org.
    pub bucket: Bucket,
}

impl World {
    /// An engine in memory.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    /// An engine in memory with these settings.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn with(settings: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Self {
        Self::on(Arc::new(MemoryStore::new().expect("randomness")), settings).await
    }

    /// An engine with these settings on a store without an org, a user and a bucket of these names.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn on(
        store: Arc<dyn Store>,
        settings: impl FnOnce(EngineBuilder) -> EngineBuilder,
    ) -> Self {
        let engine = settings(builder(Arc::clone(&store))).build().await.expect("an engine");
        let org = engine.create_org(name("acme")).await.expect("an org");
        let user = engine.create_user(name("ada")).await.expect("a user");
        let bucket = engine.create_bucket(org.id, name("telemetry")).await.expect("a bucket");
        Self { engine, store, org, user, bucket }
    }

    /// Returns the bucket.
    pub fn resource(&self) -> Resource {
        Resource::bucket(self.org.id, self.bucket.id)
    }

    /// Returns an authorization to create, of the user in the org, with these permissions.
    ///
    /// # Panics
    ///
    /// If the username is empty or too long.
    pub fn new_authorization_with(
        &self,
        username: &str,
        permissions: impl IntoIterator<Item = Permission>,
    ) -> NewAuthorization {
        let username = Username::new(username).expect("a username");
        NewAuthorization::new(username, self.org.id, permissions).for_user(self.user.id)
    }

    /// Returns an authorization to create, which may write the bucket.
    ///
    /// # Panics
    ///
    /// If the username is empty or too long.
    pub fn new_authorization(&self, username: &str) -> NewAuthorization {
        self.new_authorization_with(username, [Permission::write(self.resource())])
    }

    /// Creates an authorization without a password, which may write the bucket.
    ///
    /// # Panics
    ///
    /// If it cannot be created.
    pub async fn authorization(&self, username: &str) -> Authorization {
        let new = self.new_authorization(username);
        self.engine.create_authorization(new).await.expect("an authorization")
    }

    /// Creates an authorization with the password `USERNAME-password`, which may write the bucket.
    ///
    /// # Panics
    ///
    /// If it cannot be created.
    pub async fn credential(&self, username: &str) -> Authorization {
        self.create_credential(self.new_authorization(username)).await
    }

    /// Creates an authorization with the password `USERNAME-password` and these permissions.
    ///
    /// # Panics
    ///
    /// If it cannot be created.
    pub async fn credential_with(
        &self,
        username: &str,
        permissions: impl IntoIterator<Item = Permission>,
    ) -> Authorization {
        self.create_credential(self.new_authorization_with(username, permissions)).await
    }

    async fn create_credential(&self, new: NewAuthorization) -> Authorization {
        let created = self.engine.create_authorization(new).await.expect("an authorization");
        let password = format!("{}-password", created.username);
        self.engine.set_password(created.id, password).await.expect("a password");
        created
    }

    /// Returns an API token to create, of the user in the org, which may do everything.
    pub fn new_operator_token(&self) -> NewApiToken {
        self.new_token(presets::operator())
    }

    /// Returns an API token to create, of the user in the org, with these permissions.
    pub fn new_token(&self, permissions: Vec<Permission>) -> NewApiToken {
        let (org, user) = (self.org.id, self.user.id);
        NewApiToken::new(org, user, permissions)
    }

    /// Creates an API token, which may do everything.
    ///
    /// # Panics
    ///
    /// If it cannot be created.
    pub async fn operator_token(&self) -> (ApiToken, TokenSecret) {
        self.engine.create_api_token(self.new_operator_token()).await.expect("an API token")
    }

    /// Logs in with username and password.
    ///
    /// # Errors
    ///
    /// As [`Engine::authenticate`].
    pub async fn login(&self, username: &str, password: &str) -> Result<Principal, Error> {
        self.engine.authenticate(Credentials::password(username, password)).await
    }
}

/// A clock whose monotonic time stands still until it is moved. Its wall clock is that of this machine
/// until it is set. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct ManualClock {
    start: Instant,
    passed: Arc<Mutex<Duration>>,
    wall: Arc<Mutex<Option<Timestamp>>>,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self { start: Instant::now(), passed: Arc::default(), wall: Arc::default() }
    }
}

impl ManualClock {
    /// A clock that shows the present time.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves it forward.
    pub fn advance(&self, time: Duration) {
        *self.passed.lock().unwrap_or_else(PoisonError::into_inner) += time;
    }

    /// Moves it past the time, by a millisecond.
    pub fn advance_past(&self, time: Duration) {
        self.advance(time + Duration::from_millis(1));
    }

    /// Sets the wall clock, which stands still from then on. The monotonic time does not move.
    pub fn set_wall(&self, now: Timestamp) {
        *self.wall.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// Sets it to the present time.
    pub fn catch_up(&self) {
        *self.passed.lock().unwrap_or_else(PoisonError::into_inner) = self.start.elapsed();
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        let wall = *self.wall.lock().unwrap_or_else(PoisonError::into_inner);
        wall.unwrap_or_else(Timestamp::now)
    }

    fn instant(&self) -> Instant {
        self.start + *self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
