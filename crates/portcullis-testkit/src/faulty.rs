//! A store whose calls fail on request.
//!
//! ```
//! use std::sync::Arc;
//!
//! use portcullis::store::{MemoryStore, Store, StoreError};
//! use portcullis_testkit::{Call, Fault, FaultyStore, Faults, Method};
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let faults = Faults::new();
//! let store = FaultyStore::new(Arc::new(MemoryStore::new()?), &faults);
//! faults.fail(Call::nth_of(Method::Position, 2), Fault::Unavailable);
//! assert!(store.position().await.is_ok());
//! assert!(matches!(store.position().await, Err(StoreError::Unavailable { .. })));
//! assert!(store.position().await.is_ok());
//! assert_eq!(faults.calls_of(Method::Position), 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use portcullis::store::StoreError;
use tokio::sync::watch;

use crate::hooked::{Hook, HookedStore};
use crate::method::Method;

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// [`StoreError::Unavailable`]; the inner store is not called.
    Unavailable,
    /// [`StoreError::Backend`]; the inner store is not called.
    Backend,
    /// The inner store is called, and its response is lost: [`StoreError::Indeterminate`] for a
    /// commit, [`StoreError::Unavailable`] for other calls.
    ResponseLost,
    /// The inner store is not called, which the caller cannot detect: [`StoreError::Indeterminate`] for a
    /// commit, [`StoreError::Unavailable`] for other calls.
    RequestLost,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 4] =
        [Self::Unavailable, Self::Backend, Self::ResponseLost, Self::RequestLost];

    fn error(self, method: Method) -> StoreError {
        let cause = format!("an injected fault of {method}");
        match (self, method) {
            (Self::Backend, _) => StoreError::backend(cause),
            (Self::ResponseLost | Self::RequestLost, Method::Commit) => {
                StoreError::indeterminate(cause)
            }
            _ => StoreError::unavailable(cause),
        }
    }
}

/// Selects calls. They are counted from 1, since the [`Faults`] were created or
/// [reset](Faults::reset).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    method: Option<Method>,
    first: u64,
    last: u64,
}

impl Call {
    /// The n-th call of any method except those [of the feed](Method::is_of_feed).
    pub const fn nth(n: u64) -> Self {
        Self { method: None, first: n, last: n }
    }

    /// The n-th call of the method.
    pub const fn nth_of(method: Method, n: u64) -> Self {
        Self { method: Some(method), first: n, last: n }
    }

    /// Selects every later call as well.
    #[must_use]
    pub const fn and_later(self) -> Self {
        Self { last: u64::MAX, ..self }
    }
}

/// Decides which calls of a [`FaultyStore`] fail, and counts them. Clones share their state. Several
/// stores can share it too: their calls are counted together.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    calls: BTreeMap<Method, u64>,
    plans: Vec<(Call, Plan)>,
}

impl State {
    fn calls(&self) -> u64 {
        let counted = self.calls.iter().filter(|(method, _)| !method.is_of_feed());
        counted.map(|(_, calls)| calls).sum()
    }
}

#[derive(Clone, Debug)]
enum Plan {
    Fail(Fault),
    Hold(HeldSide),
}

#[derive(Clone, Debug)]
struct HeldSide {
    held: watch::Sender<bool>,
    released: watch::Receiver<bool>,
}

impl Faults {
    /// Returns no faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes these calls fail. Of several faults for a call, the first one applies.
    pub fn fail(&self, call: Call, fault: Fault) {
        self.state().plans.push((call, Plan::Fail(fault)));
    }

    /// Holds these calls, before the inner store is called, until the gate is opened or dropped. Faults
    /// apply after that.
    #[must_use = "dropping the gate opens it"]
    pub fn hold(&self, call: Call) -> Gate {
        let (held, is_held) = watch::channel(false);
        let (release, released) = watch::channel(false);
        self.state().plans.push((call, Plan::Hold(HeldSide { held, released })));
        Gate { is_held, release }
    }

    /// Removes all faults and restarts the count. Calls that are held stay held.
    pub fn reset(&self) {
        *self.state() = State::default();
    }

    /// Returns the number of calls, failed ones included, of all methods except those
    /// [of the feed](Method::is_of_feed).
    pub fn calls(&self) -> u64 {
        self.state().calls()
    }

    /// Returns the number of calls of the method, failed ones included.
    pub fn calls_of(&self, method: Method) -> u64 {
        self.state().calls.get(&method).copied().unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, and returns the plans for it.
    fn count(&self, method: Method) -> Vec<Plan> {
        let mut state = self.state();
        let of_method = state.calls.entry(method).or_default();
        *of_method += 1;
        let of_method = *of_method;
        let of_all = (!method.is_of_feed()).then(|| state.calls());
        let planned = state.plans.iter().filter(|(call, _)| {
            let number = match call.method {
                None => of_all,
                Some(of) => (of == method).then_some(of_method),
            };
            number.is_some_and(|number| (call.first..=call.last).contains(&number))
        });
        planned.map(|(_, plan)| plan.clone()).collect()
    }
}

#[async_trait]
impl Hook for Faults {
    async fn around<T: Send>(
        &self,
        method: Method,
        call: BoxFuture<'_, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let mut fault = None;
        for plan in self.count(method) {
            match plan {
                Plan::Fail(planned) => fault = fault.or(Some(planned)),
                Plan::Hold(HeldSide { held, mut released }) => {
                    held.send_replace(true);
                    // An error means that the gate was dropped, which opens it too.
                    let _ = released.wait_for(|released| *released).await;
                }
            }
        }
        match fault {
            None => call.await,
            Some(Fault::ResponseLost) => {
                call.await?;
                Err(Fault::ResponseLost.error(method))
            }
            Some(fault) => Err(fault.error(method)),
        }
    }
}

/// Holds calls of a [`FaultyStore`]. It opens when it is dropped.
#[derive(Debug)]
pub struct Gate {
    is_held: watch::Receiver<bool>,
    release: watch::Sender<bool>,
}

impl Gate {
    /// Waits until a call is held.
    ///
    /// # Panics
    ///
    /// If no call can be held any more, because the faults were reset.
    pub async fn reached(&mut self) {
        self.is_held.wait_for(|held| *held).await.expect("a call that can be held");
    }

    /// Releases all calls that are held, and holds no further ones.
    pub fn open(self) {
        self.release.send_replace(true);
    }
}

/// Forwards all calls to the inner store, except those that fail by its [`Faults`]. Without faults it
/// passes the conformance suite if the inner store does.
pub type FaultyStore = HookedStore<Faults>;
