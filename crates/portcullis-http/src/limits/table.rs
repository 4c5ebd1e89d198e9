//! What is counted of each credential.
//!
//! The rate is kept by the generic cell rate algorithm: of a credential one time is enough, the one at which its
//! next request would be due if all came evenly. A credential whose time is past and that has no request in flight is
//! as one that was never used, so it can be forgotten at any time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Key;
use super::config::{CredentialLimits, Pace};

/// The number of parts with a lock of their own.
const SHARDS: usize = 32;

/// The least entries of a shard at which it is searched for some to forget.
const MIN_SWEEP: usize = 64;

pub(super) struct Table {
    shards: [Mutex<Shard>; SHARDS],
    pace: Option<Pace>,
    max_in_flight: Option<u32>,
}

struct Shard {
    entries: HashMap<Key, Entry>,
    /// The number of entries at which it is searched next.
    sweep_at: usize,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    /// When the next request is due.
    due: Duration,
    in_flight: u32,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// There are too many, and the next one is admitted after this time.
    Rate(Duration),
    /// There are too many in flight.
    InFlight,
}

impl Table {
    pub(super) fn new(limits: CredentialLimits) -> Self {
        let shard = || Mutex::new(Shard { entries: HashMap::new(), sweep_at: MIN_SWEEP });
        Self {
            shards: std::array::from_fn(|_| shard()),
            pace: limits.pace(),
            max_in_flight: limits.max_in_flight().map(std::num::NonZeroU32::get),
        }
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, Shard> {
        // The low bits of an id are random.
        let number = usize::try_from(key.id().as_u64() % SHARDS as u64).unwrap_or(0);
        let [first, ..] = &self.shards;
        self.shards.get(number).unwrap_or(first).lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request at the time `now`, which may be in flight from then on. One that is refused is not counted.
    pub(super) fn admit(&self, key: Key, now: Duration, is_in_flight: bool) -> Result<(), Refused> {
        let in_flight = self.max_in_flight.filter(|_| is_in_flight);
        if self.pace.is_none() && in_flight.is_none() {
            return Ok(());
        }
        let mut shard = self.shard(key);
        shard.make_room(now);
        let entry = shard.entries.entry(key).or_default();
        if in_flight.is_some_and(|max| entry.in_flight >= max) {
            return Err(Refused::InFlight);
        }
        if let Some(pace) = self.pace {
            let due = entry.due.max(now);
            let early = due - now;
            if early > pace.tolerance {
                return Err(Refused::Rate(early - pace.tolerance));
            }
            entry.due = due + pace.interval;
        }
        if in_flight.is_some() {
            entry.in_flight += 1;
        }
        Ok(())
    }

    /// Ends a request in flight.
    pub(super) fn end(&self, key: Key) {
        if let Some(entry) = self.shard(key).entries.get_mut(&key) {
            entry.in_flight = entry.in_flight.saturating_sub(1);
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap().entries.len()).sum()
    }
}

impl Shard {
    /// Forgets entries that no longer matter, if there are many.
    fn make_room(&mut self, now: Duration) {
        if self.entries.len() >= self.sweep_at {
            self.entries.retain(|_, entry| entry.in_flight > 0 || entry.due > now);
            self.sweep_at = (self.entries.len() * 2).max(MIN_SWEEP);
            self.entries.shrink_to(self.sweep_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use portcullis::Id;
    use proptest::prelude::*;

    use super::super::RequestRate;
    use super::*;

    fn key(number: u64) -> Key {
        Key::Authorization(Id::from_u64(number))
    }

    fn limits(rate: &str, burst: u32, in_flight: Option<u32>) -> CredentialLimits {
        let in_flight = in_flight.map(|max| NonZeroU32::new(max).unwrap());
        let rate: RequestRate = rate.parse().unwrap();
        CredentialLimits::none().rate(rate).burst(NonZeroU32::new(burst)).in_flight(in_flight)
    }

    /// [LIMIT-2]
    #[test]
    fn a_burst_is_admitted_at_once_and_then_the_rate() {
        let table = Table::new(limits("10/s", 3, None));
        let admit = |key, millis| table.admit(key, Duration::from_millis(millis), true);
        assert_eq!([0, 0, 0].map(|at| admit(key(1), at)), [Ok(()); 3]);
        let wait = |millis| Err(Refused::Rate(Duration::from_millis(millis)));
        assert_eq!([0, 0, 60].map(|at| admit(key(1), at)), [wait(100), wait(100), wait(40)]);
        // Each credential by itself, also one of another kind with the same id.
        assert_eq!(admit(key(2), 60), Ok(()));
        assert_eq!(admit(Key::ApiToken(Id::from_u64(1)), 60), Ok(()));
        assert_eq!([100, 100].map(|at| admit(key(1), at)), [Ok(()), wait(100)]);
        // After a pause the burst is whole again, and never more.
        assert_eq!([5_000; 3].map(|at| admit(key(1), at)), [Ok(()); 3]);
        assert_eq!(admit(key(1), 5_000), wait(100));
    }

    /// [LIMIT-3]
    #[test]
    fn a_request_in_flight_counts_until_its_end() {
        let in_flight = CredentialLimits::none().in_flight(NonZeroU32::new(2));
        let table = Table::new(in_flight);
        let admit = |is_in_flight| table.admit(key(1), Duration::ZERO, is_in_flight);
        assert_eq!([true; 3].map(admit), [Ok(()), Ok(()), Err(Refused::InFlight)]);
        assert_eq!(table.admit(key(2), Duration::ZERO, true), Ok(()));
        // One whose end is not known is not limited.
        assert_eq!(admit(false), Ok(()));
        table.end(key(1));
        assert_eq!([true; 2].map(admit), [Ok(()), Err(Refused::InFlight)]);
    }

    /// [LIMIT-5]
    #[test]
    fn only_credentials_that_matter_are_kept() {
        let table = Table::new(limits("10/s", 1, Some(5)));
        for number in 0..1_000_000 {
            let now = Duration::from_micros(number);
            table.admit(key(number), now, true).unwrap();
            if number > 0 {
                table.end(key(number));
            }
        }
        // 100,000 were used in the last tenth of a second.
        assert!((100_000..=210_000).contains(&table.len()), "{}", table.len());
        for number in 0..300_000 {
            let later = Duration::from_secs(3 + number);
            table.admit(key(2_000_000 + number), later, true).unwrap();
            table.end(key(2_000_000 + number));
        }
        assert!(table.len() <= SHARDS * MIN_SWEEP, "{}", table.len());
        let entry = table.shard(key(0)).entries.get(&key(0)).map(|entry| entry.in_flight);
        assert_eq!(entry, Some(1), "what is in flight is never forgotten");
    }

    proptest! {
        /// [LIMIT-2] In any time, at most the burst and what the rate allows is admitted, and nothing is refused that
        /// could be admitted.
        #[test]
        fn the_rate_is_exact(burst in 1_u32..5, pauses in prop::collection::vec(0_u64..250, 1..80)) {
            let table = Table::new(limits("10/s", burst, None));
            let mut now = 0;
            let mut admitted: Vec<u64> = Vec::new();
            for pause in pauses {
                now += pause;
                // With one more, is there a time that has too many?
                let fits = (0..admitted.len()).all(|from| {
                    let number = (admitted.len() - from) as u64 + 1;
                    let allowed = u64::from(burst) + (now - admitted[from]) / 100;
                    number <= allowed
                });
                let result = table.admit(key(1), Duration::from_millis(now), true);
                prop_assert_eq!(result.is_ok(), fits, "at {}, after {:?}", now, admitted);
                if fits {
                    admitted.push(now);
                }
            }
        }
    }
}
