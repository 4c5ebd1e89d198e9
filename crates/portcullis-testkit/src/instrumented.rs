//! A store that counts its calls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use portcullis::store::StoreError;

use crate::hooked::{Hook, HookedStore};
use crate::method::Method;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Success.
    Done,
    /// The future was dropped.
    Dropped,
    /// With [`StoreError::AlreadyExists`].
    AlreadyExists,
    /// With [`StoreError::Backend`].
    Backend,
    /// With [`StoreError::BatchTooLarge`].
    BatchTooLarge,
    /// With [`StoreError::Conflict`].
    Conflict,
    /// With [`StoreError::Corrupt`].
    Corrupt,
    /// With [`StoreError::Indeterminate`].
    Indeterminate,
    /// With [`StoreError::Missing`].
    Missing,
    /// With [`StoreError::Unavailable`].
    Unavailable,
    /// With an error that this version does not list.
    OtherError,
}

impl Outcome {
    fn of<T>(response: &Result<T, StoreError>) -> Self {
        match response {
            Ok(_) => Self::Done,
            Err(StoreError::AlreadyExists { .. }) => Self::AlreadyExists,
            Err(StoreError::Backend { .. }) => Self::Backend,
            Err(StoreError::BatchTooLarge { .. }) => Self::BatchTooLarge,
            Err(StoreError::Conflict { .. }) => Self::Conflict,
            Err(StoreError::Corrupt { .. }) => Self::Corrupt,
            Err(StoreError::Indeterminate { .. }) => Self::Indeterminate,
            Err(StoreError::Missing { .. }) => Self::Missing,
            Err(StoreError::Unavailable { .. }) => Self::Unavailable,
            Err(_) => Self::OtherError,
        }
    }
}

/// Counts the calls of each method and their outcomes. Clones share the counts. Several stores can
/// share them too: their calls are counted together.
#[derive(Clone, Debug, Default)]
pub struct Counts(Arc<Mutex<BTreeMap<(Method, Outcome), u64>>>);

impl Counts {
    /// Returns counts of zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns how many calls have ended, with any outcome.
    pub fn total(&self) -> u64 {
        self.counts().values().sum()
    }

    /// Returns how many calls of the method have ended, with any outcome.
    pub fn of(&self, method: Method) -> u64 {
        let counts = self.counts();
        let of_method = counts.iter().filter(|((counted, _), _)| *counted == method);
        of_method.map(|(_, count)| count).sum()
    }

    /// Returns how many calls of the method ended with this outcome.
    pub fn ended(&self, method: Method, outcome: Outcome) -> u64 {
        self.counts().get(&(method, outcome)).copied().unwrap_or_default()
    }

    /// Returns all counts that are not zero.
    pub fn all(&self) -> BTreeMap<(Method, Outcome), u64> {
        self.counts().clone()
    }

    /// Sets all counts to zero.
    pub fn reset(&self) {
        self.counts().clear();
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<(Method, Outcome), u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Hook for Counts {
    async fn around<T: Send>(
        &self,
        method: Method,
        call: BoxFuture<'_, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        // Counted when it is dropped, also if the future is dropped.
        let mut ending = Ending { counts: self, method, outcome: Outcome::Dropped };
        let response = call.await;
        ending.outcome = Outcome::of(&response);
        response
    }
}

struct Ending<'a> {
    counts: &'a Counts,
    method: Method,
    outcome: Outcome,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        *self.counts.counts().entry((self.method, self.outcome)).or_default() += 1;
    }
}

/// Forwards all calls to the inner store and [counts](Counts) them. It passes the conformance suite if
/// the inner store does. Events of the feed are not counted.
///
/// ```
/// use std::sync::Arc;
///
/// use portcullis::store::{Batch, MemoryStore, Store};
/// use portcullis_testkit::fixtures::Sample;
/// use portcullis_testkit::{Counts, InstrumentedStore, Method, Outcome};
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let counts = Counts::new();
/// let store = InstrumentedStore::new(Arc::new(MemoryStore::new()?), &counts);
/// let create = Batch::new().with(Sample::user(1).create());
/// assert!(store.commit(create.clone()).await.is_ok());
/// assert!(store.commit(create).await.is_err());
/// assert_eq!(counts.of(Method::Commit), 2);
/// assert_eq!(counts.ended(Method::Commit, Outcome::AlreadyExists), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type InstrumentedStore = HookedStore<Counts>;
