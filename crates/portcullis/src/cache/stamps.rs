//! When what was read from the store was called into question the last time.
//!
//! The protocol that keeps the cache right, whatever runs at the same time:
//!
//! - Whoever reads takes a [stamp](Stamps::now) *before* the read, and keeps it with what was read.
//! - Whoever changes something [forgets](Stamps::forget) it *after* the commit, before saying that
//!   it is done. So does whoever hears of a change.
//! - What was read counts while its stamp [holds](Stamps::hold): nothing it is about was forgotten
//!   after the stamp was taken.
//!
//! Nothing has to be found and removed, and no lock orders fills and changes: a read that began
//! before the commit has a stamp from before the forgetting, so whenever its result arrives, it
//! does not hold.

use super::sync::{AtomicU64, Ordering};

/// How many numbers stand for the ids of a kind, powers of two. Ids that share one are forgotten
/// together: that costs a read, and while the store does not answer somebody is refused whom grace
/// would let in. With 1,000 changes a second each of these is forgotten every 16 seconds. Four times as
/// many would not stay in the cache of a core, and every login would wait for one.
const CREDENTIALS: usize = if cfg!(shuttle) { 16 } else { 16_384 };
const TENANTS: usize = if cfg!(shuttle) { 16 } else { 8_192 };

/// What can be forgotten by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// An authorization.
    Authorization(u64),
    /// An API token.
    Token(u64),
    /// A user or an org: whether it is there and active.
    Tenant(u64),
    /// Buckets: which ones have which names. They change seldom, and are forgotten together.
    Buckets,
    /// Usernames that do not exist: forgotten together with any authorization.
    Absence,
    /// API tokens that do not exist: forgotten together with any API token.
    TokenAbsence,
}

/// A moment, in order with all that was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp(u64);

/// The moments at which things were forgotten.
pub(crate) struct Stamps {
    clock: AtomicU64,
    everything: AtomicU64,
    absence: AtomicU64,
    token_absence: AtomicU64,
    buckets: AtomicU64,
    credentials: Box<[AtomicU64]>,
    tenants: Box<[AtomicU64]>,
}

impl Stamps {
    pub(crate) fn new() -> Self {
        // Not as arrays, which would be made on the stack.
        let places = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self {
            clock: AtomicU64::new(1),
            everything: AtomicU64::new(0),
            absence: AtomicU64::new(0),
            token_absence: AtomicU64::new(0),
            buckets: AtomicU64::new(0),
            credentials: places(CREDENTIALS),
            tenants: places(TENANTS),
        }
    }

    /// Takes a stamp, for a read that begins after it.
    pub(crate) fn now(&self) -> Stamp {
        Stamp(self.clock.load(Ordering::Acquire))
    }

    /// Calls into question what was read about the subject until now.
    pub(crate) fn forget(&self, subject: Subject) {
        let now = self.tick();
        if let Some(of) = self.of(subject) {
            of.fetch_max(now, Ordering::AcqRel);
        }
        match subject {
            Subject::Authorization(_) => self.absence.fetch_max(now, Ordering::AcqRel),
            Subject::Token(_) => self.token_absence.fetch_max(now, Ordering::AcqRel),
            Subject::Tenant(_) | Subject::Buckets | Subject::Absence | Subject::TokenAbsence => now,
        };
    }

    /// Calls into question everything that was read until now.
    pub(crate) fn forget_everything(&self) {
        let now = self.tick();
        self.everything.fetch_max(now, Ordering::AcqRel);
    }

    /// Tells whether nothing about the subject was forgotten since the stamp.
    pub(crate) fn hold(&self, stamp: Stamp, subject: Subject) -> bool {
        let forgotten = |at: &AtomicU64| at.load(Ordering::Acquire) > stamp.0;
        !forgotten(&self.everything) && self.of(subject).is_some_and(|of| !forgotten(of))
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::AcqRel) + 1
    }

    fn of(&self, subject: Subject) -> Option<&AtomicU64> {
        // Fibonacci hashing: ids differ in the low bits of their random part and in time.
        let hash = |id: u64| (id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
        match subject {
            Subject::Authorization(id) | Subject::Token(id) => {
                self.credentials.get(hash(id) % CREDENTIALS)
            }
            Subject::Tenant(id) => self.tenants.get(hash(id) % TENANTS),
            Subject::Buckets => Some(&self.buckets),
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
    fn a_stamp_holds_until_its_subject_or_everything_is_forgotten() {
        let stamps = Stamps::new();
        let before = stamps.now();
        let absence = |stamp| stamps.hold(stamp, Subject::Absence);
        let token_absence = |stamp| stamps.hold(stamp, Subject::TokenAbsence);
        assert!(stamps.hold(before, A) && absence(before) && token_absence(before));
        stamps.forget(Subject::Token(2));
        assert!(!token_absence(before) && token_absence(stamps.now()));
        stamps.forget(Subject::Tenant(1));
        stamps.forget(Subject::Buckets);
        assert!(stamps.hold(before, A) && absence(before));
        assert!(!stamps.hold(before, Subject::Buckets));
        stamps.forget(A);
        assert!(!stamps.hold(before, A) && !absence(before));
        let after = stamps.now();
        assert!(stamps.hold(after, A));
        stamps.forget(Subject::Authorization(7));
        assert!(stamps.hold(after, A) && !absence(after));
        stamps.forget_everything();
        assert!(!stamps.hold(after, A));
        assert!(stamps.hold(stamps.now(), A));
    }
}

/// Every order of events, as far as they can be tried: run with
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

    /// A store with one record, and a cache with one place.
    #[derive(Default)]
    struct World {
        stored: AtomicU64,
        cached: Mutex<Option<(Stamp, u64)>>,
        stamps: Option<Stamps>,
        done: AtomicBool,
    }

    impl World {
        fn new() -> Arc<Self> {
            Arc::new(Self { stamps: Some(Stamps::new()), ..Self::default() })
        }

        fn stamps(&self) -> &Stamps {
            self.stamps.as_ref().unwrap()
        }

        /// What a login answers with.
        fn look(&self) -> u64 {
            let cached = *self.cached.lock().unwrap();
            if let Some((stamp, value)) = cached
                && self.stamps().hold(stamp, SUBJECT)
            {
                return value;
            }
            let stamp = self.stamps().now();
            let value = self.stored.load(Ordering::SeqCst);
            *self.cached.lock().unwrap() = Some((stamp, value));
            value
        }

        fn change(&self, value: u64) {
            self.stored.store(value, Ordering::SeqCst);
            self.stamps().forget(SUBJECT);
            self.done.store(true, Ordering::SeqCst);
        }
    }

    fn check(test: impl Fn() + Send + Sync + 'static) {
        shuttle::check_pct(test, ITERATIONS, 3);
    }

    #[test]
    fn shuttle_what_was_changed_is_never_answered_from_memory() {
        check(|| {
            let world = World::new();
            world.look();
            let changer = {
                let world = Arc::clone(&world);
                thread::spawn(move || world.change(1))
            };
            let lookers: Vec<_> = (0..2)
                .map(|_| {
                    let world = Arc::clone(&world);
                    thread::spawn(move || {
                        for _ in 0..2 {
                            let done = world.done.load(Ordering::SeqCst);
                            let seen = world.look();
                            assert!(!done || seen == 1, "the old value after the change was done");
                        }
                    })
                })
                .collect();
            changer.join().unwrap();
            for looker in lookers {
                looker.join().unwrap();
            }
            assert_eq!(world.look(), 1);
        });
    }

    #[test]
    fn shuttle_two_changes_at_once_leave_nothing_old() {
        check(|| {
            let world = World::new();
            let changers: Vec<_> = [1, 2]
                .into_iter()
                .map(|value| {
                    let world = Arc::clone(&world);
                    thread::spawn(move || world.change(value))
                })
                .collect();
            world.look();
            for changer in changers {
                changer.join().unwrap();
            }
            assert_eq!(world.look(), world.stored.load(Ordering::SeqCst));
        });
    }

    /// The test above is able to fail: with the stamp taken after the read it does.
    #[test]
    #[should_panic(expected = "the old value")]
    fn shuttle_a_stamp_taken_too_late_is_found_out() {
        check(|| {
            let world = World::new();
            let filler = {
                let world = Arc::clone(&world);
                thread::spawn(move || {
                    let value = world.stored.load(Ordering::SeqCst);
                    let stamp = world.stamps().now();
                    *world.cached.lock().unwrap() = Some((stamp, value));
                })
            };
            world.change(1);
            filler.join().unwrap();
            assert_eq!(world.look(), 1, "the old value after the change was done");
        });
    }
}
