//! The limit of log lines about refusals, of which any client can cause as many as it likes.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

/// Lines of one source, and of all sources: per second, and in a burst.
const PER_SOURCE: Rate = Rate { per_second: 1.0, burst: 20.0 };
const IN_TOTAL: Rate = Rate { per_second: 50.0, burst: 500.0 };

/// The number of token buckets for sources. Sources with the same bucket share its lines.
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

/// Decides which lines are written, and counts the others.
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

    /// Returns the limit of this process.
    pub(crate) fn of_this_process() -> &'static Self {
        static LIMIT: OnceLock<LineLimit> = OnceLock::new();
        LIMIT.get_or_init(|| Self::new(Instant::now()))
    }

    /// Returns the number of lines that were suppressed since the last one, if a line of the source
    /// may be written now.
    pub(crate) fn take(&self, source: Option<IpAddr>, now: Instant) -> Option<u64> {
        let slot = self.hasher.hash_one(source) % SLOTS as u64;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { all, slots, suppressed } = &mut *state;
        all.fill(IN_TOTAL, now);
        let own = slots.get_mut(usize::try_from(slot).unwrap_or(0))?;
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
    fn a_source_has_twenty_lines_and_leaves_those_of_others() {
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
        let same_slot =
            limit.hasher.hash_one(other) % 1_024 == limit.hasher.hash_one(flood) % 1_024;
        assert!(same_slot || limit.take(other, later).is_some());
    }

    #[test]
    fn all_sources_together_have_five_hundred_lines() {
        let begin = Instant::now();
        let limit = LineLimit::new(begin);
        let sources = (0..100_000_u32).map(|number| Some(IpAddr::from(Ipv4Addr::from(number))));
        let written = sources.filter(|source| limit.take(*source, begin).is_some()).count();
        assert_eq!(written, 500);
    }
}
