//! Whether a short read runs on the calling thread or on one that may block.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::store::{Page, PageRequest};

/// Admits short reads to the calling thread while they are fast; for stores whose engine blocks.
///
/// A read from the operating system's memory takes some microseconds. Handing it to a thread that
/// may block, and its result back, takes several times as long. A read from a disk takes
/// milliseconds, and must not block a thread of the runtime. Which of the two a read will be is
/// known only after it, so the gate measures every short read:
///
/// - The gate is open while hardly any short read is slow.
/// - A few slow reads, or a very slow one, close it. Short reads then belong on threads that may
///   block, until many in a row were fast there.
/// - It admits one read at a time, and only on a runtime with several workers, so that a disk that
///   hangs blocks at most one of them.
///
/// A get by id took 3.0 µs on redb with the gate and 36 µs on a thread that may block, 6.2 and 144 on
/// sled, 15 and 139 on SQLite; in the best round 1.7 and 25, 4.6 and 31, 9.9 and 29 (10,000 records,
/// 9 alternating rounds on a busy machine with two cores).
///
/// ```
/// use portcullis::toolkit::InlineReadGate;
///
/// let gate = InlineReadGate::default();
/// assert!(gate.try_acquire().is_none(), "there is no runtime with several workers");
/// assert_eq!(gate.measure(|| 6 * 7), 42);
/// ```
#[derive(Debug, Default)]
pub struct InlineReadGate {
    /// Slow reads add to it, a fast one subtracts 1.
    slowness: AtomicU32,
    /// Whether a [`Permit`] exists.
    in_use: AtomicBool,
}

/// The permit to make a short read on the calling thread, until it is dropped.
#[derive(Debug)]
pub struct Permit<'a>(&'a AtomicBool);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// From when on a read is slow: some dozens of times what it takes from memory. A thread that is
/// preempted during a read exceeds it too, which is rare.
const SLOW: Duration = Duration::from_millis(1);
const VERY_SLOW: Duration = Duration::from_millis(20);

/// What a slow read adds: three within a hundred close the gate.
const SLOW_PENALTY: u32 = 32;
const VERY_SLOW_PENALTY: u32 = 128;

/// From this slowness on, the gate is closed.
const CLOSED_FROM: u32 = 64;
const MAX_SLOWNESS: u32 = 192;

impl InlineReadGate {
    /// The most records that a short read returns.
    pub const SHORT: usize = 128;

    /// Shortens the page to [`InlineReadGate::SHORT`] records while the gate is open.
    ///
    /// A short page stays in the processor's cache until it is decoded, and does not delay other
    /// tasks. A caller that wants more requests the next page.
    ///
    /// ```
    /// use std::num::NonZeroUsize;
    /// use portcullis::{store::PageRequest, toolkit::InlineReadGate};
    ///
    /// let page = PageRequest { after: None, limit: NonZeroUsize::new(1_000).unwrap() };
    /// # tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?.block_on(async {
    /// assert_eq!(InlineReadGate::default().page(page).limit.get(), InlineReadGate::SHORT);
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn page(&self, page: PageRequest) -> PageRequest {
        match NonZeroUsize::new(Self::SHORT) {
            Some(short) if self.is_open() => PageRequest { limit: page.limit.min(short), ..page },
            _ => page,
        }
    }

    /// Returns the permit to make a short read on the calling thread, if the gate is open and no
    /// other read has the permit.
    pub fn try_acquire(&self) -> Option<Permit<'_>> {
        (self.is_open() && !self.in_use.swap(true, Ordering::Acquire)).then(|| Permit(&self.in_use))
    }

    fn is_open(&self) -> bool {
        self.is_fast() && has_other_workers()
    }

    fn is_fast(&self) -> bool {
        self.slowness.load(Ordering::Relaxed) < CLOSED_FROM
    }

    /// Makes a short read, on whichever thread, and measures it.
    pub fn measure<T>(&self, read: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let result = read();
        self.record(begin.elapsed());
        result
    }

    /// Reads a page, on whichever thread, and measures it. Of a long page, the share of
    /// [`InlineReadGate::SHORT`] records counts.
    ///
    /// # Errors
    ///
    /// Those of the read.
    pub fn measure_page<E>(&self, read: impl FnOnce() -> Result<Page, E>) -> Result<Page, E> {
        let begin = Instant::now();
        let page = read();
        let records = page.as_ref().map_or(0, |page| page.records.len());
        let shares = u32::try_from(records.div_ceil(Self::SHORT)).unwrap_or(u32::MAX);
        self.record(begin.elapsed() / shares.max(1));
        page
    }

    /// Concurrent calls may overwrite each other: the slowness is only an estimate.
    fn record(&self, elapsed: Duration) {
        let before = self.slowness.load(Ordering::Relaxed);
        let after = match elapsed {
            elapsed if elapsed < SLOW => before.saturating_sub(1),
            elapsed if elapsed < VERY_SLOW => before.saturating_add(SLOW_PENALTY).min(MAX_SLOWNESS),
            _ => before.saturating_add(VERY_SLOW_PENALTY).min(MAX_SLOWNESS),
        };
        // Mostly nothing changes; a store would take the cache line from other cores.
        if after != before {
            self.slowness.store(after, Ordering::Relaxed);
        }
    }
}

/// Tells whether this is a runtime whose other workers go on while this thread blocks.
fn has_other_workers() -> bool {
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
    fn a_slow_read_now_and_then_leaves_the_gate_open() {
        let gate = InlineReadGate::default();
        for _ in 0..100 {
            gate.record(SLOW);
            assert!(gate.is_fast());
            (0..40).for_each(|_| gate.record(FAST));
        }
    }

    #[test]
    fn slow_reads_close_the_gate_until_many_are_fast_again() {
        let gate = InlineReadGate::default();
        gate.record(SLOW);
        gate.record(SLOW);
        assert!(!gate.is_fast());
        (0..1_000).for_each(|_| gate.record(SLOW));
        (0..64).for_each(|_| gate.record(FAST));
        assert!(!gate.is_fast());
        (0..128).for_each(|_| gate.record(FAST));
        assert!(gate.is_fast());
    }

    #[test]
    fn one_very_slow_read_closes_the_gate() {
        let gate = InlineReadGate::default();
        gate.record(VERY_SLOW);
        assert!(!gate.is_fast());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_read_at_a_time_is_admitted() {
        let gate = InlineReadGate::default();
        let permit = gate.try_acquire().unwrap();
        assert!(gate.try_acquire().is_none());
        drop(permit);
        assert!(gate.try_acquire().is_some());
        gate.record(VERY_SLOW);
        assert!(gate.try_acquire().is_none());
    }

    #[tokio::test]
    async fn no_read_is_admitted_on_a_runtime_with_one_thread() {
        assert!(InlineReadGate::default().try_acquire().is_none());
    }
}
