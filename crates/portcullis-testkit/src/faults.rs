//! Every operation of the engine, with every one of its calls to the store failing in turn, in
//! every way.
//!
//! Hand [`every_call_fails_in_every_way`] to [`run`](crate::run), with a [`Harness`] of your store:
//!
//! ```
//! # use std::sync::Arc;
//! # use portcullis::store::MemoryStore;
//! use portcullis_testkit::{Capabilities, Harness, faults};
//!
//! let none = Capabilities { survives_reopen: false, shared_between_handles: false };
//! let harness = Harness::new(none, async || Arc::new(MemoryStore::new().unwrap()));
//! portcullis_testkit::run(&harness, faults::every_call_fails_in_every_way);
//! ```

mod operation;
mod world;

use std::sync::Arc;

use portcullis::store::Kind;
use portcullis::{Credentials, Engine, Error, ErrorKind};

use crate::faulty::{Call, Fault, Faults, FaultyStore};
use crate::harness::Harness;
use operation::Operation;
use world::{State, World, engine_on, the_same_engine_on};

/// Runs every operation of the engine again and again; each time another of its calls to the
/// store fails, in another [way](Fault), until it makes no more calls. Each time:
///
/// - It succeeds, or its error says that the store failed: it refuses nobody for it, and lets
///   nobody in with a wrong password.
/// - Success means done in full. After an error the records are as before or as after it; a
///   deletion of a user or org may also be half way: nobody gets in by what is left, and the next
///   engine finishes it.
/// - The engine works again as soon as the store does.
///
/// # Panics
///
/// When one of these does not hold.
pub async fn every_call_fails_in_every_way(harness: &Harness) {
    let place = harness.place().await;
    let inner = place.handle();
    let world = World::build(&inner).await;
    let full = State::of(&*inner).await;
    let mut failures = 0;
    for operation in Operation::ALL {
        let before = if operation.starts_empty() { State::default() } else { full.clone() };
        before.restore(&*inner).await;
        operation.prepare(&inner, &world).await;
        let before = State::of(&*inner).await;
        let after = without_faults(operation, &inner, &world).await;
        for fault in Fault::ALL {
            for n in 1.. {
                before.restore(&*inner).await;
                let trial = Trial { operation, fault, n, before: &before, after: &after };
                if !trial.run(&inner, &world).await {
                    assert!(n > 1, "{operation:?} does not ask the store");
                    break;
                }
                failures += 1;
            }
        }
    }
    eprintln!("{failures} calls failed");
    assert!(failures > Operation::ALL.len() * Fault::ALL.len(), "{failures}");
}

/// Carries the operation out and returns the state after it.
async fn without_faults(
    operation: Operation,
    inner: &Arc<dyn portcullis::store::Store>,
    world: &World,
) -> State {
    let outcome = match the_same_engine_on(Arc::clone(inner)).await {
        Ok(engine) => operation.run(&engine, world).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => assert!(!operation.is_refused(), "{operation:?} was let in"),
        Err(error) => assert!(
            operation.is_refused() && error.kind() == ErrorKind::Unauthorized,
            "{operation:?}: {error:?}"
        ),
    }
    State::of(&**inner).await
}

/// One operation, one of whose calls fails.
struct Trial<'a> {
    operation: Operation,
    fault: Fault,
    n: u64,
    before: &'a State,
    after: &'a State,
}

impl Trial<'_> {
    /// Tells whether there was such a call.
    async fn run(&self, inner: &Arc<dyn portcullis::store::Store>, world: &World) -> bool {
        let Self { operation, fault, n, before, after } = *self;
        let what = format!("{operation:?}, call {n}: {fault:?}");
        let faults = Faults::new();
        let store = Arc::new(FaultyStore::new(Arc::clone(inner), &faults));
        let start = async |fails| {
            if fails {
                faults.reset();
                faults.fail(Call::nth(n), fault);
            }
            the_same_engine_on(store.clone()).await
        };
        let (outcome, engine) = if operation.is_the_start() {
            match start(true).await {
                Ok(engine) => (Ok(()), Some(engine)),
                Err(error) => (Err(error), None),
            }
        } else {
            let engine = start(false).await.expect("an engine");
            faults.reset();
            faults.fail(Call::nth(n), fault);
            (operation.run(&engine, world).await, Some(engine))
        };
        let failed = faults.calls() >= n;
        faults.reset();
        self.judge(&outcome, failed, &what);

        let mut now = State::of(&**inner).await;
        if outcome.is_ok() {
            assert!(now == *after, "{what}: succeeded and is not done: {}", now.compare(after));
        }
        if let Some(engine) = &engine {
            assert_no_way_in(engine, world, &now, &what).await;
        }
        if operation.may_stop_half_way() && now != *before && now != *after {
            let next = engine_on(Arc::clone(inner), 99).await.expect("an engine that finishes");
            assert_no_way_in(&next, world, &now, &what).await;
            now = State::of(&**inner).await;
        }
        let whole = now == *before || now == *after;
        assert!(whole, "{what}: half done: {}", now.compare(after));

        let engine = match engine {
            Some(engine) => engine,
            None => start(false).await.unwrap_or_else(|error| panic!("{what}: {error:?}")),
        };
        self.assert_works(&engine, world, now != *before, &what).await;
        failed
    }

    fn judge(&self, outcome: &Result<(), Error>, failed: bool, what: &str) {
        match outcome {
            Ok(()) => assert!(!self.operation.is_refused(), "{what}: a wrong secret was let in"),
            Err(error) => {
                let by_the_store =
                    failed && matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Internal);
                let as_wrong =
                    self.operation.is_refused() && error.kind() == ErrorKind::Unauthorized;
                assert!(by_the_store || as_wrong, "{what}: not a clear error: {error:?}");
            }
        }
    }

    /// The engine that saw the failure works on.
    async fn assert_works(&self, engine: &Engine, world: &World, done: bool, what: &str) {
        let operation = self.operation;
        if !done && !operation.is_the_start() {
            let again = operation.run(engine, world).await;
            assert_eq!(again.is_err(), operation.is_refused(), "{what}: again: {again:?}");
        }
        if !operation.starts_empty() {
            let witness = Credentials::password("witness", "witness-password");
            let let_in = engine.authenticate(witness).await;
            assert!(let_in.is_ok(), "{what}: the witness afterwards: {let_in:?}");
        }
    }
}

/// Nobody gets in with a wrong password, nor with a right one when its user or org is gone.
async fn assert_no_way_in(engine: &Engine, world: &World, now: &State, what: &str) {
    let wrong = engine.authenticate(Credentials::password("telegraf", "a-wrong-password")).await;
    assert!(wrong.is_err(), "{what}: a wrong password was let in");
    let is_there = |kind, id| now.has(kind, id);
    if is_there(Kind::User, world.user.untyped()) && is_there(Kind::Org, world.org.untyped()) {
        return;
    }
    for credentials in [
        Credentials::password("telegraf", "telegraf-password"),
        Credentials::token(world.secret.expose()),
    ] {
        let let_in = engine.authenticate(credentials).await;
        assert!(let_in.is_err(), "{what}: let in without a user or org");
    }
}
