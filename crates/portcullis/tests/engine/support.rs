//! An engine with an org, a user and buckets, and stores that misbehave.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use portcullis::password::{HashParams, HashPoolConfig, PasswordPolicy};
use portcullis::store::{
    Batch, Change, Index, Lookup, MemoryStore, Page, PageRequest, Position, Record, Store,
    StoreError,
};
use portcullis::{
    Authorization, Bucket, Credentials, Engine, EngineBuilder, Error, Name, NewAuthorization, Org,
    Permission, Principal, Resource, User, Username,
};

/// Argon2id that costs next to nothing.
pub(crate) fn cheap_hashing() -> HashPoolConfig {
    let mut hashing = HashPoolConfig::default();
    hashing.params = HashParams::new(8, 1, 1).unwrap();
    hashing.threads = 2;
    hashing.queue = 4_096;
    hashing
}

pub(crate) fn builder(store: Arc<dyn Store>) -> EngineBuilder {
    Engine::builder_on(store).hashing(cheap_hashing())
}

/// An engine, and the things that authorizations refer to.
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
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new().unwrap());
        let engine = builder(Arc::clone(&store)).password_policy(policy).build().await.unwrap();
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

    pub(crate) async fn log_in(&self, username: &str, password: &str) -> Result<Principal, Error> {
        self.engine.authenticate(Credentials::password(username, password)).await
    }
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn permission(text: &str) -> Permission {
    text.parse().unwrap()
}

/// A store whose n-th call fails, and every one after it.
#[derive(Debug)]
pub(crate) struct FailingStore {
    inner: Arc<dyn Store>,
    calls: AtomicU64,
    fails_from: u64,
}

impl FailingStore {
    pub(crate) fn new(inner: Arc<dyn Store>, fails_from: u64) -> Arc<Self> {
        Arc::new(Self { inner, calls: AtomicU64::new(0), fails_from })
    }

    /// How many calls there were.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn call(&self) -> Result<(), StoreError> {
        if self.calls.fetch_add(1, Ordering::SeqCst) >= self.fails_from {
            return Err(StoreError::unavailable("told to fail"));
        }
        Ok(())
    }
}

#[async_trait]
impl Store for FailingStore {
    async fn get(&self, lookup: Lookup<'_>) -> Result<Option<Record>, StoreError> {
        self.call()?;
        self.inner.get(lookup).await
    }

    async fn list(&self, index: Index, page: PageRequest) -> Result<Page, StoreError> {
        self.call()?;
        self.inner.list(index, page).await
    }

    async fn commit(&self, batch: Batch) -> Result<Position, StoreError> {
        self.call()?;
        self.inner.commit(batch).await
    }

    async fn position(&self) -> Result<Position, StoreError> {
        self.call()?;
        self.inner.position().await
    }

    async fn watch(
        &self,
        after: Position,
    ) -> Result<BoxStream<'static, Result<Change, StoreError>>, StoreError> {
        self.call()?;
        self.inner.watch(after).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}

/// A store that carries a commit out and does not know that it did.
#[derive(Debug)]
pub(crate) struct ForgetfulStore(pub(crate) Arc<dyn Store>);

#[async_trait]
impl Store for ForgetfulStore {
    async fn get(&self, lookup: Lookup<'_>) -> Result<Option<Record>, StoreError> {
        self.0.get(lookup).await
    }

    async fn list(&self, index: Index, page: PageRequest) -> Result<Page, StoreError> {
        self.0.list(index, page).await
    }

    async fn commit(&self, batch: Batch) -> Result<Position, StoreError> {
        self.0.commit(batch).await?;
        Err(StoreError::indeterminate("the connection was lost"))
    }

    async fn position(&self) -> Result<Position, StoreError> {
        self.0.position().await
    }

    async fn watch(
        &self,
        after: Position,
    ) -> Result<BoxStream<'static, Result<Change, StoreError>>, StoreError> {
        self.0.watch(after).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.0.close().await
    }
}
