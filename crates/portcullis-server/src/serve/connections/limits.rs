//! How much time, how many connections and how many bytes clients may use.

use std::time::Duration;

/// The limits of a listener and its connections.
#[derive(Clone, Copy, Debug)]
pub(in crate::serve) struct Limits {
    /// The most connections at a time.
    pub(in crate::serve) connections: usize,
    /// The longest time that a TLS handshake may take.
    pub(in crate::serve) handshake: Duration,
    /// The longest time that a connection may be without a request.
    pub(in crate::serve) idle: Duration,
    /// The longest time from the first byte of a request's head to its last.
    pub(in crate::serve) head: Duration,
    /// The largest head of a request, in bytes.
    pub(in crate::serve) head_bytes: usize,
    /// The longest time in which a client may read nothing of a response.
    pub(in crate::serve) write: Duration,
    /// How long a connection has to be idle before it may be evicted for another.
    pub(in crate::serve) min_idle: Duration,
    /// The longest time that requests in progress may take after the end of the server has begun.
    pub(in crate::serve) shutdown: Duration,
}

impl Limits {
    /// Returns the server's limits, for at most this many connections.
    pub(in crate::serve) const fn new(connections: usize) -> Self {
        Self {
            connections,
            handshake: Duration::from_secs(10),
            // Proxies usually close idle connections after 60 s. They must close first: a request
            // could otherwise arrive on a connection that the server is closing.
            idle: Duration::from_secs(75),
            head: Duration::from_secs(15),
            // Room for an original URI of 64 KiB in a header, beside the request's own.
            head_bytes: 160 * 1024,
            write: Duration::from_secs(30),
            // Enough for a handshake and a head over a slow network.
            min_idle: Duration::from_millis(500),
            shutdown: Duration::from_secs(10),
        }
    }
}
