//! What one connection is doing.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use super::registry::{Connection, ConnectionRegistry, Idle};

/// A connection that its registry tracks until it is dropped.
#[derive(Debug)]
pub(super) struct TrackedConnection {
    registry: Arc<ConnectionRegistry>,
    id: u64,
    evict: Arc<Notify>,
    /// The number of the request that is awaited or in progress, from 1.
    requests: AtomicU64,
    is_active: AtomicBool,
    has_received: AtomicBool,
    head_has_begun: AtomicBool,
    is_authenticated: AtomicBool,
    has_broken_response: AtomicBool,
}

impl TrackedConnection {
    /// Adds the connection of this peer to the registry.
    pub(super) fn new(registry: &Arc<ConnectionRegistry>, peer: IpAddr) -> Arc<Self> {
        let (id, evict) = registry.add(peer);
        Arc::new(Self {
            registry: Arc::clone(registry),
            id,
            evict,
            requests: AtomicU64::new(1),
            is_active: AtomicBool::new(false),
            has_received: AtomicBool::new(false),
            head_has_begun: AtomicBool::new(false),
            is_authenticated: AtomicBool::new(false),
            has_broken_response: AtomicBool::new(false),
        })
    }

    fn update(&self, change: impl FnOnce(&mut Connection)) {
        self.registry.update(self.id, change);
    }

    /// Begins a request, which is in progress until the returned guard is dropped.
    pub(super) fn begin_request(self: &Arc<Self>) -> ActiveRequest {
        self.is_active.store(true, Ordering::Release);
        self.head_has_begun.store(false, Ordering::Relaxed);
        self.update(|connection| {
            connection.is_active = true;
            connection.has_sent_request = true;
        });
        ActiveRequest(Arc::clone(self))
    }

    fn end_request(&self) {
        self.requests.fetch_add(1, Ordering::AcqRel);
        self.is_active.store(false, Ordering::Release);
        self.update(|connection| {
            connection.is_active = false;
            connection.body_is_pending = false;
        });
    }

    /// Returns the number of the request that is awaited, `None` while one is in progress.
    pub(super) fn awaited_request(&self) -> Option<u64> {
        let is_awaited = !self.is_active.load(Ordering::Acquire);
        is_awaited.then(|| self.requests.load(Ordering::Acquire))
    }

    /// Waits until the registry evicts this connection.
    pub(super) async fn evicted(&self) {
        self.evict.notified().await;
    }

    /// Returns what it waits for, `None` while a request is in progress.
    pub(super) fn idle(&self) -> Option<Idle> {
        self.registry.idle(self.id)
    }

    /// Records that bytes of a request may have been received.
    pub(super) fn bytes_received(&self) {
        self.has_received.store(true, Ordering::Relaxed);
        if !self.is_active.load(Ordering::Acquire) {
            self.head_has_begun.store(true, Ordering::Relaxed);
        }
    }

    /// Returns whether any bytes have been received.
    pub(super) fn has_received(&self) -> bool {
        self.has_received.load(Ordering::Relaxed)
    }

    /// Returns whether a part of the awaited request's head has been received.
    pub(super) fn head_has_begun(&self) -> bool {
        self.head_has_begun.load(Ordering::Relaxed)
    }

    /// Records that the rest of the request's body is awaited.
    pub(super) fn body_pending(&self) {
        self.update(|connection| connection.body_is_pending = true);
    }

    /// Records that nothing of the request's body is awaited any more.
    pub(super) fn body_ended(&self) {
        self.update(|connection| connection.body_is_pending = false);
    }

    /// Records whether the client has yet to read what there is of a response.
    pub(super) fn set_response_stuck(&self, is_stuck: bool) {
        self.update(|connection| connection.response_is_stuck = is_stuck);
    }

    /// Returns whether the body of a response has failed.
    pub(super) fn has_broken_response(&self) -> bool {
        self.has_broken_response.load(Ordering::Relaxed)
    }

    /// Records that a request was authenticated.
    pub(super) fn set_authenticated(&self) {
        if !self.is_authenticated.swap(true, Ordering::Relaxed) {
            self.update(|connection| connection.is_authenticated = true);
        }
    }

    /// Returns whether a request was ever authenticated.
    pub(super) fn is_authenticated(&self) -> bool {
        self.is_authenticated.load(Ordering::Relaxed)
    }
}

impl Drop for TrackedConnection {
    fn drop(&mut self) {
        self.registry.remove(self.id);
    }
}

/// A request in progress, until its response has been written.
#[derive(Debug)]
pub(super) struct ActiveRequest(Arc<TrackedConnection>);

impl ActiveRequest {
    /// Records that the body of the response has failed.
    pub(super) fn response_broken(&self) {
        self.0.has_broken_response.store(true, Ordering::Relaxed);
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.end_request();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use std::time::Duration;

    use tokio::time::advance;

    use super::*;
    use crate::serve::connections::registry::Eviction;

    const MIN_IDLE: Duration = Duration::from_millis(500);

    fn registry(permits: usize) -> Arc<ConnectionRegistry> {
        ConnectionRegistry::new(permits, Duration::ZERO)
    }

    /// Adds a connection from the address 192.0.2.x with this last byte.
    fn add(registry: &Arc<ConnectionRegistry>, last: u8) -> Arc<TrackedConnection> {
        TrackedConnection::new(registry, IpAddr::from([192, 0, 2, last]))
    }

    fn is_evicted(connection: &TrackedConnection) -> bool {
        connection.evicted().now_or_never().is_some()
    }

    /// Returns the order in which they are evicted.
    fn order(registry: &ConnectionRegistry, connections: &[Arc<TrackedConnection>]) -> Vec<usize> {
        let mut order = Vec::new();
        while registry.evict_one() == Eviction::Begun {
            order.extend((0..connections.len()).filter(|index| is_evicted(&connections[*index])));
        }
        order
    }

    #[tokio::test(start_paused = true)]
    async fn the_connection_idle_longest_is_evicted_first_and_none_with_a_request() {
        let registry = registry(512);
        assert_eq!(registry.evict_one(), Eviction::NoneIdle);
        let all: Vec<_> = (0..3).map(|n| add(&registry, n)).collect();
        let request = all[0].begin_request();
        drop(all[1].begin_request());
        assert_eq!(order(&registry, &all), [2, 1]);
        assert_eq!(registry.evict_one(), Eviction::NoneIdle, "a request in progress is finished");
        drop(request);
        assert_eq!(order(&registry, &all), [0]);
        drop(add(&registry, 4));
        assert_eq!(registry.evict_one(), Eviction::NoneIdle);
    }

    #[tokio::test(start_paused = true)]
    async fn unauthenticated_connections_are_evicted_before_authenticated_ones() {
        let registry = registry(512);
        let all: Vec<_> = (0..7).map(|n| add(&registry, n)).collect();
        let [idle_client, late_client, idle, late, stuck, silent, _] = &all[..] else { panic!() };
        let requests = [late_client, late].map(TrackedConnection::begin_request);
        for client in [idle_client, late_client] {
            client.set_authenticated();
        }
        for connection in [idle_client, idle] {
            drop(connection.begin_request());
        }
        for connection in [late_client, late] {
            connection.body_pending();
        }
        stuck.set_response_stuck(true);
        silent.bytes_received();
        assert_eq!(order(&registry, &all), [5, 6, 3, 4, 2, 1, 0]);
        drop(requests);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_with_many_connections_loses_one_before_others_do() {
        let registry = registry(16);
        let mut all = vec![add(&registry, 1), add(&registry, 2)];
        all.extend((0..5).map(|_| add(&registry, 9)));
        let evicted = order(&registry, &all);
        assert_eq!(evicted, [4, 5, 6, 0, 1, 2, 3], "two of a source are not many");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_not_evicted_before_the_minimum_idle_time() {
        let registry = ConnectionRegistry::new(8, MIN_IDLE);
        let _first = add(&registry, 1);
        let Eviction::NotBefore(until) = registry.evict_one() else { panic!("evicted too early") };
        let _second = add(&registry, 1);
        let Eviction::NotBefore(sooner) = registry.evict_one() else { panic!("evicted too early") };
        assert_eq!(until - sooner, MIN_IDLE - MIN_IDLE / 4, "a quarter for a large source");
        advance(MIN_IDLE / 4).await;
        assert_eq!(registry.evict_one(), Eviction::Begun);
        assert_eq!(registry.evict_one(), Eviction::NotBefore(until));
        advance(MIN_IDLE).await;
        assert_eq!(registry.evict_one(), Eviction::Begun);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_a_little_gains_no_time() {
        let registry = ConnectionRegistry::new(8, MIN_IDLE);
        let connection = add(&registry, 1);
        let _request = connection.begin_request();
        connection.body_pending();
        advance(MIN_IDLE / 2).await;
        connection.bytes_received();
        connection.body_pending();
        advance(MIN_IDLE / 2).await;
        assert_eq!(registry.evict_one(), Eviction::Begun);
    }

    #[tokio::test(start_paused = true)]
    async fn authenticated_connections_keep_half_of_the_permits_while_others_are_idle() {
        let registry = ConnectionRegistry::new(4, MIN_IDLE);
        let clients: Vec<_> = (0..2).map(|n| add(&registry, n)).collect();
        for client in &clients {
            drop(client.begin_request());
            client.set_authenticated();
        }
        advance(MIN_IDLE).await;
        let unauthenticated = add(&registry, 8);
        let Eviction::NotBefore(_) = registry.evict_one() else {
            panic!("an authenticated one evicted")
        };
        let third = add(&registry, 9);
        drop(third.begin_request());
        third.set_authenticated();
        assert_eq!(registry.evict_one(), Eviction::Begun);
        assert!(
            is_evicted(&clients[0]) && !is_evicted(&unauthenticated),
            "they have more than half"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_begins_during_eviction_cancels_it() {
        let registry = registry(4);
        let connection = add(&registry, 1);
        assert_eq!(registry.evict_one(), Eviction::Begun);
        assert_eq!(registry.evict_one(), Eviction::NoneIdle);
        let request = connection.begin_request();
        assert!(registry.eviction_cancelled().now_or_never().is_some());
        drop(request);
        assert_eq!(registry.evict_one(), Eviction::Begun, "it is evicted later");
    }
}
