//! How the suite gets at stores.

use std::fmt;
use std::future::Future;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use portcullis::store::{Position, Store};

use crate::watching::Watching;

/// What a store offers beyond the contract of [`Store`].
///
/// There is no default: whoever writes a store decides about each, and about each that is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Records outlive the handle: [`Fixture::reopen`] gives a store that has them all.
    pub survives_reopen: bool,
    /// Several handles work on the same data at once, as several processes or machines do, and
    /// each is told of the others' changes: [`Fixture::second_handle`] gives one.
    pub shared_between_handles: bool,
}

/// One place for the data of a store, without records at first. It lives as long as the test, so
/// a temporary directory may be kept in it.
///
/// An `Arc` of a store is one for a store that offers no more than the contract.
#[async_trait]
pub trait Fixture: Send + Sync + 'static {
    /// Opens the store; called once.
    async fn store(&self) -> Arc<dyn Store>;

    /// Opens the store again after every handle was [closed](Store::close), which it may be
    /// without having been dropped. `None` unless the store
    /// [survives that](Capabilities::survives_reopen).
    async fn reopen(&self) -> Option<Arc<dyn Store>> {
        None
    }

    /// Opens one more handle on the same data, as another process would: nothing in memory is
    /// shared with the others. `None` unless the store
    /// [can be shared](Capabilities::shared_between_handles).
    async fn second_handle(&self) -> Option<Arc<dyn Store>> {
        None
    }
}

#[async_trait]
impl<S: Store> Fixture for Arc<S> {
    async fn store(&self) -> Arc<dyn Store> {
        Self::clone(self)
    }
}

#[async_trait]
impl Fixture for Arc<dyn Store> {
    async fn store(&self) -> Arc<dyn Store> {
        Self::clone(self)
    }
}

type Fresh = dyn Fn() -> BoxFuture<'static, Box<dyn Fixture>> + Send + Sync;

/// What a rule needs to know of the store that it is run on.
pub struct Harness {
    capabilities: Capabilities,
    fresh: Box<Fresh>,
    patience: Duration,
    absent: Option<String>,
}

impl Harness {
    /// How long a rule waits for what should happen at once, before it fails.
    pub const PATIENCE: Duration = Duration::from_secs(20);

    /// Makes one from a closure that makes places without records, each apart from the others.
    /// One that captures something is to be written `move || async move { … }`.
    pub fn new<M, U, X>(capabilities: Capabilities, fresh: M) -> Self
    where
        M: Fn() -> U + Send + Sync + 'static,
        U: Future<Output = X> + Send + 'static,
        X: Fixture,
    {
        Self {
            capabilities,
            fresh: Box::new(move || {
                let fixture = fresh();
                Box::pin(async { Box::new(fixture.await) as Box<dyn Fixture> })
            }),
            patience: Self::PATIENCE,
            absent: None,
        }
    }

    /// Says why there is no store here to run anything on, if there is none: what the store needs
    /// is not installed. Whatever is run on the harness then says so on standard error and ends.
    #[must_use]
    pub fn absent(self, reason: Option<String>) -> Self {
        Self { absent: reason, ..self }
    }

    /// Tells whether there is no store to run the rule on, and says so.
    pub(crate) fn is_absent(&self) -> bool {
        if let Some(reason) = &self.absent {
            // Past the test runner, which keeps what passing tests print to itself.
            let _ = writeln!(std::io::stderr(), "SKIPPED, nothing was tested: {reason}");
        }
        self.absent.is_some()
    }

    /// Waits so long instead of [`Harness::PATIENCE`].
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Returns what the store is declared to offer.
    pub const fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Opens a store without records, apart from every other.
    pub async fn place(&self) -> Place {
        let fixture = (self.fresh)().await;
        Place {
            store: fixture.store().await,
            fixture,
            capabilities: self.capabilities,
            patience: self.patience,
        }
    }
}

impl fmt::Debug for Harness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harness")
            .field("capabilities", &self.capabilities)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// A store under test, and the place where its data is.
pub struct Place {
    // Before the fixture, so that the store is gone when its directory is deleted.
    store: Arc<dyn Store>,
    fixture: Box<dyn Fixture>,
    capabilities: Capabilities,
    patience: Duration,
}

impl Place {
    /// Returns the first handle.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Returns the first handle, to give to a task.
    pub fn handle(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// Closes the first handle and opens the store again. `None`, and said so, when the store
    /// is declared not to survive that.
    ///
    /// # Panics
    ///
    /// When the fixture does not do what the capabilities say.
    pub async fn reopen(&self) -> Option<Arc<dyn Store>> {
        self.store.close().await.expect("closing");
        let reopened = self.fixture.reopen().await;
        declared("survives_reopen", self.capabilities.survives_reopen, reopened)
    }

    /// Opens one more handle on the same data. `None`, and said so, when the store is declared
    /// not to be shared.
    ///
    /// # Panics
    ///
    /// When the fixture does not do what the capabilities say.
    pub async fn second_handle(&self) -> Option<Arc<dyn Store>> {
        let second = self.fixture.second_handle().await;
        declared("shared_between_handles", self.capabilities.shared_between_handles, second)
    }

    /// Watches the first handle from the position on.
    pub(crate) async fn watch(&self, after: Position) -> Watching {
        self.watch_on(self.store(), after).await
    }

    /// Watches the first handle from now on.
    pub(crate) async fn watch_from_now(&self) -> Watching {
        self.watch(self.store().position().await.expect("position")).await
    }

    /// Watches another handle from the position on.
    pub(crate) async fn watch_on(&self, store: &dyn Store, after: Position) -> Watching {
        Watching::new(store, after, self.patience).await
    }

    /// Returns how long to wait for what should happen at once.
    pub(crate) const fn patience(&self) -> Duration {
        self.patience
    }

    /// Awaits what should happen at once.
    pub(crate) async fn soon<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        match tokio::time::timeout(self.patience, future).await {
            Ok(done) => done,
            Err(_) => panic!("not within {:?}: {what}", self.patience),
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("store", &self.store).finish_non_exhaustive()
    }
}

fn declared<T>(capability: &str, offered: bool, thing: Option<T>) -> Option<T> {
    match (offered, &thing) {
        (true, None) => panic!("`{capability}` is declared, but the fixture gave nothing"),
        (false, Some(_)) => panic!("the fixture offers what `{capability}: false` denies"),
        (false, None) => eprintln!("not offered: {capability}"),
        (true, Some(_)) => {}
    }
    thing
}

/// Runs one rule on a runtime of its own, with several threads.
///
/// # Panics
///
/// When the store breaks the rule, or the rule does not end.
pub fn run(harness: &Harness, rule: impl AsyncFnOnce(&Harness)) {
    if harness.is_absent() {
        return;
    }
    // A store that hangs fails the test instead of the whole run.
    let limit = harness.patience * 6;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("a runtime");
    let ended = runtime.block_on(async { tokio::time::timeout(limit, rule(harness)).await });
    // Not waiting for whatever a broken store still has running.
    runtime.shutdown_background();
    assert!(ended.is_ok(), "the rule did not end within {limit:?}");
}
