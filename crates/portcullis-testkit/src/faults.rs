//! Every operation of the engine, with each of its calls to the store failing in turn, in every way.
//!
//! Pass [`every_call_fails_in_every_way`] to [`run`](crate::run), with a [`Harness`] of your store:
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

/// Repeats every operation of the engine. Each time another of its calls to the store fails, in
/// another [way](Fault), until no call is left. Each time:
///
/// - The operation succeeds, or its error is one of the store: no credential is refused as wrong for
///   it, and no wrong password is accepted.
/// - After a success the operation is done in full. After an error the records are as before or as
///   after the operation. The deletion of a user or org may also be half done: then its credentials
///   are refused, and the next engine completes the deletion.
/// - The engine works again as soon as the store does.
///
/// # Panics
///
/// If one of these does not hold.
pub async fn every_call_fails_in_every_way(harness: &Harness) {
    let test = harness.open().await;
    let inner = test.handle();
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
                    assert!(n > 1, "{operation:?} does not call the store");
                    break;
                }
                failures += 1;
            }
        }
    }
    eprintln!("{failures} calls failed");
    assert!(failures > Operation::ALL.len() * Fault::ALL.len(), "{failures}");
}

/// Runs the operation without faults, and returns the state after it.
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
        Ok(()) => assert!(!operation.is_refused(), "{operation:?} was accepted"),
        Err(error) => assert!(
            operation.is_refused() && error.kind() == ErrorKind::Unauthorized,
            "{operation:?}: {error:?}"
        ),
    }
    State::of(&**inner).await
}

/// One operation, with one call that fails.
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
            assert_invalid_logins_fail(engine, world, &now, &what).await;
        }
        if operation.may_stop_half_way() && now != *before && now != *after {
            let next = engine_on(Arc::clone(inner), 99).await.expect("an engine that completes it");
            assert_invalid_logins_fail(&next, world, &now, &what).await;
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
            Ok(()) => assert!(!self.operation.is_refused(), "{what}: a wrong secret was accepted"),
            Err(error) => {
                let by_the_store =
                    failed && matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Internal);
                let as_wrong =
                    self.operation.is_refused() && error.kind() == ErrorKind::Unauthorized;
                assert!(by_the_store || as_wrong, "{what}: not an error of the store: {error:?}");
            }
        }
    }

    /// Checks that the engine with the failure still works.
    async fn assert_works(&self, engine: &Engine, world: &World, done: bool, what: &str) {
        let operation = self.operation;
        if !done && !operation.is_the_start() {
            let again = operation.run(engine, world).await;
            assert_eq!(again.is_err(), operation.is_refused(), "{what}: again: {again:?}");
        }
        if !operation.starts_empty() {
            let witness = Credentials::password("witness", "witness-password");
            let login = engine.authenticate(witness).await;
            assert!(login.is_ok(), "{what}: the witness afterwards: {login:?}");
        }
    }
}

/// Checks that a wrong password is refused, and a right one if its user or org is deleted.
async fn assert_invalid_logins_fail(engine: &Engine, world: &World, now: &State, what: &str) {
    let wrong = engine.authenticate(Credentials::password("telegraf", "a-wrong-password")).await;
    assert!(wrong.is_err(), "{what}: a wrong password was accepted");
    let is_there = |kind, id| now.has(kind, id);
    if is_there(Kind::User, world.user.untyped()) && is_there(Kind::Org, world.org.untyped()) {
        return;
    }
    for credentials in [
        Credentials::password("telegraf", "telegraf-password"),
        Credentials::token(world.secret.expose()),
    ] {
        let login = engine.authenticate(credentials).await;
        assert!(login.is_err(), "{what}: accepted without a user or org");
    }
}
