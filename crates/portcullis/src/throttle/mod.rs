//! Slowing down the guessing of passwords.
//!
//! Failures are counted by username (whether it exists or not), by source, and by pair of username and
//! source. Beyond a number of failures the next attempt has to wait; each further failure makes the wait
//! longer, and counts decay with time. An attempt is counted when its hash computation begins, so that
//! concurrent attempts do not evade the limit. The count is taken back when the login succeeds.
//!
//! Guesses must not lock the owner of a username out:
//!
//! - A source from which a username has logged in before waits only for its own failures with that
//!   username.
//! - A source that has not failed with a username lately has one attempt of its own, however often other
//!   sources have failed. Such first attempts are admitted one after the other, so an owner at a new
//!   address waits for at most as many [delays](ThrottleConfig::first_delay) as there are guessing
//!   sources.
//! - The wait of a pair grows faster than the wait of its username: other sources may try while the one
//!   that has failed still waits.
//! - A password in the cache, and a valid API token, are not throttled.

mod config;
mod counters;

use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use config::ThrottleConfig;

use counters::{Counters, Limit};

use crate::config::InvalidConfig;

/// Counts failures, and decides which attempts have to wait. It takes about 4 MiB, whatever arrives.
/// Usernames, sources and pairs have separate tables, so that a flood of sources evicts no username.
pub(crate) struct Throttle {
    hasher: RandomState,
    names: Table,
    /// The limit of first attempts of sources at a name; they are counted in `names`.
    newcomers: Limit,
    sources: Table,
    pairs: Table,
    /// When a password was set for a name.
    cleared: Counters,
    /// Until when a name may have failures that count, in milliseconds since `began`. Names are hashed
    /// to slots, and may share one. Cache hits check it.
    failed: Box<[AtomicU64]>,
    began: Instant,
    decays_after: u64,
}

/// Counters with one limit.
struct Table {
    limit: Limit,
    counters: Counters,
}

/// The keys under which a login is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThrottleKeys {
    /// Whether the name has logged in from the source before.
    familiar: bool,
    name: Option<u64>,
    source: Option<u64>,
    /// The name and the source together.
    pair: Option<u64>,
    /// The name and the site of the source: whether it has failed with the name at all.
    first: Option<u64>,
    /// The first attempts of all sources at the name.
    newcomers: Option<u64>,
    /// The slot of the name in [`Throttle::failed`].
    failed: Option<usize>,
}

/// What was counted for an attempt, so that it can be taken back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charge {
    keys: ThrottleKeys,
    newcomer: bool,
}

impl Throttle {
    /// The number of names, sources and pairs that are counted. When there are more, those with the
    /// lowest counts are evicted.
    const COUNTERS: usize = 32_768;
    const CLEARED: usize = 4_096;
    const FAILED: usize = 4_096;

    pub(crate) fn new(config: &ThrottleConfig, began: Instant) -> Result<Self, InvalidConfig> {
        config.validate()?;
        let table = |free: u32, doublings, count| Table {
            limit: Limit { free: free.into(), doublings },
            counters: Counters::new(config, count, began),
        };
        Ok(Self {
            hasher: RandomState::new(),
            names: table(config.username_failures, 1.0, Self::COUNTERS),
            newcomers: Limit { free: config.username_failures.into(), doublings: 0.0 },
            sources: table(config.source_failures, 1.0, Self::COUNTERS),
            // Each pair has two counts.
            pairs: table(config.username_failures, 2.0, 2 * Self::COUNTERS),
            cleared: Counters::new(config, Self::CLEARED, began),
            failed: (0..Self::FAILED).map(|_| AtomicU64::new(0)).collect(),
            began,
            // The highest count that a pair can reach has decayed after that.
            decays_after: millis(config.half_life.saturating_mul(10)),
        })
    }

    /// The keys of a login with a username, or with an API token alone. `familiar`: the username has
    /// logged in from the source before.
    pub(crate) fn keys(
        &self,
        name: Option<&str>,
        source: Option<IpAddr>,
        familiar: bool,
    ) -> ThrottleKeys {
        let both = name.zip(source);
        // A new password changes the key, so that the counts of its pairs start at zero.
        let cleared = name.and_then(|name| self.cleared.counted_at(self.cleared_key(name)));
        let pair = |of, network: fn(IpAddr) -> IpAddr| {
            let both = both.map(|(name, source)| (name, network(source)));
            both.map(|both| self.hasher.hash_one((of, both, cleared)))
        };
        ThrottleKeys {
            familiar,
            name: name.map(|name| self.name_key(name)),
            source: source.map(|source| self.hasher.hash_one(("source", network(source)))),
            pair: pair("pair", network),
            first: pair("first", site),
            newcomers: both.map(|(name, _)| self.newcomers_key(name)),
            failed: name.map(failed_slot),
        }
    }

    fn name_key(&self, name: &str) -> u64 {
        self.hasher.hash_one(("name", name))
    }

    fn newcomers_key(&self, name: &str) -> u64 {
        self.hasher.hash_one(("newcomers", name))
    }

    fn cleared_key(&self, name: &str) -> u64 {
        self.hasher.hash_one(("cleared", name))
    }

    /// Tells whether the name, the source or both have failed lately.
    pub(crate) fn is_suspect(&self, keys: &ThrottleKeys, now: Instant) -> bool {
        let failed = |table: &Table, key: Option<u64>| {
            key.is_some_and(|key| table.counters.count(key, now) >= 0.5)
        };
        failed(&self.pairs, keys.pair)
            || !keys.familiar
                && (failed(&self.names, keys.name) || failed(&self.sources, keys.source))
    }

    /// Tells whether the name may have failed lately. It may be wrong if the name has not, never if it
    /// has.
    pub(crate) fn may_have_failed(&self, name: &str, now: Instant) -> bool {
        let until = self.failed.get(failed_slot(name));
        let until = until.map_or(0, |until| until.load(Ordering::Relaxed));
        until > 0 && until > self.elapsed(now)
    }

    /// Returns how long the source has to wait for its own failures with the name, if it has to.
    pub(crate) fn own_wait(&self, keys: &ThrottleKeys, now: Instant) -> Option<Duration> {
        self.pairs.wait(keys.pair, now)
    }

    fn note_failure(&self, keys: &ThrottleKeys, now: Instant) {
        if let Some(until) = keys.failed.and_then(|slot| self.failed.get(slot)) {
            until.fetch_max(self.elapsed(now).saturating_add(self.decays_after), Ordering::Relaxed);
        }
    }

    fn elapsed(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.began))
    }

    /// Returns how long the attempt has to wait, if it has to.
    pub(crate) fn wait(&self, keys: &ThrottleKeys, now: Instant) -> Option<Duration> {
        let pair = self.pairs.wait(keys.pair, now);
        if keys.familiar {
            return pair;
        }
        let is_newcomer =
            keys.first.is_some_and(|first| self.pairs.counters.count(first, now) == 0.0);
        let name = if is_newcomer {
            let names = &self.names.counters;
            keys.newcomers.and_then(|key| names.wait(key, self.newcomers, now))
        } else {
            self.names.wait(keys.name, now)
        };
        let source = self.sources.wait(keys.source, now);
        [pair, name, source].into_iter().flatten().max()
    }

    /// Counts the attempt as a failure, unless it has to wait. A success takes the count back.
    ///
    /// # Errors
    ///
    /// How long it has to wait.
    pub(crate) fn charge(&self, keys: &ThrottleKeys, now: Instant) -> Result<Charge, Duration> {
        let ThrottleKeys { name, source, pair, first, newcomers, familiar, .. } = *keys;
        self.pairs.charge(pair, now)?;
        self.note_failure(keys, now);
        if familiar {
            return Ok(Charge { keys: *keys, newcomer: false });
        }
        let undo = |wait, done: &[(&Table, Option<u64>)]| {
            for (table, key) in done {
                table.refund(*key, now);
            }
            wait
        };
        let pairs = [(&self.pairs, pair), (&self.pairs, first)];
        // Checked and counted in one step: of concurrent attempts exactly one is the first.
        let newcomer = first.is_some_and(|first| self.pairs.counters.add(first, now) == 0.0);
        if let (true, Some(newcomers)) = (newcomer, newcomers) {
            let names = &self.names.counters;
            names.charge(newcomers, self.newcomers, now).map_err(|wait| undo(wait, &pairs))?;
            name.map(|name| names.add(name, now));
        } else {
            self.names.charge(name, now).map_err(|wait| undo(wait, &pairs))?;
        }
        let charge = Charge { keys: *keys, newcomer };
        if let Err(wait) = self.sources.charge(source, now) {
            self.refund_name(&charge, now);
            return Err(undo(wait, &pairs));
        }
        Ok(charge)
    }

    /// Takes back what was counted.
    pub(crate) fn refund(&self, charge: &Charge, now: Instant) {
        let ThrottleKeys { source, pair, first, familiar, .. } = charge.keys;
        self.pairs.refund(pair, now);
        if !familiar {
            self.pairs.refund(first, now);
            self.sources.refund(source, now);
            self.refund_name(charge, now);
        }
    }

    fn refund_name(&self, charge: &Charge, now: Instant) {
        self.names.refund(charge.keys.name, now);
        if charge.newcomer {
            self.names.refund(charge.keys.newcomers, now);
        }
    }

    /// Resets the failures of the name from all sources.
    pub(crate) fn clear(&self, name: &str, now: Instant) {
        self.names.counters.set(self.name_key(name), 0.0, now);
        self.names.counters.set(self.newcomers_key(name), 0.0, now);
        self.cleared.set(self.cleared_key(name), MARK, now);
    }
}

impl Table {
    fn wait(&self, key: Option<u64>, now: Instant) -> Option<Duration> {
        self.counters.wait(key?, self.limit, now)
    }

    fn charge(&self, key: Option<u64>, now: Instant) -> Result<(), Duration> {
        key.map_or(Ok(()), |key| self.counters.charge(key, self.limit, now))
    }

    fn refund(&self, key: Option<u64>, now: Instant) {
        if let Some(key) = key {
            self.counters.refund(key, now);
        }
    }
}

/// FNV-1a, because every cache hit computes it. A name that shares a slot with a failed one costs one
/// more lookup.
fn failed_slot(name: &str) -> usize {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let hash = name.bytes().take(64).fold(0xcbf2_9ce4_8422_2325, step);
    (hash >> 32) as usize % Throttle::FAILED
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// High enough to take some forty half-lives to decay.
const MARK: f64 = 1e9;

/// What counts as one source: an IPv4 address, or a /64 of IPv6, which one customer has.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !(u128::MAX >> 64))),
        v4 => v4,
    }
}

/// What has one first attempt at a name: an IPv4 address, or a /48 of IPv6, the largest network that one
/// customer usually gets.
fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !(u128::MAX >> 48))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests;
