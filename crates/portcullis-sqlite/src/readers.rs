//! The pool of connections that read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis::store::StoreError;
use portcullis::toolkit::{InlineReadGate, run_blocking};
use rusqlite::Connection;
use tokio::sync::{Semaphore, TryAcquireError};

/// A pool of connections. Each read has one of its own; further reads wait.
pub(crate) struct Readers {
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    count: u32,
    gate: Arc<InlineReadGate>,
}

impl Readers {
    pub(crate) fn new(connections: Vec<Connection>) -> Arc<Self> {
        let count = connections.len();
        Arc::new(Self {
            idle: Mutex::new(connections),
            permits: Arc::new(Semaphore::new(count)),
            count: u32::try_from(count).unwrap_or(u32::MAX),
            gate: Arc::default(),
        })
    }

    /// Returns the gate of short reads.
    pub(crate) fn gate(&self) -> Arc<InlineReadGate> {
        Arc::clone(&self.gate)
    }

    /// Runs a short read on this thread if the gate admits it, or else on one that may block.
    pub(crate) async fn read_few<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if let Some(_permit) = self.gate.try_acquire() {
            match self.permits.try_acquire() {
                Ok(_permit) => {
                    return self.read_here(read);
                }
                Err(TryAcquireError::Closed) => return Err(StoreError::closed()),
                Err(TryAcquireError::NoPermits) => {}
            }
        }
        self.read(read).await
    }

    /// Runs the read with one of the connections; there is a permit for it.
    fn read_here<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let connection = self.idle().pop();
        // There are as many permits as connections, until they are closed.
        let connection = connection.ok_or_else(StoreError::closed)?;
        let answer = read(&connection);
        self.idle().push(connection);
        answer
    }

    /// Runs the read on a thread that may block.
    ///
    /// The connection returns to the pool when the read has ended, even if the future was dropped: a
    /// read that has begun cannot be stopped.
    pub(crate) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permits = Arc::clone(&self.permits);
        let permit = permits.acquire_owned().await;
        let permit = permit.map_err(|_| StoreError::closed())?;
        let readers = Arc::clone(self);
        run_blocking(move || {
            let _permit = permit;
            readers.read_here(read)
        })
        .await
    }

    /// Refuses further reads, and waits until the earlier ones have ended.
    pub(crate) async fn finish(&self) {
        // Fails if the pool was finished before.
        let _all = self.permits.acquire_many(self.count).await;
        self.permits.close();
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.permits.is_closed()
    }

    /// Closes the connections that are not in use.
    pub(crate) fn disconnect(&self) {
        let idle = std::mem::take(&mut *self.idle());
        drop(idle);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
