//! A counter that many threads add to without meeting.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Threads that have a place of their own. Those that come later share the last one.
const STRIPES: usize = 64;

thread_local! {
    static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) };
}

static THREADS: AtomicUsize = AtomicUsize::new(0);

/// Counts, at a nanosecond or two each, whatever other threads do.
pub(crate) struct Striped([Stripe; STRIPES]);

/// A cache line of its own.
#[repr(align(64))]
struct Stripe(AtomicU64);

impl Striped {
    pub(crate) const fn new() -> Self {
        Self([const { Stripe(AtomicU64::new(0)) }; STRIPES])
    }

    /// Adds one.
    pub(crate) fn increment(&self) {
        let mut stripe = STRIPE.get();
        if stripe == usize::MAX {
            stripe = THREADS.fetch_add(1, Ordering::Relaxed).min(STRIPES - 1);
            STRIPE.set(stripe);
        }
        let Some(Stripe(count)) = self.0.get(stripe) else { return };
        if stripe < STRIPES - 1 {
            // Nobody else writes here.
            count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        } else {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the number.
    pub(crate) fn sum(&self) -> u64 {
        self.0.iter().map(|Stripe(count)| count.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_however_many_threads_count() {
        static COUNTED: Striped = Striped::new();
        std::thread::scope(|scope| {
            for _ in 0..100 {
                scope.spawn(|| (0..1_000).for_each(|_| COUNTED.increment()));
            }
        });
        assert_eq!(COUNTED.sum(), 100_000);
    }
}
