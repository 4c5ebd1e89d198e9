//! Connections that are kept.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::connection::Connection;
use crate::connector::Connector;
use crate::error::{Failure, Remedy};

/// After so long without use a connection is tried before it is trusted: firewalls forget, and
/// servers are replaced.
const TRY_AFTER: Duration = Duration::from_secs(30);

/// How long that may take.
const TRIAL: Duration = Duration::from_secs(2);

/// At most so many connections at a time, each used by one at a time, made when they are needed.
pub(crate) struct Pool {
    connector: Arc<Connector>,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    size: u32,
    wait: Duration,
    closed: AtomicBool,
    /// When the database was last seen to be read-only. Connections from before do not know it.
    read_only_at: Mutex<Option<Instant>>,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum NoConnection {
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

    /// Takes a connection, or makes one; waits for one when all are in use.
    pub(crate) async fn take(self: &Arc<Self>) -> Result<Lease, NoConnection> {
        self.take_one(false).await
    }

    /// The same for a transaction that writes. One that was read-only when it was made is replaced:
    /// sessions are not told when that is over.
    pub(crate) async fn take_to_write(self: &Arc<Self>) -> Result<Lease, NoConnection> {
        let mut lease = self.take_one(true).await?;
        let writable = lease.connection().and_then(|connection| connection.writable());
        writable.map_err(NoConnection::Failed)?;
        Ok(lease)
    }

    /// Says that the database was read-only at that time: connections that were made before are
    /// replaced before they write.
    pub(crate) fn read_only_at(&self, time: Instant) {
        *self.read_only_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(time);
    }

    fn knows_if_read_only(&self, connection: &Connection) -> bool {
        let at = *self.read_only_at.lock().unwrap_or_else(PoisonError::into_inner);
        at.is_none_or(|at| connection.made() > at)
    }

    async fn take_one(self: &Arc<Self>, to_write: bool) -> Result<Lease, NoConnection> {
        if self.is_closed() {
            return Err(NoConnection::Closed);
        }
        let permit = match timeout(self.wait, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(NoConnection::Closed),
            Err(_) => {
                let size = usize::try_from(self.size).unwrap_or(usize::MAX);
                return Err(NoConnection::Failed(Failure::Busy { size, waited: self.wait }));
            }
        };
        // Whoever waited when it was closed comes after that.
        if self.is_closed() {
            return Err(NoConnection::Closed);
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
            if connection.has_ended() || connection.era != self.connector.era() {
                connection.abandon();
                continue;
            }
            if to_write && (connection.is_read_only() || !self.knows_if_read_only(&connection)) {
                connection.abandon();
                break;
            }
            if connection.used.elapsed() < TRY_AFTER {
                return Ok(lease(connection, false));
            }
            match timeout(TRIAL, connection.run("")).await {
                Ok(Ok(())) => return Ok(lease(connection, false)),
                _ => connection.abandon(),
            }
        }
        match self.connector.connect().await {
            Ok(connection) => Ok(lease(connection, true)),
            Err(failure) => Err(NoConnection::Failed(failure)),
        }
    }

    /// Tells whether it was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Refuses who comes from now on, waits for who has a connection, and ends all connections.
    pub(crate) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // In its turn after all who wait.
        let all = self.permits.acquire_many(self.size).await;
        self.idle().clear();
        drop(all);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection for one to use. It goes back when this is dropped: what is still to be answered
/// then is answered to nobody.
pub(crate) struct Lease {
    pool: Arc<Pool>,
    connection: Option<Connection>,
    /// Whether it was made for this lease.
    is_new: bool,
    /// Whether a transaction may be under way on it.
    in_transaction: bool,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    /// Returns the connection; there is one until it was found to be dead.
    pub(crate) fn connection(&mut self) -> Result<&mut Connection, Failure> {
        self.connection.as_mut().ok_or_else(|| Failure::Lost("it was given up".to_owned()))
    }

    /// The same, for a transaction: should this be dropped before the transaction is
    /// [over](Lease::transaction_is_over), the connection ends, and the transaction with it.
    pub(crate) fn for_transaction(&mut self) -> Result<&mut Connection, Failure> {
        self.in_transaction = true;
        self.connection()
    }

    /// Says that the connection can be used by others again.
    pub(crate) fn transaction_is_over(&mut self) {
        self.in_transaction = false;
    }

    /// Ends the connection if the failure says that it is of no use. Tells whether another one may do
    /// better.
    pub(crate) fn give_up(mut self, failure: &Failure) -> bool {
        let elsewhere = failure.remedy() == Remedy::Elsewhere;
        // When one is found dead, so are the others.
        if elsewhere && let Some(connection) = &self.connection {
            self.pool.connector.doubt(connection.era);
        }
        if failure.ends_connection() {
            self.end();
        }
        elsewhere && !self.is_new
    }

    /// Ends the connection, and with it whatever is under way on it.
    pub(crate) fn abandon(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.abandon();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if self.in_transaction {
            connection.abandon();
            return;
        }
        let of_use = connection.era == self.pool.connector.era() && !self.pool.is_closed();
        if connection.has_ended() || !of_use {
            connection.abandon();
            return;
        }
        connection.used = Instant::now();
        self.pool.idle().push(connection);
    }
}
