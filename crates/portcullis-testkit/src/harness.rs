//! Opens stores for the rules.

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
/// There is no default: the author of a store decides about each capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Records outlive the handle: [`Fixture::reopen`] returns a store with all of them.
    pub survives_reopen: bool,
    /// Several handles share the data, like several processes or machines, and the feed of each
    /// reports the changes of the others: [`Fixture::second_handle`] returns one.
    pub shared_between_handles: bool,
}

/// The data of one store, empty at first. It lives as long as the test, so that it can hold a
/// temporary directory.
///
/// An `Arc` of a store is the fixture of a store without capabilities.
#[async_trait]
pub trait Fixture: Send + Sync + 'static {
    /// Opens the store; called once.
    async fn store(&self) -> Arc<dyn Store>;

    /// Opens the store again after all handles were [closed](Store::close), but not necessarily
    /// dropped. `None` unless the store [outlives its handles](Capabilities::survives_reopen).
    async fn reopen(&self) -> Option<Arc<dyn Store>> {
        None
    }

    /// Opens another handle on the same data, like another process: it shares nothing in memory with
    /// the others. `None` unless the store [can be shared](Capabilities::shared_between_handles).
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

/// The store that a rule is run on, and its capabilities.
pub struct Harness {
    capabilities: Capabilities,
    fresh: Box<Fresh>,
    deadline: Duration,
    absent: Option<String>,
}

impl Harness {
    /// How long a rule waits for an event before it fails. A guard against hanging, no promise.
    pub const DEADLINE: Duration = Duration::from_secs(20);

    /// Returns a harness from a closure that makes separate fixtures without records. A closure that
    /// captures variables is written `move || async move { … }`.
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
            deadline: Self::DEADLINE,
            absent: None,
        }
    }

    /// Gives the reason why there is no store to run on, if there is none: something that it needs is
    /// not installed. A rule that is run on the harness then reports this on standard error and ends.
    #[must_use]
    pub fn absent(self, reason: Option<String>) -> Self {
        Self { absent: reason, ..self }
    }

    /// Tells whether there is no store to run the rule on, and reports the reason.
    pub(crate) fn is_absent(&self) -> bool {
        if let Some(reason) = &self.absent {
            // Not through the test runner, which captures the output of passing tests.
            let _ = writeln!(std::io::stderr(), "SKIPPED, nothing was tested: {reason}");
        }
        self.absent.is_some()
    }

    /// Sets another limit than [`Harness::DEADLINE`].
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Returns the declared capabilities of the store.
    pub const fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Opens a separate store without records.
    pub async fn open(&self) -> TestStore {
        let fixture = (self.fresh)().await;
        TestStore {
            store: fixture.store().await,
            fixture,
            capabilities: self.capabilities,
            deadline: self.deadline,
        }
    }
}

impl fmt::Debug for Harness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harness")
            .field("capabilities", &self.capabilities)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// A store under test, with its fixture.
pub struct TestStore {
    // Before the fixture, so that the store is dropped before its directory is deleted.
    store: Arc<dyn Store>,
    fixture: Box<dyn Fixture>,
    capabilities: Capabilities,
    deadline: Duration,
}

impl TestStore {
    /// Returns the first handle.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Returns the first handle for a task.
    pub fn handle(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// Closes the first handle and opens the store again. `None`, with a message on standard error,
    /// if the store is declared not to survive that.
    ///
    /// # Panics
    ///
    /// If the fixture contradicts the capabilities.
    pub async fn reopen(&self) -> Option<Arc<dyn Store>> {
        self.store.close().await.expect("closing");
        let reopened = self.fixture.reopen().await;
        declared("survives_reopen", self.capabilities.survives_reopen, reopened)
    }

    /// Opens another handle on the same data. `None`, with a message on standard error, if the store is
    /// declared not to be shared.
    ///
    /// # Panics
    ///
    /// If the fixture contradicts the capabilities.
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
        Watching::new(store, after, self.deadline).await
    }

    /// Returns how long to wait for an event.
    pub(crate) const fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Awaits an event, and fails if it takes too long.
    pub(crate) async fn within_deadline<T>(
        &self,
        what: &str,
        future: impl Future<Output = T>,
    ) -> T {
        match tokio::time::timeout(self.deadline, future).await {
            Ok(done) => done,
            Err(_) => panic!("not within {:?}: {what}", self.deadline),
        }
    }
}

impl fmt::Debug for TestStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestStore").field("store", &self.store).finish_non_exhaustive()
    }
}

fn declared<T>(capability: &str, offered: bool, thing: Option<T>) -> Option<T> {
    match (offered, &thing) {
        (true, None) => panic!("`{capability}` is declared, but the fixture returned nothing"),
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
/// If the store breaks the rule, or the rule does not end.
pub fn run(harness: &Harness, rule: impl AsyncFnOnce(&Harness)) {
    if harness.is_absent() {
        return;
    }
    // A store that hangs fails the test instead of blocking the whole run.
    let limit = harness.deadline * 6;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("a runtime");
    let ended = runtime.block_on(async { tokio::time::timeout(limit, rule(harness)).await });
    // Without waiting for tasks of a broken store.
    runtime.shutdown_background();
    assert!(ended.is_ok(), "the rule did not end within {limit:?}");
}
