//! Slowing down the guessing of passwords.
//!
//! Failures are counted for each username that is presented, whether it exists or not, for each
//! source, and for both together. Beyond a number of failures the next try has to wait, longer with
//! each further one; counts fade with time. A try is counted when its computation begins, so that
//! many at once are no way around, and taken back when the login succeeds.
//!
//! Guesses must not keep the owner of a name out:
//!
//! - A source from which a name has logged in before waits for its own failures with that name, and
//!   for no others'.
//! - A source that has not failed with a name lately has one try of its own, however often others
//!   have failed: such first tries are admitted one after the other. So an owner at a new address
//!   is kept out for at most as many [delays](ThrottleConfig::first_delay) as there are sources
//!   that guess.
//! - The wait of a source at a name grows faster than that of the name: while the source that has
//!   failed still waits, others may try.
//! - A password that is in the cache, and a right API token, do not come here at all.

mod config;
mod counters;

use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use config::ThrottleConfig;

use counters::{Counters, Limit};

use crate::config::InvalidConfig;

/// Counts failures and says which attempts have to wait. Bounded: some four megabytes, whatever
/// comes. Names, sources and pairs have tables of their own, so that a flood of sources washes no
/// name away.
pub(crate) struct Throttle {
    hasher: RandomState,
    names: Table,
    /// First tries of sources at a name, in a table with the names.
    newcomers: Limit,
    sources: Table,
    pairs: Table,
    /// When a password was set for a name.
    cleared: Counters,
    /// Until when names may have failures that count, in milliseconds since the beginning; names
    /// share places. Looked at by logins that are answered from the cache.
    failed: Box<[AtomicU64]>,
    began: Instant,
    fades_after: u64,
}

/// Counts with one limit.
struct Table {
    limit: Limit,
    counters: Counters,
}

/// A login: with which name, and from where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThrottleKeys {
    /// Whether the name has logged in from the source before.
    familiar: bool,
    name: Option<u64>,
    source: Option<u64>,
    /// The name from this source.
    pair: Option<u64>,
    /// Whether the source has failed with the name at all.
    first: Option<u64>,
    /// The first tries of all sources at the name.
    newcomers: Option<u64>,
    /// Where it is noted that the name has failed.
    failed: Option<usize>,
}

/// What was counted of an attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charge {
    keys: ThrottleKeys,
    newcomer: bool,
}

impl Throttle {
    /// How many names, sources and pairs are counted. When there are more, those with the lowest
    /// counts are forgotten.
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
            // From the highest count that a pair can have within its longest waits.
            fades_after: millis(config.half_life.saturating_mul(10)),
        })
    }

    /// A login with a username, or with an API token alone; `familiar` if the username has logged
    /// in from the source before.
    pub(crate) fn keys(
        &self,
        name: Option<&str>,
        source: Option<IpAddr>,
        familiar: bool,
    ) -> ThrottleKeys {
        let both = name.zip(source);
        // Begun anew with each new password.
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
            failed: name.map(failed_place),
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

    /// Tells whether the name may have failed lately: never wrong where it has.
    pub(crate) fn may_have_failed(&self, name: &str, now: Instant) -> bool {
        let until = self.failed.get(failed_place(name));
        let until = until.map_or(0, |until| until.load(Ordering::Relaxed));
        until > 0 && until > self.elapsed(now)
    }

    /// Says how long the source has to wait for its own failures with the name, if it has to.
    pub(crate) fn own_wait(&self, keys: &ThrottleKeys, now: Instant) -> Option<Duration> {
        self.pairs.wait(keys.pair, now)
    }

    fn note_failure(&self, keys: &ThrottleKeys, now: Instant) {
        if let Some(until) = keys.failed.and_then(|place| self.failed.get(place)) {
            until.fetch_max(self.elapsed(now).saturating_add(self.fades_after), Ordering::Relaxed);
        }
    }

    fn elapsed(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.began))
    }

    /// Says how long the attempt has to wait, if it has to.
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

    /// Counts the attempt as a failure, whatever comes of it, unless it has to wait.
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
        // Counted at once with the question: of many tries at the same time one is the first.
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

    /// Forgets the failures of the name, from wherever.
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

/// FNV-1a in a few steps, as every login from the cache comes here. Names that share a place cost a
/// look more.
fn failed_place(name: &str) -> usize {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let hash = name.bytes().take(64).fold(0xcbf2_9ce4_8422_2325, step);
    (hash >> 32) as usize % Throttle::FAILED
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// So much that it takes some forty half-lives until it is forgotten.
const MARK: f64 = 1e9;

/// What counts as one source: an address of IPv4, a network of IPv6 as one customer has it.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !(u128::MAX >> 64))),
        v4 => v4,
    }
}

/// What has one first try at a name: an address of IPv4, of IPv6 all networks that one customer can
/// have.
fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !(u128::MAX >> 48))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests;
