//! When the next use of a credential is to be noted.

use std::sync::atomic::{AtomicU64, Ordering};

use super::MonotonicTime;

/// The time from which on a use of the credential is noted again.
///
/// It is compared at every cache hit, and changes once in an interval.
#[derive(Debug, Default)]
pub(crate) struct UseDue(AtomicU64);

impl UseDue {
    /// Returns whether a use at this time is to be noted.
    #[inline]
    pub(crate) fn is_due(&self, now: MonotonicTime) -> bool {
        self.0.load(Ordering::Relaxed) <= now.as_nanos()
    }

    /// Returns whether a use at this time is to be noted, and sets the next time: of several uses at
    /// the same time one is noted.
    pub(crate) fn claim(&self, now: MonotonicTime, next: MonotonicTime) -> bool {
        let due = self.0.load(Ordering::Relaxed);
        due <= now.as_nanos()
            && self
                .0
                .compare_exchange(due, next.as_nanos(), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Sets the next time.
    pub(crate) fn set(&self, next: MonotonicTime) {
        self.0.store(next.as_nanos(), Ordering::Relaxed);
    }

    /// Takes the time of another entry of the same credential, if it is later.
    pub(crate) fn keep(&self, other: &Self) {
        self.0.fetch_max(other.0.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl Clone for UseDue {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_several_uses_claims_an_interval() {
        let at = MonotonicTime::from_nanos;
        let due = UseDue::default();
        assert!(due.is_due(at(0)) && due.claim(at(0), at(10)));
        assert!(!due.claim(at(9), at(19)) && !due.is_due(at(9)));
        let copy = due.clone();
        assert!(due.claim(at(10), at(20)));
        assert!(copy.is_due(at(10)), "a copy is on its own");
        copy.keep(&due);
        assert!(!copy.is_due(at(19)) && copy.is_due(at(20)));
        copy.set(at(5));
        due.keep(&copy);
        assert!(!due.is_due(at(19)), "an earlier time is not kept");
    }
}
