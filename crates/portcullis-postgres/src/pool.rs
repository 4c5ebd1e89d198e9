//! A pool of connections.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::connection::Connection;
use crate::connector::Connector;
use crate::error::{Failure, Retry};

/// How long a connection may be idle before it is tested: firewalls drop idle connections, and
/// servers are replaced.
const TEST_AFTER_IDLE: Duration = Duration::from_secs(30);

/// How long the test may take.
const TEST_TIMEOUT: Duration = Duration::from_secs(2);

/// A bounded number of connections, made on demand, each leased to one user at a time.
pub(crate) struct Pool {
    connector: Arc<Connector>,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    size: u32,
    wait: Duration,
    closed: AtomicBool,
    /// When the database was last found to be read-only. Older connections do not detect it.
    read_only_at: Mutex<Option<Instant>>,
}

/// The reason why there is no connection.
#[derive(Debug)]
pub(crate) enum PoolError {
    Closed,
    Failed(Failure),
}

impl Pool {
    pub(crate) fn new(connector: Arc<Connector>, size: u32, wait: Duration) -> Arc<Self> {
        Arc::new(Self {
            connector,
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(
                usize::try_from(size).unwrap_or(Semaphore::MAX_PERMITS),
            )),
            size,
            wait,
            closed: AtomicBool::new(false),
            read_only_at: Mutex::default(),
        })
    }

    /// Leases a connection, and makes one if none is idle; waits while all are in use.
    pub(crate) async fn take(self: &Arc<Self>) -> Result<Lease, PoolError> {
        self.lease(false).await
    }

    /// Leases a connection for a transaction that writes. A connection that was read-only when it was
    /// made is replaced: a session does not detect the end of that.
    pub(crate) async fn take_to_write(self: &Arc<Self>) -> Result<Lease, PoolError> {
        let mut lease = self.lease(true).await?;
        let writable = lease.connection().and_then(|connection| connection.writable());
        writable.map_err(PoolError::Failed)?;
        Ok(lease)
    }

    /// Reports that the database was read-only at that time: older connections are replaced before
    /// they write.
    pub(crate) fn read_only_at(&self, time: Instant) {
        *self.read_only_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(time);
    }

    fn is_newer_than_read_only(&self, connection: &Connection) -> bool {
        let at = *self.read_only_at.lock().unwrap_or_else(PoisonError::into_inner);
        at.is_none_or(|at| connection.created_at() > at)
    }

    async fn lease(self: &Arc<Self>, to_write: bool) -> Result<Lease, PoolError> {
        if self.is_closed() {
            return Err(PoolError::Closed);
        }
        let permit = match timeout(self.wait, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(PoolError::Closed),
            Err(_) => {
                let size = usize::try_from(self.size).unwrap_or(usize::MAX);
                return Err(PoolError::Failed(Failure::Busy { size, waited: self.wait }));
            }
        };
        // The pool may have been closed during the wait.
        if self.is_closed() {
            return Err(PoolError::Closed);
        }
        let lease = |connection, is_new| Lease {
            pool: Arc::clone(self),
            connection: Some(connection),
            is_new,
            in_transaction: false,
            _permit: permit,
        };
        loop {
            let idle = self.idle().pop();
            let Some(connection) = idle else { break };
            if connection.has_ended() || connection.generation != self.connector.generation() {
                connection.abort();
                continue;
            }
            if to_write && (connection.is_read_only() || !self.is_newer_than_read_only(&connection))
            {
                connection.abort();
                break;
            }
            if connection.last_used.elapsed() < TEST_AFTER_IDLE {
                return Ok(lease(connection, false));
            }
            match timeout(TEST_TIMEOUT, connection.run("")).await {
                Ok(Ok(())) => return Ok(lease(connection, false)),
                _ => connection.abort(),
            }
        }
        match self.connector.connect().await {
            Ok(connection) => Ok(lease(connection, true)),
            Err(failure) => Err(PoolError::Failed(failure)),
        }
    }

    /// Tells whether the pool was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Refuses further leases, waits for the present ones, and ends all connections.
    pub(crate) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // After all leases that are waited for already.
        let all = self.permits.acquire_many(self.size).await;
        self.idle().clear();
        drop(all);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The use of a connection, which returns to the pool when this is dropped. A response that is still
/// pending then is discarded.
pub(crate) struct Lease {
    pool: Arc<Pool>,
    connection: Option<Connection>,
    /// Whether the connection was made for this lease.
    is_new: bool,
    /// Whether a transaction may be in progress.
    in_transaction: bool,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    /// Returns the connection; an error after it was discarded.
    pub(crate) fn connection(&mut self) -> Result<&mut Connection, Failure> {
        self.connection.as_mut().ok_or_else(|| Failure::Disconnected("it was closed".to_owned()))
    }

    /// Returns the connection for a transaction: if this is dropped before
    /// [`end_transaction`](Lease::end_transaction), the connection ends, and the transaction with it.
    pub(crate) fn for_transaction(&mut self) -> Result<&mut Connection, Failure> {
        self.in_transaction = true;
        self.connection()
    }

    /// Declares that the transaction has ended, and the connection can be reused.
    pub(crate) fn end_transaction(&mut self) {
        self.in_transaction = false;
    }

    /// Returns the connection to the pool, or ends it if the failure has made it unusable. Tells
    /// whether another connection may succeed.
    pub(crate) fn release_after(mut self, failure: &Failure) -> bool {
        let may_retry = failure.retry() == Retry::Connection;
        // The other connections have probably failed as well.
        if may_retry && let Some(connection) = &self.connection {
            self.pool.connector.suspect(connection.generation);
        }
        if failure.ends_connection() {
            self.end();
        }
        may_retry && !self.is_new
    }

    /// Ends the connection, and with it whatever is in progress on it.
    pub(crate) fn discard(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.abort();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if self.in_transaction {
            connection.abort();
            return;
        }
        let is_current = connection.generation == self.pool.connector.generation();
        if connection.has_ended() || !is_current || self.pool.is_closed() {
            connection.abort();
            return;
        }
        connection.last_used = Instant::now();
        self.pool.idle().push(connection);
    }
}
