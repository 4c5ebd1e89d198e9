//! Which connections wait for their clients, and which of them is closed in favour of another.
//!
//! Where all places are taken, only a connection whose client is to act is closed: to send the rest of
//! a head or body, to take an answer, or to ask for something. First those on which no request was
//! ever authenticated, as they cost a stranger nothing; of these, first those of sources that have many.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// A source has many connections when it has more than one in so many of all places.
const MANY: usize = 8;

/// Connections of a source that has many are safe for one in so many of the time of others.
const MANY_STAY: u32 = 4;

/// The connections of one listener.
#[derive(Debug)]
pub(super) struct Registry {
    places: usize,
    stay: Duration,
    state: Mutex<State>,
    /// A connection has begun to wait for its client.
    waits: Notify,
    /// A connection that was told to leave was given something to do first.
    stays: Notify,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    connections: HashMap<u64, Connection>,
    /// Those that wait for their clients, in the order in which they are closed.
    waiting: BTreeMap<Key, Instant>,
    sources: HashMap<IpAddr, usize>,
    authenticated: usize,
}

#[derive(Debug)]
struct Connection {
    source: IpAddr,
    leave: Arc<Notify>,
    is_told: bool,
    is_authenticated: bool,
    has_asked: bool,
    in_work: bool,
    body_is_late: bool,
    answer_is_stuck: bool,
    /// Where it is in `waiting`.
    key: Option<Key>,
}

/// What a connection waits for its client to do. The first are closed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wait {
    /// To shake hands, and to send its first request.
    First,
    /// To send the rest of a body, or to take an answer.
    Transfer,
    /// To send another request.
    Next,
}

/// Connections of a lower rank are closed before those of a higher one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    is_authenticated: bool,
    is_of_few: bool,
    wait: Wait,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    rank: Rank,
    /// The order in which they began to wait.
    number: u64,
    id: u64,
}

/// Whether a connection makes room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Eviction {
    /// One was told to leave.
    Told,
    /// None has waited long enough before this time.
    NotBefore(Instant),
    /// None waits for its client.
    NoneWaits,
}

impl Registry {
    /// Keeps so many places. Every connection may wait for its client for as long as `stay`.
    pub(super) fn new(places: usize, stay: Duration) -> Arc<Self> {
        let (state, waits, stays) = Default::default();
        Arc::new(Self { places, stay, state, waits, stays })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here can be half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a connection that begins with waiting for its client.
    pub(super) fn add(self: &Arc<Self>, peer: IpAddr) -> Arc<Tracked> {
        let source = source(peer);
        let leave = Arc::new(Notify::new());
        let mut state = self.lock();
        let id = state.next();
        *state.sources.entry(source).or_default() += 1;
        let connection = Connection {
            source,
            leave: Arc::clone(&leave),
            is_told: false,
            is_authenticated: false,
            has_asked: false,
            in_work: false,
            body_is_late: false,
            answer_is_stuck: false,
            key: None,
        };
        state.connections.insert(id, connection);
        drop(state);
        self.update(id, |_| {});
        Arc::new(Tracked {
            registry: Arc::clone(self),
            id,
            leave,
            requests: AtomicU64::new(1),
            in_work: AtomicBool::new(false),
            has_received: AtomicBool::new(false),
            head_has_begun: AtomicBool::new(false),
            is_authenticated: AtomicBool::new(false),
        })
    }

    /// Changes a connection, and puts it where it then belongs.
    fn update(&self, id: u64, change: impl FnOnce(&mut Connection)) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let number = state.next();
        let Some(connection) = state.connections.get_mut(&id) else { return };
        let was_authenticated = connection.is_authenticated;
        change(connection);
        if connection.is_authenticated && !was_authenticated {
            state.authenticated += 1;
        }
        let wait = connection.wait();
        if connection.is_told {
            if wait.is_none() {
                connection.is_told = false;
                self.stays.notify_one();
            }
            return;
        }
        let count = state.sources.get(&connection.source).copied().unwrap_or_default();
        let rank = wait.map(|wait| Rank {
            is_authenticated: connection.is_authenticated,
            is_of_few: count <= self.many(),
            wait,
        });
        let before = connection.key;
        // What goes on waiting for the same thing keeps its turn.
        if before.map(|key| key.rank.wait) == wait
            && before.map(|key| key.rank.is_authenticated) == rank.map(|rank| rank.is_authenticated)
        {
            return;
        }
        connection.key = rank.map(|rank| Key { rank, number, id });
        if let Some(key) = before {
            state.waiting.remove(&key);
        }
        if let Some(key) = connection.key {
            state.waiting.insert(key, Instant::now());
            self.waits.notify_one();
        }
    }

    fn remove(&self, id: u64) {
        let mut state = self.lock();
        let Some(connection) = state.connections.remove(&id) else { return };
        if let Some(key) = connection.key {
            state.waiting.remove(&key);
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

    /// More of one source are many.
    fn many(&self) -> usize {
        self.places.div_ceil(MANY)
    }

    /// How long a connection of this rank is left alone.
    fn stay(&self, rank: Rank) -> Duration {
        if rank.is_authenticated || rank.is_of_few { self.stay } else { self.stay / MANY_STAY }
    }

    /// Tells one connection to leave, if one has waited for its client for long enough.
    ///
    /// As long as others wait, those that are authenticated keep half of the places.
    pub(super) fn evict_one(&self) -> Eviction {
        let mut state = self.lock();
        let now = Instant::now();
        let keeps_authenticated = state.authenticated <= self.places / 2;
        let mut soonest: Option<Instant> = None;
        let mut found = None;
        for (key, since) in state.first_of_each_rank() {
            if key.rank.is_authenticated && keeps_authenticated && soonest.is_some() {
                break;
            }
            let until = since + self.stay(key.rank);
            if until <= now {
                found = Some(key);
                break;
            }
            soonest = Some(soonest.map_or(until, |soonest| soonest.min(until)));
        }
        let Some(key) = found else {
            return soonest.map_or(Eviction::NoneWaits, Eviction::NotBefore);
        };
        state.waiting.remove(&key);
        if let Some(connection) = state.connections.get_mut(&key.id) {
            connection.key = None;
            connection.is_told = true;
            connection.leave.notify_one();
        }
        Eviction::Told
    }

    /// Waits until a connection may have begun to wait for its client.
    pub(super) async fn one_waits(&self) {
        self.waits.notified().await;
    }

    /// Waits until a connection that was told to leave has got something to do first.
    pub(super) async fn one_stays(&self) {
        self.stays.notified().await;
    }
}

impl State {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn first_of_each_rank(&self) -> impl Iterator<Item = (Key, Instant)> + '_ {
        let mut after = Bound::Unbounded;
        std::iter::from_fn(move || {
            let (key, since) = self.waiting.range((after, Bound::Unbounded)).next()?;
            after = Bound::Excluded(Key { rank: key.rank, number: u64::MAX, id: u64::MAX });
            Some((*key, *since))
        })
    }
}

impl Connection {
    fn wait(&self) -> Option<Wait> {
        if self.answer_is_stuck || (self.in_work && self.body_is_late) {
            Some(Wait::Transfer)
        } else if self.in_work {
            None
        } else if self.has_asked {
            Some(Wait::Next)
        } else {
            Some(Wait::First)
        }
    }
}

/// What counts as one source: an IPv4 address, or a /64 of IPv6, as for failed logins.
fn source(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
    }
}

/// What one connection is doing.
#[derive(Debug)]
pub(super) struct Tracked {
    registry: Arc<Registry>,
    id: u64,
    leave: Arc<Notify>,
    /// Which request is waited for or worked on: 1 is the first.
    requests: AtomicU64,
    in_work: AtomicBool,
    has_received: AtomicBool,
    head_has_begun: AtomicBool,
    is_authenticated: AtomicBool,
}

impl Tracked {
    fn update(&self, change: impl FnOnce(&mut Connection)) {
        self.registry.update(self.id, change);
    }

    /// Works on a request until the returned value is dropped.
    pub(super) fn work(self: &Arc<Self>) -> Work {
        self.in_work.store(true, Ordering::Release);
        self.head_has_begun.store(false, Ordering::Relaxed);
        self.update(|connection| {
            connection.in_work = true;
            connection.has_asked = true;
        });
        Work(Arc::clone(self))
    }

    fn end_work(&self) {
        self.requests.fetch_add(1, Ordering::AcqRel);
        self.in_work.store(false, Ordering::Release);
        self.update(|connection| {
            connection.in_work = false;
            connection.body_is_late = false;
        });
    }

    /// Returns which request is waited for, `None` while one is worked on.
    pub(super) fn waits_for_request(&self) -> Option<u64> {
        let is_waiting = !self.in_work.load(Ordering::Acquire);
        is_waiting.then(|| self.requests.load(Ordering::Acquire))
    }

    /// Waits until this one is to make room for another.
    pub(super) async fn told_to_leave(&self) {
        self.leave.notified().await;
    }

    /// Returns what it waits for its client to do, `None` while a request is worked on.
    pub(super) fn wait(&self) -> Option<Wait> {
        self.registry.lock().connections.get(&self.id).and_then(Connection::wait)
    }

    /// Takes note that the client has sent something that may be of a request.
    pub(super) fn note_received(&self) {
        self.has_received.store(true, Ordering::Relaxed);
        if !self.in_work.load(Ordering::Acquire) {
            self.head_has_begun.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn has_received(&self) -> bool {
        self.has_received.load(Ordering::Relaxed)
    }

    /// Tells whether the head of the request that is waited for has begun.
    pub(super) fn head_has_begun(&self) -> bool {
        self.head_has_begun.load(Ordering::Relaxed)
    }

    /// Takes note that the rest of the request's body is waited for.
    pub(super) fn note_late_body(&self) {
        self.update(|connection| connection.body_is_late = true);
    }

    /// Takes note that nothing of the body is waited for any more.
    pub(super) fn note_end_of_body(&self) {
        self.update(|connection| connection.body_is_late = false);
    }

    /// Takes note of whether the client has yet to take what there is of an answer.
    pub(super) fn note_stuck_answer(&self, is_stuck: bool) {
        self.update(|connection| connection.answer_is_stuck = is_stuck);
    }

    /// Takes note that a request was authenticated.
    pub(super) fn note_authenticated(&self) {
        if !self.is_authenticated.swap(true, Ordering::Relaxed) {
            self.update(|connection| connection.is_authenticated = true);
        }
    }

    pub(super) fn is_authenticated(&self) -> bool {
        self.is_authenticated.load(Ordering::Relaxed)
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.registry.remove(self.id);
    }
}

/// A request that is worked on, until its answer was handed over.
#[derive(Debug)]
pub(super) struct Work(Arc<Tracked>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.end_work();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const STAY: Duration = Duration::from_millis(500);

    fn registry(places: usize) -> Arc<Registry> {
        Registry::new(places, Duration::ZERO)
    }

    fn peer(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn is_told(connection: &Tracked) -> bool {
        connection.told_to_leave().now_or_never().is_some()
    }

    /// Returns which of them are told to leave, in this order.
    fn order(registry: &Registry, connections: &[Arc<Tracked>]) -> Vec<usize> {
        let mut order = Vec::new();
        while registry.evict_one() == Eviction::Told {
            order.extend((0..connections.len()).filter(|index| is_told(&connections[*index])));
        }
        order
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_wait_ends_first_and_work_is_not_interrupted() {
        let registry = registry(512);
        assert_eq!(registry.evict_one(), Eviction::NoneWaits);
        let all: Vec<_> = (0..3).map(|n| registry.add(peer(n))).collect();
        let work = all[0].work();
        drop(all[1].work());
        assert_eq!(order(&registry, &all), [2, 1]);
        assert_eq!(registry.evict_one(), Eviction::NoneWaits, "a request in work is finished");
        drop(work);
        assert_eq!(order(&registry, &all), [0]);
        drop(registry.add(peer(4)));
        assert_eq!(registry.evict_one(), Eviction::NoneWaits);
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_leave_before_authenticated_clients() {
        let registry = registry(512);
        let all: Vec<_> = (0..7).map(|n| registry.add(peer(n))).collect();
        let [idle_client, late_client, idle, late, stuck, silent, _] = &all[..] else { panic!() };
        let in_work = [late_client, late].map(Tracked::work);
        for client in [idle_client, late_client] {
            client.note_authenticated();
        }
        for connection in [idle_client, idle] {
            drop(connection.work());
        }
        for connection in [late_client, late] {
            connection.note_late_body();
        }
        stuck.note_stuck_answer(true);
        silent.note_received();
        assert_eq!(order(&registry, &all), [5, 6, 3, 4, 2, 1, 0]);
        drop(in_work);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_with_many_connections_makes_room_before_others() {
        let registry = registry(16);
        let mut all = vec![registry.add(peer(1)), registry.add(peer(2))];
        all.extend((0..5).map(|_| registry.add(peer(9))));
        let told = order(&registry, &all);
        assert_eq!(told, [4, 5, 6, 0, 1, 2, 3], "the first two of a source are none too many");

        let addresses = ["2001:db8::1", "2001:db8:0:0:1::", "2001:db8:0:1::"].map(|address| {
            let address: IpAddr = address.parse().unwrap();
            source(address)
        });
        assert_eq!(addresses[0], addresses[1]);
        assert_ne!(addresses[1], addresses[2]);
        assert_eq!(source("::ffff:192.0.2.1".parse().unwrap()), peer(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_left_alone_for_a_while() {
        let registry = Registry::new(8, STAY);
        let _first = registry.add(peer(1));
        let Eviction::NotBefore(until) = registry.evict_one() else { panic!("told to leave") };
        let _second = registry.add(peer(1));
        let Eviction::NotBefore(sooner) = registry.evict_one() else { panic!("told to leave") };
        assert_eq!(until - sooner, STAY - STAY / MANY_STAY, "that of a source with many shorter");
        tokio::time::advance(STAY / MANY_STAY).await;
        assert_eq!(registry.evict_one(), Eviction::Told);
        assert_eq!(registry.evict_one(), Eviction::NotBefore(until));
        tokio::time::advance(STAY).await;
        assert_eq!(registry.evict_one(), Eviction::Told);
    }

    #[tokio::test(start_paused = true)]
    async fn sending_a_little_gains_no_time() {
        let registry = Registry::new(8, STAY);
        let connection = registry.add(peer(1));
        let _work = connection.work();
        connection.note_late_body();
        tokio::time::advance(STAY / 2).await;
        connection.note_received();
        connection.note_late_body();
        tokio::time::advance(STAY / 2).await;
        assert_eq!(registry.evict_one(), Eviction::Told);
    }

    #[tokio::test(start_paused = true)]
    async fn authenticated_clients_wait_for_strangers_up_to_half_of_the_places() {
        let registry = Registry::new(4, STAY);
        let clients: Vec<_> = (0..2).map(|n| registry.add(peer(n))).collect();
        for client in &clients {
            drop(client.work());
            client.note_authenticated();
        }
        tokio::time::advance(STAY).await;
        let stranger = registry.add(peer(8));
        let Eviction::NotBefore(_) = registry.evict_one() else { panic!("a client has to leave") };
        let third = registry.add(peer(9));
        drop(third.work());
        third.note_authenticated();
        assert_eq!(registry.evict_one(), Eviction::Told);
        assert!(is_told(&clients[0]) && !is_told(&stranger), "they have more than half");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_begins_to_work_when_told_to_leave_says_so() {
        let registry = registry(4);
        let connection = registry.add(peer(1));
        assert_eq!(registry.evict_one(), Eviction::Told);
        assert_eq!(registry.evict_one(), Eviction::NoneWaits);
        let work = connection.work();
        assert!(registry.one_stays().now_or_never().is_some());
        drop(work);
        assert_eq!(registry.evict_one(), Eviction::Told, "later it is told again");
    }
}
