//! Engines on one store, and concurrent tasks that start together.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use portcullis::store::{Store, StoreError};
use portcullis::{
    Authorization, AuthorizationFilter, Bucket, CacheConfig, Credentials, Engine, NewAuthorization,
    Org, Permission, Principal, Refusal, Resource, User, Username,
};
use tokio::sync::Barrier;
use tokio::task::JoinHandle;

use crate::harness::{Harness, TestStore};
use crate::hooked::{Hook, HookedStore};
use crate::method::Method;
use crate::random::Dice;
use crate::world::{builder, name};

/// Yields to other tasks at random, before and after the calls of a store.
#[derive(Clone, Debug)]
struct Yields(Arc<Mutex<Dice>>);

impl Yields {
    async fn give_way(&self) {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner).below(4);
        give_way(times).await;
    }
}

#[async_trait]
impl Hook for Yields {
    async fn around<T: Send>(
        &self,
        method: Method,
        call: BoxFuture<'_, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if !matches!(method, Method::Get | Method::List | Method::Commit) {
            return call.await;
        }
        self.give_way().await;
        let response = call.await;
        self.give_way().await;
        response
    }
}

async fn give_way(times: usize) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}

/// Two engines, and the records that authorizations refer to.
pub(super) struct Arena {
    engines: Vec<Engine>,
    stores: Vec<Arc<dyn Store>>,
    next: AtomicUsize,
    pub(super) org: Org,
    pub(super) user: User,
    pub(super) bucket: Bucket,
    // The last field, so that the store is dropped before its directory is deleted.
    _place: TestStore,
}

impl Arena {
    /// One engine on each handle, or two on the only handle. Their caches are off, because each must see
    /// the changes of the other at once.
    pub(super) async fn new(harness: &Harness) -> Arc<Self> {
        let exact = CacheConfig::default().max_staleness(Duration::ZERO);
        Self::build(harness, 2, exact).await
    }

    /// One engine, with its cache.
    pub(super) async fn of_one_engine(harness: &Harness) -> Arc<Self> {
        Self::build(harness, 1, CacheConfig::default()).await
    }

    async fn build(harness: &Harness, count: usize, cache: CacheConfig) -> Arc<Self> {
        let test = harness.open().await;
        let second = match harness.capabilities().shared_between_handles {
            true => test.second_handle().await,
            false => None,
        };
        let second = second.unwrap_or_else(|| test.handle());
        let stores = vec![test.handle(), second];
        let mut engines = Vec::new();
        for (number, store) in (0..).zip(&stores).take(count) {
            engines.push(start(Arc::clone(store), number, cache).await);
        }
        let org = engines[0].create_org(name("acme")).await.expect("an org");
        let user = engines[0].create_user(name("ada")).await.expect("a user");
        let bucket = engines[0].create_bucket(org.id, name("telemetry")).await.expect("a bucket");
        let next = AtomicUsize::new(0);
        Arc::new(Self { engines, stores, next, org, user, bucket, _place: test })
    }

    /// Returns the engines in turn.
    pub(super) fn engine(&self) -> &Engine {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        &self.engines[next % self.engines.len()]
    }

    /// Starts another engine, like another process.
    pub(super) async fn start_another(&self) -> Engine {
        start(Arc::clone(&self.stores[1]), 7, CacheConfig::default()).await
    }

    /// Runs all tasks together; each yields to the others at random first.
    pub(super) fn at_once<T, R>(
        self: &Arc<Self>,
        round: u32,
        runners: impl IntoIterator<Item = R>,
    ) -> Vec<JoinHandle<T>>
    where
        T: Send + 'static,
        R: Future<Output = T> + Send + 'static,
    {
        let runners: Vec<R> = runners.into_iter().collect();
        let barrier = Arc::new(Barrier::new(runners.len()));
        let mut dice = Dice::new(u64::from(round));
        let start = |runner: R| {
            let (barrier, times) = (Arc::clone(&barrier), dice.below(6));
            tokio::spawn(async move {
                barrier.wait().await;
                give_way(times).await;
                runner.await
            })
        };
        runners.into_iter().map(start).collect()
    }

    /// Returns the permissions that can be granted in the org.
    pub(super) fn grant(&self) -> Permission {
        Permission::write(Resource::bucket(self.org.id, self.bucket.id))
    }

    pub(super) fn new_authorization(&self, username: &str) -> NewAuthorization {
        let username = Username::new(username).expect("a username");
        NewAuthorization::new(username, self.org.id, [self.grant()]).for_user(self.user.id)
    }

    pub(super) async fn create(&self, username: &str) -> Authorization {
        let new = self.new_authorization(username);
        self.engine().create_authorization(new).await.expect("a new authorization")
    }

    pub(super) async fn with_password(&self, username: &str, password: &str) -> Authorization {
        let created = self.create(username).await;
        self.engine().set_password(created.id, password).await.expect("a new password");
        created
    }

    /// Logs in; an error that is no refusal fails.
    pub(super) async fn login(&self, username: &str, password: &str) -> Result<Principal, Refusal> {
        let credentials = Credentials::password(username, password);
        match self.engine().authenticate(credentials).await {
            Ok(principal) => Ok(principal),
            Err(error) => Err(error.refusal().unwrap_or_else(|| panic!("no refusal: {error:?}"))),
        }
    }

    /// Lists all authorizations through both engines.
    pub(super) async fn authorizations(&self) -> Vec<Authorization> {
        let mut lists = Vec::new();
        for engine in &self.engines {
            let all = AuthorizationFilter::all();
            let listing = engine.list_authorizations(&all, None, std::num::NonZeroUsize::MAX).await;
            lists.push(listing.expect("a list").items);
        }
        assert_eq!(lists[0], lists[1], "the engines list the same");
        lists.remove(0)
    }

    /// Checks that neither its id, nor its username, nor a list finds it.
    pub(super) async fn assert_absent(&self, gone: &Authorization) {
        for engine in &self.engines {
            let by_id = engine.authorization(gone.id).await.expect("a lookup");
            assert_eq!(by_id, None, "it is found by its id");
            let name = gone.username.as_str();
            let by_name = engine.authorization_by_username(name).await.expect("a lookup");
            assert!(by_name.is_none_or(|other| other.id != gone.id), "it is found by its name");
        }
        let listed = self.authorizations().await;
        assert!(listed.iter().all(|listed| listed.id != gone.id), "it is listed");
    }
}

async fn start(store: Arc<dyn Store>, number: u64, cache: CacheConfig) -> Engine {
    let yields = Yields(Arc::new(Mutex::new(Dice::new(number))));
    let store = Arc::new(HookedStore::new(store, &yields));
    builder(store).cache(cache).no_throttle().build().await.expect("an engine")
}

/// Awaits all of them.
pub(super) async fn finish<T>(runners: Vec<JoinHandle<T>>) -> Vec<T> {
    let mut outcomes = Vec::new();
    for runner in runners {
        outcomes.push(runner.await.expect("a runner does not panic"));
    }
    outcomes
}
