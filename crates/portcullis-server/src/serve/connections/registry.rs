//! The connections of a listener: which are idle, and which idle one is evicted for another.
//!
//! A connection is idle while the server waits for its client: for the rest of a head or body, for
//! the client to read a response, or for a request. Only idle connections are evicted. Those without
//! an authenticated request come first, as they cost an attacker nothing; of these, those of sources
//! with many connections.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// A source is large when it has more than this fraction of all permits: one in eight.
const SOURCE_SHARE: usize = 8;

/// Unauthenticated connections of a large source may be evicted after this fraction of the minimum
/// idle time: a quarter.
const MIN_IDLE_SHARE: u32 = 4;

/// The connections of one listener.
#[derive(Debug)]
pub(super) struct ConnectionRegistry {
    permits: usize,
    min_idle: Duration,
    state: Mutex<State>,
    /// Notified when a connection becomes idle.
    became_idle: Notify,
    /// Notified when a connection that is being evicted begins a request first.
    cancelled: Notify,
}

#[derive(Debug, Default)]
struct State {
    last_number: u64,
    connections: HashMap<u64, Connection>,
    /// The idle connections in order of eviction, each with the time since when it is idle.
    idle: BTreeMap<Key, Instant>,
    sources: HashMap<IpAddr, usize>,
    authenticated: usize,
}

#[derive(Debug)]
pub(super) struct Connection {
    source: IpAddr,
    evict: Arc<Notify>,
    is_evicted: bool,
    pub(super) is_authenticated: bool,
    /// Whether it has had a request.
    pub(super) has_sent_request: bool,
    /// Whether a request is in progress.
    pub(super) is_active: bool,
    /// Whether the rest of the request's body is awaited.
    pub(super) body_is_pending: bool,
    /// Whether the client has yet to read what there is of a response.
    pub(super) response_is_stuck: bool,
    /// Its key in `idle`.
    key: Option<Key>,
}

/// What an idle connection waits for, in order of eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Idle {
    /// The handshake and the first request.
    FirstRequest,
    /// The rest of a request's body, or the client to read a response.
    Transfer,
    /// Another request.
    NextRequest,
}

/// Connections of a lower rank are evicted before those of a higher one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    is_authenticated: bool,
    is_of_small_source: bool,
    idle: Idle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    rank: Rank,
    /// The order in which connections became idle.
    number: u64,
    id: u64,
}

/// What an attempt to evict a connection has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Eviction {
    /// A connection is being evicted.
    Begun,
    /// No connection has been idle for the minimum time before this instant.
    NotBefore(Instant),
    /// No connection is idle.
    NoneIdle,
}

impl ConnectionRegistry {
    /// Returns a registry for at most `permits` connections, which are evicted only after they have
    /// been idle for `min_idle`.
    pub(super) fn new(permits: usize, min_idle: Duration) -> Arc<Self> {
        let (state, became_idle, cancelled) = Default::default();
        Arc::new(Self { permits, min_idle, state, became_idle, cancelled })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every update is complete before anything in it can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a connection, idle until its first request. Returns its id, and what is notified when it
    /// is evicted.
    pub(super) fn add(&self, peer: IpAddr) -> (u64, Arc<Notify>) {
        let source = source(peer);
        let evict = Arc::new(Notify::new());
        let mut state = self.lock();
        let id = state.next_number();
        *state.sources.entry(source).or_default() += 1;
        let connection = Connection {
            source,
            evict: Arc::clone(&evict),
            is_evicted: false,
            is_authenticated: false,
            has_sent_request: false,
            is_active: false,
            body_is_pending: false,
            response_is_stuck: false,
            key: None,
        };
        state.connections.insert(id, connection);
        drop(state);
        self.update(id, |_| {});
        (id, evict)
    }

    /// Returns what the connection waits for, `None` while a request is in progress.
    pub(super) fn idle(&self, id: u64) -> Option<Idle> {
        self.lock().connections.get(&id).and_then(Connection::idle)
    }

    /// Changes a connection, and moves it to its place in the order of eviction.
    pub(super) fn update(&self, id: u64, change: impl FnOnce(&mut Connection)) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let number = state.next_number();
        let Some(connection) = state.connections.get_mut(&id) else { return };
        let was_authenticated = connection.is_authenticated;
        change(connection);
        if connection.is_authenticated && !was_authenticated {
            state.authenticated += 1;
        }
        let idle = connection.idle();
        if connection.is_evicted {
            if idle.is_none() {
                connection.is_evicted = false;
                self.cancelled.notify_one();
            }
            return;
        }
        let count = state.sources.get(&connection.source).copied().unwrap_or_default();
        let rank = idle.map(|idle| Rank {
            is_authenticated: connection.is_authenticated,
            is_of_small_source: count <= self.max_of_small_source(),
            idle,
        });
        let before = connection.key;
        // A connection that goes on waiting for the same thing keeps its place.
        if before.map(|key| key.rank.idle) == idle
            && before.map(|key| key.rank.is_authenticated) == rank.map(|rank| rank.is_authenticated)
        {
            return;
        }
        connection.key = rank.map(|rank| Key { rank, number, id });
        if let Some(key) = before {
            state.idle.remove(&key);
        }
        if let Some(key) = connection.key {
            state.idle.insert(key, Instant::now());
            self.became_idle.notify_one();
        }
    }

    pub(super) fn remove(&self, id: u64) {
        let mut state = self.lock();
        let Some(connection) = state.connections.remove(&id) else { return };
        if let Some(key) = connection.key {
            state.idle.remove(&key);
        }
        if connection.is_authenticated {
            state.authenticated = state.authenticated.saturating_sub(1);
        }
        if let Some(count) = state.sources.get_mut(&connection.source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                state.sources.remove(&connection.source);
            }
        }
    }

    /// The most connections of a source that is not large.
    fn max_of_small_source(&self) -> usize {
        self.permits.div_ceil(SOURCE_SHARE)
    }

    /// How long a connection of this rank has to be idle before it may be evicted.
    fn min_idle(&self, rank: Rank) -> Duration {
        if rank.is_authenticated || rank.is_of_small_source {
            self.min_idle
        } else {
            self.min_idle / MIN_IDLE_SHARE
        }
    }

    /// Evicts one connection, if one has been idle for the minimum time.
    ///
    /// While unauthenticated connections are idle, authenticated ones keep half of the permits.
    pub(super) fn evict_one(&self) -> Eviction {
        let mut state = self.lock();
        let now = Instant::now();
        let keeps_authenticated = state.authenticated <= self.permits / 2;
        let mut soonest: Option<Instant> = None;
        let mut found = None;
        for (key, since) in state.first_of_each_rank() {
            if key.rank.is_authenticated && keeps_authenticated && soonest.is_some() {
                break;
            }
            let until = since + self.min_idle(key.rank);
            if until <= now {
                found = Some(key);
                break;
            }
            soonest = Some(soonest.map_or(until, |soonest| soonest.min(until)));
        }
        let Some(key) = found else {
            return soonest.map_or(Eviction::NoneIdle, Eviction::NotBefore);
        };
        state.idle.remove(&key);
        if let Some(connection) = state.connections.get_mut(&key.id) {
            connection.key = None;
            connection.is_evicted = true;
            connection.evict.notify_one();
        }
        Eviction::Begun
    }

    /// Waits until a connection may have become idle.
    pub(super) async fn became_idle(&self) {
        self.became_idle.notified().await;
    }

    /// Waits until a connection that is being evicted has begun a request first.
    pub(super) async fn eviction_cancelled(&self) {
        self.cancelled.notified().await;
    }
}

impl State {
    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn first_of_each_rank(&self) -> impl Iterator<Item = (Key, Instant)> + '_ {
        let mut after = Bound::Unbounded;
        std::iter::from_fn(move || {
            let (key, since) = self.idle.range((after, Bound::Unbounded)).next()?;
            after = Bound::Excluded(Key { rank: key.rank, number: u64::MAX, id: u64::MAX });
            Some((*key, *since))
        })
    }
}

impl Connection {
    fn idle(&self) -> Option<Idle> {
        if self.response_is_stuck || (self.is_active && self.body_is_pending) {
            Some(Idle::Transfer)
        } else if self.is_active {
            None
        } else if self.has_sent_request {
            Some(Idle::NextRequest)
        } else {
            Some(Idle::FirstRequest)
        }
    }
}

/// Returns the source of a peer: an IPv4 address, or a /64 of IPv6, as for failed logins.
fn source(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_ipv4_address_or_a_64_of_ipv6() {
        let sources = ["2001:db8::1", "2001:db8:0:0:1::", "2001:db8:0:1::"].map(|address| {
            let address: IpAddr = address.parse().unwrap();
            source(address)
        });
        assert_eq!(sources[0], sources[1]);
        assert_ne!(sources[1], sources[2]);
        let mapped = source("::ffff:192.0.2.1".parse().unwrap());
        assert_eq!(mapped, IpAddr::from([192, 0, 2, 1]));
    }
}
