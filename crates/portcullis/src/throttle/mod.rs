//! Slowing down whoever guesses passwords.
//!
//! Failures are counted for each username that is presented, whether it exists or not, for each
//! source, and for both together. Beyond a number of failures the next try has to wait, longer with
//! each further one; counts fade with time. A try is counted before its outcome is known, so that
//! many at once are no way around, and taken back when it succeeds.
//!
//! A stranger must not be able to keep the owner of a name out. So the wait of a source at a name
//! grows faster than that of the name: while the one who has failed still waits, others may try.
//! A source from which somebody has logged in with a name waits for its own failures only. And a
//! password that is known to be right never comes here at all.

mod counters;

use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use thiserror::Error;

use counters::{Counters, Limit};

/// How those who fail to log in are slowed down.
///
/// No general rate limiter does: these count requests, and what is to be counted here is failures,
/// charged before they are known and given back, with waits that grow.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ThrottleConfig {
    /// How many failures a username has free. Default: 10. From 1 to 1,000.
    pub username_failures: u32,
    /// How many failures a source has free: an IPv4 address, or a /64 of IPv6. Default: 100. From
    /// 1 to 100,000.
    pub source_failures: u32,
    /// How long the first failure too many has to be waited for. Each further one doubles it, and
    /// multiplies it by four for the source that fails again at the same username. Default: 1
    /// second. From 100 milliseconds to one minute.
    pub first_delay: Duration,
    /// The longest wait. Default: 5 minutes. At least `first_delay`, at most one day.
    pub longest_delay: Duration,
    /// In what time half of the failures are forgotten. Default: 15 minutes. From one second to
    /// one day.
    pub half_life: Duration,
}

impl Default for ThrottleConfig {
    fn default() -> Self {
        Self {
            username_failures: 10,
            source_failures: 100,
            first_delay: Duration::from_secs(1),
            longest_delay: Duration::from_secs(5 * 60),
            half_life: Duration::from_secs(15 * 60),
        }
    }
}

/// Says which setting of a [`ThrottleConfig`] is out of bounds.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{name} must be between {least} and {most}, not {value}")]
pub struct InvalidThrottleConfig {
    name: &'static str,
    value: String,
    least: String,
    most: String,
}

impl ThrottleConfig {
    /// Sets [`ThrottleConfig::username_failures`].
    #[must_use]
    pub fn username_failures(self, username_failures: u32) -> Self {
        Self { username_failures, ..self }
    }

    /// Sets [`ThrottleConfig::source_failures`].
    #[must_use]
    pub fn source_failures(self, source_failures: u32) -> Self {
        Self { source_failures, ..self }
    }

    /// Sets [`ThrottleConfig::first_delay`] and [`ThrottleConfig::longest_delay`].
    #[must_use]
    pub fn delays(self, first_delay: Duration, longest_delay: Duration) -> Self {
        Self { first_delay, longest_delay, ..self }
    }

    /// Sets [`ThrottleConfig::half_life`].
    #[must_use]
    pub fn half_life(self, half_life: Duration) -> Self {
        Self { half_life, ..self }
    }

    fn validate(&self) -> Result<(), InvalidThrottleConfig> {
        let day = Duration::from_secs(24 * 60 * 60);
        within("username_failures", self.username_failures, 1, 1_000)?;
        within("source_failures", self.source_failures, 1, 100_000)?;
        let (least, most) = (Duration::from_millis(100), Duration::from_secs(60));
        within("first_delay", self.first_delay, least, most)?;
        within("longest_delay", self.longest_delay, self.first_delay, day)?;
        within("half_life", self.half_life, Duration::from_secs(1), day)
    }
}

fn within<T: PartialOrd + std::fmt::Debug>(
    name: &'static str,
    value: T,
    least: T,
    most: T,
) -> Result<(), InvalidThrottleConfig> {
    if (&least..=&most).contains(&&value) {
        return Ok(());
    }
    let text = |value: &T| format!("{value:?}");
    let (value, least, most) = (text(&value), text(&least), text(&most));
    Err(InvalidThrottleConfig { name, value, least, most })
}

/// Counts failures and says who has to wait. Bounded: some two megabytes, whoever comes.
pub(crate) struct Throttle {
    hasher: RandomState,
    names: Limit,
    sources: Limit,
    pairs: Limit,
    counters: Counters,
    /// A mark for each name and source that belonged together.
    good: Counters,
}

/// Somebody who tries to log in: as whom, and from where.
#[derive(Clone, Copy)]
pub(crate) struct Attempt {
    /// The count of the name; none where somebody has logged in with it from this source.
    name: Option<u64>,
    source: Option<u64>,
    /// The count of the name from this source.
    pair: Option<u64>,
    /// The mark of the name and the source, if they belong together.
    good: Option<u64>,
}

impl Throttle {
    /// How many names and sources are counted, and how many that belong together are remembered.
    /// When there are more, those with the lowest counts are forgotten.
    const COUNTERS: usize = 65_536;
    const GOOD: usize = 16_384;

    pub(crate) fn new(
        config: &ThrottleConfig,
        began: Instant,
    ) -> Result<Self, InvalidThrottleConfig> {
        config.validate()?;
        Ok(Self {
            hasher: RandomState::new(),
            names: Limit { free: config.username_failures.into(), doublings: 1.0 },
            sources: Limit { free: config.source_failures.into(), doublings: 1.0 },
            pairs: Limit { free: config.username_failures.into(), doublings: 2.0 },
            counters: Counters::new(config, Self::COUNTERS, began),
            good: Counters::new(config, Self::GOOD, began),
        })
    }

    /// Somebody with a username, or with an API token alone.
    pub(crate) fn attempt(
        &self,
        name: Option<&str>,
        source: Option<IpAddr>,
        now: Instant,
    ) -> Attempt {
        let source = source.map(network);
        let both = name.zip(source);
        let good = both.map(|both| self.hasher.hash_one(("good", both)));
        let is_good = good.is_some_and(|good| self.good.count(good, now) > 0.0);
        // Begun anew with each new password.
        let cleared = name.and_then(|name| self.good.counted_at(self.cleared(name)));
        Attempt {
            name: name.filter(|_| !is_good).map(|name| self.name(name)),
            source: source.map(|source| self.hasher.hash_one(("source", source))),
            pair: both.map(|both| self.hasher.hash_one(("pair", both, cleared))),
            good,
        }
    }

    fn name(&self, name: &str) -> u64 {
        self.hasher.hash_one(("name", name))
    }

    /// The mark of when a password was set for the name.
    fn cleared(&self, name: &str) -> u64 {
        self.hasher.hash_one(("cleared", name))
    }

    /// What is counted of the attempt, and how much of each is free.
    fn counts(&self, attempt: &Attempt) -> [(Option<u64>, Limit); 3] {
        [(attempt.pair, self.pairs), (attempt.name, self.names), (attempt.source, self.sources)]
    }

    /// Says how long the attempt has to wait, if it has to.
    pub(crate) fn wait(&self, attempt: &Attempt, now: Instant) -> Option<Duration> {
        let wait = |(key, limit): (Option<u64>, _)| self.counters.wait(key?, limit, now);
        self.counts(attempt).into_iter().filter_map(wait).max()
    }

    /// Counts the attempt as a failure, whatever comes of it, unless it has to wait.
    ///
    /// # Errors
    ///
    /// How long it has to wait.
    pub(crate) fn charge(&self, attempt: &Attempt, now: Instant) -> Result<(), Duration> {
        let mut charged = Vec::new();
        for (key, limit) in self.counts(attempt) {
            let Some(key) = key else { continue };
            if let Err(wait) = self.counters.charge(key, limit, now) {
                charged.into_iter().for_each(|key| self.counters.refund(key, now));
                return Err(wait);
            }
            charged.push(key);
        }
        Ok(())
    }

    /// Takes back what was counted: nothing was learned from the attempt.
    pub(crate) fn forgive(&self, attempt: &Attempt, now: Instant) {
        for key in self.counts(attempt).into_iter().filter_map(|(key, _)| key) {
            self.counters.refund(key, now);
        }
    }

    /// Takes back what was counted and remembers that the name belongs to the source.
    pub(crate) fn succeeded(&self, attempt: &Attempt, now: Instant) {
        self.forgive(attempt, now);
        self.belong(attempt, now);
    }

    /// Remembers that the name belongs to the source.
    pub(crate) fn belong(&self, attempt: &Attempt, now: Instant) {
        if let Some(good) = attempt.good {
            self.good.set(good, MARK, now);
        }
    }

    /// Forgets the failures of the name, from wherever.
    pub(crate) fn clear(&self, name: &str, now: Instant) {
        self.counters.set(self.name(name), 0.0, now);
        self.good.set(self.cleared(name), MARK, now);
    }
}

/// So much that it takes some forty half-lives until it is forgotten.
const MARK: f64 = 1e9;

/// What counts as one source: an address of IPv4, a network of IPv6 as one customer has it.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !(u128::MAX >> 64))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests;
