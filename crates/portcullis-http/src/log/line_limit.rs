//! How many lines of the log refusals may fill, of which anyone can cause as many as they like.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

/// Lines a second, and at once: of one source, and of all.
const PER_SOURCE: Rate = Rate { per_second: 1.0, burst: 20.0 };
const IN_TOTAL: Rate = Rate { per_second: 50.0, burst: 500.0 };

/// Sources that are told apart. Those that share a place share its lines.
const SLOTS: usize = 1_024;

#[derive(Clone, Copy)]
struct Rate {
    per_second: f64,
    burst: f64,
}

#[derive(Clone, Copy)]
struct Bucket {
    lines: f64,
    filled: Instant,
}

impl Bucket {
    fn fill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.lines = (self.lines + passed * rate.per_second).min(rate.burst);
        self.filled = now;
    }
}

/// Which lines are written, and how many were not.
pub(crate) struct LineLimit {
    hasher: RandomState,
    state: Mutex<State>,
}

struct State {
    all: Bucket,
    slots: Vec<Bucket>,
    suppressed: u64,
}

impl LineLimit {
    pub(crate) fn new(now: Instant) -> Self {
        let full = |rate: Rate| Bucket { lines: rate.burst, filled: now };
        let state =
            State { all: full(IN_TOTAL), slots: vec![full(PER_SOURCE); SLOTS], suppressed: 0 };
        Self { hasher: RandomState::new(), state: Mutex::new(state) }
    }

    /// The one of this process.
    pub(crate) fn of_this_process() -> &'static Self {
        static LIMIT: OnceLock<LineLimit> = OnceLock::new();
        LIMIT.get_or_init(|| Self::new(Instant::now()))
    }

    /// Tells whether a line of the source may be written; if so, how many were left out since the last
    /// one.
    pub(crate) fn take(&self, source: Option<IpAddr>, now: Instant) -> Option<u64> {
        let place = self.hasher.hash_one(source) % SLOTS as u64;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { all, slots, suppressed } = &mut *state;
        all.fill(IN_TOTAL, now);
        let own = slots.get_mut(usize::try_from(place).unwrap_or(0))?;
        own.fill(PER_SOURCE, now);
        if all.lines < 1.0 || own.lines < 1.0 {
            *suppressed += 1;
            return None;
        }
        all.lines -= 1.0;
        own.lines -= 1.0;
        Some(std::mem::take(suppressed))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_source_has_so_many_lines_and_leaves_those_of_others() {
        let begin = Instant::now();
        let limit = LineLimit::new(begin);
        let flood = Some(IpAddr::from(Ipv4Addr::new(192, 0, 2, 1)));
        let written = (0..100_000).filter(|_| limit.take(flood, begin).is_some()).count();
        assert_eq!(written, 20);
        let later = begin + Duration::from_secs(3);
        assert_eq!(limit.take(flood, later), Some(99_980));
        let written = (0..100_000).filter(|_| limit.take(flood, later).is_some()).count();
        assert_eq!(written, 2);
        let other = Some(IpAddr::from(Ipv4Addr::new(192, 0, 2, 2)));
        let same_place =
            limit.hasher.hash_one(other) % 1_024 == limit.hasher.hash_one(flood) % 1_024;
        assert!(same_place || limit.take(other, later).is_some());
    }

    #[test]
    fn all_sources_together_have_so_many_lines() {
        let begin = Instant::now();
        let limit = LineLimit::new(begin);
        let sources = (0..100_000_u32).map(|number| Some(IpAddr::from(Ipv4Addr::from(number))));
        let written = sources.filter(|source| limit.take(*source, begin).is_some()).count();
        assert_eq!(written, 500);
    }
}
