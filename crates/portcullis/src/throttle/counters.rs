//! Counters that decay with time, in a table of fixed size.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::ThrottleConfig;

use crate::sync::lock;

/// Counters that share a lock. A further one evicts the lowest.
const SLOTS: usize = 8;

/// A count below this is zero.
const NOTHING: f64 = 0.01;

/// The highest count. No wait grows beyond it, and it still decays.
const MOST: f64 = 1e9;

/// The number of failures without a wait, and how many times each further one doubles the wait.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    pub(super) free: f64,
    pub(super) doublings: f64,
}

pub(super) struct Counters {
    buckets: Box<[Mutex<[Slot; SLOTS]>]>,
    began: Instant,
    first_delay: Duration,
    longest_delay: Duration,
    half_life: f64,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    key: u64,
    count: f64,
    /// When it was last changed, in milliseconds since `began`.
    at: u64,
}

impl Counters {
    /// Makes a table of at least `count` counters.
    pub(super) fn new(config: &ThrottleConfig, count: usize, began: Instant) -> Self {
        Self {
            buckets: (0..count.div_ceil(SLOTS)).map(|_| Mutex::default()).collect(),
            began,
            first_delay: config.first_delay,
            longest_delay: config.longest_delay,
            half_life: config.half_life.as_secs_f64() * 1_000.0,
        }
    }

    /// Returns the count as it is now.
    pub(super) fn count(&self, key: u64, now: Instant) -> f64 {
        let now = self.millis(now);
        let bucket = self.bucket(key);
        let slot = bucket.as_ref().and_then(|bucket| bucket.iter().find(|slot| slot.key == key));
        slot.map_or(0.0, |slot| self.decayed(slot, now))
    }

    /// Returns when the key was last changed, in milliseconds since `began`.
    pub(super) fn counted_at(&self, key: u64) -> Option<u64> {
        let bucket = self.bucket(key)?;
        bucket.iter().find(|slot| slot.key == key).map(|slot| slot.at)
    }

    /// Returns how long to wait, if the count is above the limit.
    pub(super) fn wait(&self, key: u64, limit: Limit, now: Instant) -> Option<Duration> {
        let now = self.millis(now);
        let bucket = self.bucket(key)?;
        let slot = bucket.iter().find(|slot| slot.key == key)?;
        self.wait_for(slot, limit, now)
    }

    /// Adds one, unless it has to wait.
    ///
    /// # Errors
    ///
    /// How long it has to wait.
    pub(super) fn charge(&self, key: u64, limit: Limit, now: Instant) -> Result<(), Duration> {
        let now = self.millis(now);
        let Some(mut bucket) = self.bucket(key) else { return Ok(()) };
        let slot = self.slot(&mut bucket, key, now);
        match self.wait_for(slot, limit, now) {
            Some(wait) => Err(wait),
            None => {
                let count = (self.decayed(slot, now) + 1.0).min(MOST);
                *slot = Slot { key, count, at: now };
                Ok(())
            }
        }
    }

    /// Adds one; returns what the count was before.
    pub(super) fn add(&self, key: u64, now: Instant) -> f64 {
        let now = self.millis(now);
        let Some(mut bucket) = self.bucket(key) else { return 0.0 };
        let slot = self.slot(&mut bucket, key, now);
        let before = self.decayed(slot, now);
        *slot = Slot { key, count: (before + 1.0).min(MOST), at: now };
        before
    }

    /// Takes one away.
    pub(super) fn refund(&self, key: u64, now: Instant) {
        let now = self.millis(now);
        let Some(mut bucket) = self.bucket(key) else { return };
        if let Some(slot) = bucket.iter_mut().find(|slot| slot.key == key) {
            let count = (self.decayed(slot, now) - 1.0).max(0.0);
            *slot = Slot { key, count, at: now };
        }
    }

    /// Sets the count.
    pub(super) fn set(&self, key: u64, count: f64, now: Instant) {
        let now = self.millis(now);
        let Some(mut bucket) = self.bucket(key) else { return };
        *self.slot(&mut bucket, key, now) = Slot { key, count, at: now };
    }

    fn wait_for(&self, slot: &Slot, limit: Limit, now: u64) -> Option<Duration> {
        // The count as it was at its last change: decay must not shorten a wait that was announced.
        let beyond = slot.count - limit.free;
        // Half a failure of tolerance: decay between the failures must not add a free one.
        if beyond < -0.5 {
            return None;
        }
        let doublings = (beyond * limit.doublings).clamp(0.0, 32.0);
        let delay = self.first_delay.mul_f64(doublings.exp2()).min(self.longest_delay);
        // In milliseconds like `at`: a login that has waited as required must not have to wait again.
        let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let left = delay.saturating_sub(now.saturating_sub(slot.at));
        (left > 0).then(|| Duration::from_millis(left))
    }

    fn decayed(&self, slot: &Slot, now: u64) -> f64 {
        let age = now.saturating_sub(slot.at) as f64;
        let count = slot.count * (-age / self.half_life).exp2();
        if count < NOTHING { 0.0 } else { count }
    }

    /// Returns the key's slot, or else the slot with the lowest count, cleared.
    fn slot<'a>(&self, bucket: &'a mut [Slot; SLOTS], key: u64, now: u64) -> &'a mut Slot {
        let rank = |slot: &Slot| if slot.key == key { -1.0 } else { self.decayed(slot, now) };
        let [first, others @ ..] = bucket;
        let slot = others
            .iter_mut()
            .fold(first, |lowest, slot| if rank(slot) < rank(lowest) { slot } else { lowest });
        if slot.key != key {
            *slot = Slot { key, count: 0.0, at: now };
        }
        slot
    }

    /// `None` only if the table has no buckets.
    fn bucket(&self, key: u64) -> Option<MutexGuard<'_, [Slot; SLOTS]>> {
        let index = (key >> 32) as usize % self.buckets.len().max(1);
        Some(lock(self.buckets.get(index)?))
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }
}
