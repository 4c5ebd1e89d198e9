//! Stores that fail, and hash threads that block.

use std::sync::{Arc, Condvar, Mutex};

use portcullis::store::Store;
use portcullis::{Permission, Random, RandomUnavailable, SystemRandom};
pub(crate) use portcullis_testkit::world::{ManualClock, World, builder, cheap_hashing, name};
use portcullis_testkit::{Call, Fault, Faults, FaultyStore};

pub(crate) fn permission(text: &str) -> Permission {
    text.parse().unwrap()
}

/// The store, with a fault on these calls.
pub(crate) fn failing(store: &Arc<dyn Store>, call: Call, fault: Fault) -> Arc<dyn Store> {
    let faults = Faults::new();
    faults.fail(call, fault);
    Arc::new(FaultyStore::new(Arc::clone(store), &faults))
}

/// The store, which is unavailable after `calls` calls.
pub(crate) fn gone_after(store: &Arc<dyn Store>, calls: u64) -> Arc<dyn Store> {
    failing(store, Call::nth(calls + 1).and_later(), Fault::Unavailable)
}

/// Randomness that blocks the hash threads while it is shut: no later hash begins while the first one
/// waits for its salt. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Salts(Arc<(Mutex<Gate>, Condvar)>);

#[derive(Debug, Default)]
struct Gate {
    shut: bool,
    waiting: usize,
}

impl Salts {
    pub(crate) fn shut(&self, shut: bool) {
        self.0.0.lock().unwrap().shut = shut;
        self.0.1.notify_all();
    }

    /// Returns when `threads` threads wait.
    pub(crate) fn wait_until_waiting(&self, threads: usize) {
        let gate = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(gate, |gate| gate.waiting < threads).unwrap());
    }
}

impl Random for Salts {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomUnavailable> {
        let thread = std::thread::current();
        if thread.name().is_some_and(|name| name.starts_with("portcullis-hash")) {
            let mut gate = self.0.0.lock().unwrap();
            gate.waiting += 1;
            self.0.1.notify_all();
            let mut gate = self.0.1.wait_while(gate, |gate| gate.shut).unwrap();
            gate.waiting -= 1;
        }
        SystemRandom.fill(buffer)
    }
}
