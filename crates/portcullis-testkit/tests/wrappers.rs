//! The stores that wrap another one: they pass the suite, fail as requested, and count calls.

use std::sync::Arc;

use futures_util::poll;
use portcullis::store::{Batch, Kind, Lookup, MemoryStore, Store, StoreError};
use portcullis_testkit::fixtures::Sample;
use portcullis_testkit::{
    Call, Capabilities, Counts, Fault, Faults, FaultyStore, InstrumentedStore, Method, Outcome,
};

const CAPABILITIES: Capabilities =
    Capabilities { survives_reopen: false, shared_between_handles: false };

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new().unwrap())
}

mod faulty {
    use super::*;

    portcullis_testkit::conformance! {
        capabilities: CAPABILITIES,
        fresh: async || Arc::new(FaultyStore::new(memory(), &Faults::new())),
    }
}

mod instrumented {
    use super::*;

    portcullis_testkit::conformance! {
        capabilities: CAPABILITIES,
        fresh: async || Arc::new(InstrumentedStore::new(memory(), &Counts::new())),
    }
}

fn create(id: u64) -> Batch {
    Batch::new().with(Sample::user(id).create())
}

async fn is_there(store: &dyn Store, id: u64) -> bool {
    let sample = Sample::user(id);
    store.get(Lookup::Id(Kind::User, sample.id)).await.unwrap().is_some()
}

#[tokio::test]
async fn each_fault_does_what_its_name_states() {
    for fault in Fault::ALL {
        let (inner, faults) = (memory(), Faults::new());
        let store = FaultyStore::new(Arc::clone(&inner), &faults);
        faults.fail(Call::nth_of(Method::Commit, 2), fault);
        store.commit(create(1)).await.unwrap();
        let error = store.commit(create(2)).await.unwrap_err();
        let as_told = match fault {
            Fault::Unavailable => matches!(error, StoreError::Unavailable { .. }),
            Fault::Backend => matches!(error, StoreError::Backend { .. }),
            Fault::ResponseLost | Fault::RequestLost => {
                matches!(error, StoreError::Indeterminate { .. })
            }
        };
        assert!(as_told, "{fault:?}: {error:?}");
        assert_eq!(is_there(&*inner, 2).await, fault == Fault::ResponseLost, "{fault:?}");
        store.commit(create(3)).await.unwrap();
        assert_eq!((faults.calls(), faults.calls_of(Method::Commit)), (3, 3));
    }
}

#[tokio::test]
async fn calls_are_counted_together_and_by_method() {
    let faults = Faults::new();
    let store = FaultyStore::new(memory(), &faults);
    faults.fail(Call::nth(2), Fault::Backend);
    faults.fail(Call::nth_of(Method::Position, 2).and_later(), Fault::RequestLost);
    assert!(store.position().await.is_ok());
    assert!(!is_there(&store, 1).await);
    assert!(matches!(store.commit(create(1)).await, Err(StoreError::Backend { .. })));
    for _ in 0..2 {
        assert!(matches!(store.position().await, Err(StoreError::Unavailable { .. })));
    }
    assert!(store.commit(create(1)).await.is_ok());
    let counted = (faults.calls(), faults.calls_of(Method::Position), faults.calls_of(Method::Get));
    assert_eq!(counted, (3, 3, 1));
    faults.reset();
    assert_eq!(faults.calls(), 0);
    assert!(store.position().await.is_ok());
}

#[tokio::test]
async fn a_refusal_of_the_inner_store_is_returned_even_if_the_result_was_to_be_lost() {
    let faults = Faults::new();
    let store = FaultyStore::new(memory(), &faults);
    store.commit(create(1)).await.unwrap();
    faults.fail(Call::nth(2), Fault::ResponseLost);
    let error = store.commit(create(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::AlreadyExists { .. }), "{error:?}");
}

#[tokio::test]
async fn a_gate_holds_a_call_until_it_is_opened_or_dropped() {
    for opened in [true, false] {
        let (inner, faults) = (memory(), Faults::new());
        let store = FaultyStore::new(Arc::clone(&inner), &faults);
        let mut gate = faults.hold(Call::nth_of(Method::Commit, 1));
        let mut held = store.commit(create(1));
        assert!(poll!(&mut held).is_pending());
        gate.reached().await;
        assert!(!is_there(&*inner, 1).await);
        store.commit(create(2)).await.unwrap();
        assert!(poll!(&mut held).is_pending());
        if opened {
            gate.open();
        } else {
            drop(gate);
        }
        held.await.unwrap();
        assert!(is_there(&*inner, 1).await);
    }
}

#[tokio::test]
async fn calls_are_counted_by_how_they_end() {
    let (faults, counts) = (Faults::new(), Counts::new());
    let faulty = Arc::new(FaultyStore::new(memory(), &faults));
    let store = InstrumentedStore::new(faulty, &counts);
    store.commit(create(1)).await.unwrap();
    store.commit(create(1)).await.unwrap_err();
    store.commit(Batch::new().with(Sample::user(2).delete())).await.unwrap_err();
    let other = Sample::user(1).revised();
    store.commit(Batch::new().with(other.delete())).await.unwrap_err();
    for fault in [Fault::Unavailable, Fault::Backend, Fault::ResponseLost] {
        faults.reset();
        faults.fail(Call::nth(1), fault);
        store.commit(Batch::new()).await.unwrap_err();
    }
    faults.reset();
    let gate = faults.hold(Call::nth_of(Method::Position, 1));
    let mut held = store.position();
    assert!(poll!(&mut held).is_pending());
    assert_eq!(counts.of(Method::Position), 0);
    drop((held, gate));
    store.position().await.unwrap();
    let expected = [
        ((Method::Commit, Outcome::Done), 1),
        ((Method::Commit, Outcome::AlreadyExists), 1),
        ((Method::Commit, Outcome::Backend), 1),
        ((Method::Commit, Outcome::Conflict), 1),
        ((Method::Commit, Outcome::Indeterminate), 1),
        ((Method::Commit, Outcome::Missing), 1),
        ((Method::Commit, Outcome::Unavailable), 1),
        ((Method::Position, Outcome::Done), 1),
        ((Method::Position, Outcome::Dropped), 1),
    ];
    assert_eq!(counts.all(), expected.into());
    assert_eq!((counts.total(), counts.of(Method::Commit)), (9, 7));
    counts.reset();
    assert_eq!(counts.total(), 0);
}
