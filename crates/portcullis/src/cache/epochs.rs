//! The epochs at which records were invalidated.
//!
//! The protocol that keeps the cache correct under concurrency:
//!
//! - A reader takes the current [epoch](Epochs::now) *before* the read, and stores it with the result.
//! - A writer [invalidates](Epochs::invalidate) a record *after* the commit and before it returns. So
//!   does the follower of the change feed at each event.
//! - A cached result is valid while it [is unchanged](Epochs::is_unchanged): none of its subjects was
//!   invalidated after its epoch.
//!
//! Nothing has to be found and removed, and no lock orders reads and writes: a read that began before
//! the commit has an epoch from before the invalidation, so its result is not valid, whenever it
//! arrives.

use super::sync::{AtomicU64, Ordering};
use crate::stamp::Epoch;

/// Number of epoch slots per kind of record; must be a power of two. Ids are hashed to slots, so two
/// ids may share one and are then invalidated together. This costs an extra read; during an outage it
/// may refuse a login that stale-if-error would have admitted. At 1,000 changes a second each slot is
/// invalidated every 16 seconds. Four times as many slots would not fit into the cache of a core, and
/// every login would wait for one.
const CREDENTIALS: usize = if cfg!(shuttle) { 16 } else { 16_384 };
const TENANTS: usize = if cfg!(shuttle) { 16 } else { 8_192 };

/// What can be invalidated by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// An authorization.
    Authorization(u64),
    /// An API token.
    Token(u64),
    /// A user or an org: whether it exists and is active.
    Tenant(u64),
    /// The names of all buckets. They change rarely, and are invalidated together.
    Buckets,
    /// All DBRP mappings, for the same reason.
    Dbrps,
    /// Usernames that do not exist: invalidated together with any authorization.
    Absence,
    /// API tokens that do not exist: invalidated together with any API token.
    TokenAbsence,
}

/// The epochs of the last invalidations.
pub(crate) struct Epochs {
    clock: AtomicU64,
    everything: AtomicU64,
    absence: AtomicU64,
    token_absence: AtomicU64,
    buckets: AtomicU64,
    dbrps: AtomicU64,
    credentials: Box<[AtomicU64]>,
    tenants: Box<[AtomicU64]>,
}

impl Epochs {
    pub(crate) fn new() -> Self {
        // Not arrays, which would be built on the stack.
        let slots = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self {
            clock: AtomicU64::new(1),
            everything: AtomicU64::new(0),
            absence: AtomicU64::new(0),
            token_absence: AtomicU64::new(0),
            buckets: AtomicU64::new(0),
            dbrps: AtomicU64::new(0),
            credentials: slots(CREDENTIALS),
            tenants: slots(TENANTS),
        }
    }

    /// Returns the current epoch, for a read that begins after this call.
    pub(crate) fn now(&self) -> Epoch {
        Epoch(self.clock.load(Ordering::Acquire))
    }

    /// Invalidates what was read about the subject until now.
    pub(crate) fn invalidate(&self, subject: Subject) {
        let now = self.tick();
        if let Some(slot) = self.slot(subject) {
            slot.fetch_max(now, Ordering::AcqRel);
        }
        match subject {
            Subject::Authorization(_) => self.absence.fetch_max(now, Ordering::AcqRel),
            Subject::Token(_) => self.token_absence.fetch_max(now, Ordering::AcqRel),
            Subject::Tenant(_)
            | Subject::Buckets
            | Subject::Dbrps
            | Subject::Absence
            | Subject::TokenAbsence => now,
        };
    }

    /// Invalidates everything that was read until now.
    pub(crate) fn invalidate_all(&self) {
        let now = self.tick();
        self.everything.fetch_max(now, Ordering::AcqRel);
    }

    /// Returns whether the subject was not invalidated after the epoch.
    pub(crate) fn is_unchanged(&self, epoch: Epoch, subject: Subject) -> bool {
        let invalidated = |at: &AtomicU64| at.load(Ordering::Acquire) > epoch.0;
        !invalidated(&self.everything) && self.slot(subject).is_some_and(|slot| !invalidated(slot))
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::AcqRel) + 1
    }

    fn slot(&self, subject: Subject) -> Option<&AtomicU64> {
        // Fibonacci hashing: ids differ in the low bits of their random part and in time.
        let hash = |id: u64| (id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
        match subject {
            Subject::Authorization(id) | Subject::Token(id) => {
                self.credentials.get(hash(id) % CREDENTIALS)
            }
            Subject::Tenant(id) => self.tenants.get(hash(id) % TENANTS),
            Subject::Buckets => Some(&self.buckets),
            Subject::Dbrps => Some(&self.dbrps),
            Subject::Absence => Some(&self.absence),
            Subject::TokenAbsence => Some(&self.token_absence),
        }
    }
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests {
    use super::*;

    const A: Subject = Subject::Authorization(1);

    #[test]
    fn an_epoch_is_unchanged_until_its_subject_or_everything_is_invalidated() {
        let epochs = Epochs::new();
        let before = epochs.now();
        let absence = |epoch| epochs.is_unchanged(epoch, Subject::Absence);
        let token_absence = |epoch| epochs.is_unchanged(epoch, Subject::TokenAbsence);
        assert!(epochs.is_unchanged(before, A) && absence(before) && token_absence(before));
        epochs.invalidate(Subject::Token(2));
        assert!(!token_absence(before) && token_absence(epochs.now()));
        epochs.invalidate(Subject::Tenant(1));
        epochs.invalidate(Subject::Buckets);
        assert!(epochs.is_unchanged(before, A) && absence(before));
        assert!(!epochs.is_unchanged(before, Subject::Buckets));
        epochs.invalidate(A);
        assert!(!epochs.is_unchanged(before, A) && !absence(before));
        let after = epochs.now();
        assert!(epochs.is_unchanged(after, A));
        epochs.invalidate(Subject::Authorization(7));
        assert!(epochs.is_unchanged(after, A) && !absence(after));
        epochs.invalidate_all();
        assert!(!epochs.is_unchanged(after, A));
        assert!(epochs.is_unchanged(epochs.now(), A));
    }

    /// [OUTAGE-7]
    #[test]
    fn ids_that_share_a_slot_are_invalidated_together_and_few_do() {
        let epochs = Epochs::new();
        let before = epochs.now();
        epochs.invalidate(A);
        let others = (2..=100_000).map(Subject::Authorization);
        let shared = others.filter(|other| !epochs.is_unchanged(before, *other)).count();
        // One in as many as there are slots.
        assert!((1..=20).contains(&shared), "{shared}");
    }
}

/// Many interleavings of the protocol: run with
/// `RUSTFLAGS="--cfg shuttle" cargo test -p portcullis --lib shuttle`.
#[cfg(test)]
#[cfg(shuttle)]
mod shuttle_tests {
    use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use shuttle::sync::{Arc, Mutex};
    use shuttle::thread;

    use super::*;

    const ITERATIONS: usize = 20_000;
    const SUBJECT: Subject = Subject::Authorization(1);

    /// A store with one record, and a cache with one entry.
    #[derive(Default)]
    struct World {
        stored: AtomicU64,
        cached: Mutex<Option<(Epoch, u64)>>,
        epochs: Option<Epochs>,
        done: AtomicBool,
    }

    impl World {
        fn new() -> Arc<Self> {
            Arc::new(Self { epochs: Some(Epochs::new()), ..Self::default() })
        }

        fn epochs(&self) -> &Epochs {
            self.epochs.as_ref().unwrap()
        }

        /// The value that a login gets.
        fn login(&self) -> u64 {
            let cached = *self.cached.lock().unwrap();
            if let Some((epoch, value)) = cached
                && self.epochs().is_unchanged(epoch, SUBJECT)
            {
                return value;
            }
            let epoch = self.epochs().now();
            let value = self.stored.load(Ordering::SeqCst);
            *self.cached.lock().unwrap() = Some((epoch, value));
            value
        }

        fn change(&self, value: u64) {
            self.stored.store(value, Ordering::SeqCst);
            self.epochs().invalidate(SUBJECT);
            self.done.store(true, Ordering::SeqCst);
        }
    }

    fn check(test: impl Fn() + Send + Sync + 'static) {
        shuttle::check_pct(test, ITERATIONS, 3);
    }

    #[test]
    fn shuttle_a_changed_record_is_never_served_from_the_cache() {
        check(|| {
            let world = World::new();
            world.login();
            let changer = {
                let world = Arc::clone(&world);
                thread::spawn(move || world.change(1))
            };
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    let world = Arc::clone(&world);
                    thread::spawn(move || {
                        for _ in 0..2 {
                            let done = world.done.load(Ordering::SeqCst);
                            let read = world.login();
                            assert!(!done || read == 1, "the old value after the change was done");
                        }
                    })
                })
                .collect();
            changer.join().unwrap();
            for reader in readers {
                reader.join().unwrap();
            }
            assert_eq!(world.login(), 1);
        });
    }

    #[test]
    fn shuttle_two_concurrent_changes_leave_no_old_value() {
        check(|| {
            let world = World::new();
            let changers: Vec<_> = [1, 2]
                .into_iter()
                .map(|value| {
                    let world = Arc::clone(&world);
                    thread::spawn(move || world.change(value))
                })
                .collect();
            world.login();
            for changer in changers {
                changer.join().unwrap();
            }
            assert_eq!(world.login(), world.stored.load(Ordering::SeqCst));
        });
    }

    /// The first test can fail: it does when the epoch is taken after the read.
    #[test]
    #[should_panic(expected = "the old value")]
    fn shuttle_an_epoch_taken_after_the_read_is_detected() {
        check(|| {
            let world = World::new();
            let filler = {
                let world = Arc::clone(&world);
                thread::spawn(move || {
                    let value = world.stored.load(Ordering::SeqCst);
                    let epoch = world.epochs().now();
                    *world.cached.lock().unwrap() = Some((epoch, value));
                })
            };
            world.change(1);
            filler.join().unwrap();
            assert_eq!(world.login(), 1, "the old value after the change was done");
        });
    }
}
