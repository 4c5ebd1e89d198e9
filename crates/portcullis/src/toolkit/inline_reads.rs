//! Whether a short read may be made where it is asked for, or belongs on a thread that may block.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::store::{Page, PageRequest};

/// How fast short reads of a store are, for stores whose engine blocks.
///
/// What is in the memory of the system is read in some microseconds; to hand a read over to a
/// thread that may block, and the answer back, takes several times as long. What has to come from a
/// disk takes milliseconds, for which the threads of a runtime must not be held up. Nobody knows
/// beforehand which it will be. So every short read is measured: as long as hardly any of them is
/// slow, they are made at once, and after a few slow ones, or one that is very slow, on threads that
/// may block, until many in a row were fast there. And as a disk that hangs tells nobody, only one
/// read at a time is made at once, and only where the runtime has other threads that go on.
///
/// ```
/// use portcullis::toolkit::Pace;
///
/// let pace = Pace::default();
/// assert!(pace.turn().is_none(), "there is no runtime with several threads");
/// assert_eq!(pace.measure(|| 6 * 7), 42);
/// ```
#[derive(Debug, Default)]
pub struct Pace {
    /// Slow reads add to it, fast ones take one away.
    held_up: AtomicU32,
    /// Whether somebody makes a read at once.
    taken: AtomicBool,
}

/// The right to make a short read at once, until it is dropped.
#[derive(Debug)]
pub struct Turn<'a>(&'a AtomicBool);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A read is slow if it takes longer: some dozens of times what it takes from memory. That a busy
/// system has another thread run in between looks the same, and is rare.
const SLOW: Duration = Duration::from_millis(1);
const VERY_SLOW: Duration = Duration::from_millis(20);

/// What slow reads add: three within a hundred are too many.
const FOR_SLOW: u32 = 32;
const FOR_VERY_SLOW: u32 = 128;

/// From here on reads are not made at once.
const TOO_MUCH: u32 = 64;
const MOST: u32 = 192;

impl Pace {
    /// How many records a read may return at the most to be a short one.
    pub const SHORT: usize = 128;

    /// What to read of such a page: where short reads are made at once, no more than that. It stays in
    /// the processor's cache until it is decoded, and nobody waits long for its end. Whoever wants
    /// more asks again.
    ///
    /// ```
    /// use std::num::NonZeroUsize;
    /// use portcullis::{store::PageRequest, toolkit::Pace};
    ///
    /// let page = PageRequest { after: None, limit: NonZeroUsize::new(1_000).unwrap() };
    /// # tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?.block_on(async {
    /// assert_eq!(Pace::default().page(page).limit.get(), Pace::SHORT);
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn page(&self, page: PageRequest) -> PageRequest {
        match NonZeroUsize::new(Self::SHORT) {
            Some(short) if self.is_at_once() => {
                PageRequest { limit: page.limit.min(short), ..page }
            }
            _ => page,
        }
    }

    /// Lets the caller make a short read where it is, if that can be expected to be over at once, and
    /// if no more than this one of the runtime's threads would wait should it not be.
    pub fn turn(&self) -> Option<Turn<'_>> {
        (self.is_at_once() && !self.taken.swap(true, Ordering::Acquire)).then(|| Turn(&self.taken))
    }

    fn is_at_once(&self) -> bool {
        self.is_fast() && others_go_on()
    }

    fn is_fast(&self) -> bool {
        self.held_up.load(Ordering::Relaxed) < TOO_MUCH
    }

    /// Makes a short read, wherever that is, and takes note of how long it took.
    pub fn measure<T>(&self, read: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let answer = read();
        self.note(begin.elapsed());
        answer
    }

    /// Makes a read of a page, wherever that is, and takes note of how long it took: of a long one, a
    /// short one's share.
    ///
    /// # Errors
    ///
    /// Those of the read.
    pub fn measure_page<E>(&self, read: impl FnOnce() -> Result<Page, E>) -> Result<Page, E> {
        let begin = Instant::now();
        let page = read();
        let records = page.as_ref().map_or(0, |page| page.records.len());
        let shares = u32::try_from(records.div_ceil(Self::SHORT)).unwrap_or(u32::MAX);
        self.note(begin.elapsed() / shares.max(1));
        page
    }

    /// Several at once may lose each other's notes, which are only an estimate.
    fn note(&self, taken: Duration) {
        let before = self.held_up.load(Ordering::Relaxed);
        let after = match taken {
            taken if taken < SLOW => before.saturating_sub(1),
            taken if taken < VERY_SLOW => before.saturating_add(FOR_SLOW).min(MOST),
            _ => before.saturating_add(FOR_VERY_SLOW).min(MOST),
        };
        // Most of the time nothing changes, and nobody else's cache is disturbed.
        if after != before {
            self.held_up.store(after, Ordering::Relaxed);
        }
    }
}

/// Tells whether this is a runtime with other threads than this one.
fn others_go_on() -> bool {
    Handle::try_current().is_ok_and(|runtime| {
        runtime.runtime_flavor() == RuntimeFlavor::MultiThread
            && runtime.metrics().num_workers() > 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_micros(20);

    #[test]
    fn a_slow_read_now_and_then_changes_nothing() {
        let pace = Pace::default();
        for _ in 0..100 {
            pace.note(SLOW);
            assert!(pace.is_fast());
            (0..40).for_each(|_| pace.note(FAST));
        }
    }

    #[test]
    fn slow_reads_are_made_elsewhere_until_many_are_fast_again() {
        let pace = Pace::default();
        pace.note(SLOW);
        pace.note(SLOW);
        assert!(!pace.is_fast());
        (0..1_000).for_each(|_| pace.note(SLOW));
        (0..64).for_each(|_| pace.note(FAST));
        assert!(!pace.is_fast());
        (0..128).for_each(|_| pace.note(FAST));
        assert!(pace.is_fast());
    }

    #[test]
    fn one_that_is_very_slow_is_enough() {
        let pace = Pace::default();
        pace.note(VERY_SLOW);
        assert!(!pace.is_fast());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_read_at_a_time_is_made_at_once() {
        let pace = Pace::default();
        let turn = pace.turn().unwrap();
        assert!(pace.turn().is_none());
        drop(turn);
        assert!(pace.turn().is_some());
        pace.note(VERY_SLOW);
        assert!(pace.turn().is_none());
    }

    #[tokio::test]
    async fn none_is_where_nobody_else_would_go_on() {
        assert!(Pace::default().turn().is_none());
    }
}
