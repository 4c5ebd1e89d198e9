//! The Portcullis [`Store`] on PostgreSQL: many machines, one truth.
//!
//! ```no_run
//! use portcullis_postgres::PostgresStore;
//!
//! # async fn open() -> Result<(), portcullis_postgres::OpenError> {
//! let store = PostgresStore::open("postgres://portcullis@db1,db2/portcullis").await?;
//! # Ok(())
//! # }
//! ```

mod announcements;
mod connection;
mod dialect;
mod error;
mod follow;
mod maintain;
mod open;
mod options;
mod passwords;
mod pool;
mod rows;
mod schema;
mod steps;
mod tables;
mod text;
mod tls;
mod url;
mod write;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use portcullis::store::{
    Batch, Change, Feed, Index, Lookup, Page, PageRequest, Position, Record, Store, StoreError,
};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub use open::OpenError;
pub use options::PostgresOptions;

use connection::Connection;
use error::Remedy;
use pool::{NoConnection, Pool};
use rows::{Unread, Wanted};
use write::Writer;

/// How often a read is tried that fails for no fault of its own.
const READS: u32 = 3;

/// Keeps records in a PostgreSQL database.
///
/// It belongs to the tokio runtime that it was opened in, and has one task there that follows the
/// changes of others, and one for each commit. They end when the store is
/// [closed](Store::close); the one that follows, also when the store is dropped.
pub struct PostgresStore {
    place: String,
    schema: String,
    created: bool,
    pool: Arc<Pool>,
    writer: Arc<Writer>,
    end: Arc<Notify>,
    following: JoinHandle<()>,
}

impl PostgresStore {
    /// Opens the store in the database with the [address](PostgresOptions::open), and creates it
    /// there if there is none.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn open(address: &str) -> Result<Self, OpenError> {
        Self::options().open(address).await
    }

    /// Returns the settings to open a store with.
    pub fn options() -> PostgresOptions {
        PostgresOptions::default()
    }

    /// Returns hosts, ports and database of an address, without user and password; `None` if it is
    /// no address.
    pub fn place_of(address: &str) -> Option<String> {
        Some(url::Address::parse(address).ok()?.place())
    }

    /// Tells whether the store is new: opening it here has created it.
    ///
    /// Of several processes that open the same new store at once, one is told so.
    pub const fn was_created(&self) -> bool {
        self.created
    }

    /// Returns hosts, ports and database, without user and password.
    pub fn place(&self) -> &str {
        &self.place
    }

    fn feed(&self) -> &Arc<Feed> {
        self.writer.announcements.feed()
    }

    fn refuse_if_closed(&self) -> Result<(), StoreError> {
        match self.pool.is_closed() {
            true => Err(StoreError::closed()),
            false => Ok(()),
        }
    }

    /// Reads on any connection, and on another one if that has broken.
    async fn read<T, R>(&self, read: R) -> Result<T, StoreError>
    where
        R: for<'c> Fn(&'c mut Connection) -> BoxFuture<'c, Result<T, Unread>> + Send + Sync,
    {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut lease = self.pool.take().await?;
            match read(lease.connection()?).await {
                Ok(found) => return Ok(found),
                Err(Unread::Refused(error)) => return Err(error),
                Err(Unread::Failed(failure)) => {
                    let again = failure.remedy() == Remedy::Again;
                    if !(lease.give_up(&failure) || again) || tries == READS {
                        return Err(failure.into());
                    }
                }
            }
        }
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("place", &self.place)
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.feed().close();
        self.following.abort();
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn get(&self, lookup: Lookup<'_>) -> Result<Option<Record>, StoreError> {
        let wanted = Wanted::from(lookup);
        self.read(move |connection| Box::pin(rows::get(connection, wanted.clone()))).await
    }

    async fn list(&self, index: Index, page: PageRequest) -> Result<Page, StoreError> {
        self.read(move |connection| Box::pin(rows::list(connection, index, page))).await
    }

    async fn commit(&self, batch: Batch) -> Result<Position, StoreError> {
        let operations = batch.into_operations()?;
        self.refuse_if_closed()?;
        if operations.is_empty() {
            return Ok(self.feed().position());
        }
        let writer = Arc::clone(&self.writer);
        // On a task of its own, which goes on when nobody waits for it any more.
        let task = tokio::spawn(async move { writer.commit(&operations).await });
        match task.await {
            Ok(outcome) => outcome,
            Err(_) => Err(StoreError::indeterminate("the runtime is shutting down")),
        }
    }

    /// The last change that was told, which may be behind other nodes.
    async fn position(&self) -> Result<Position, StoreError> {
        self.refuse_if_closed()?;
        Ok(self.feed().position())
    }

    async fn watch(
        &self,
        after: Position,
    ) -> Result<BoxStream<'static, Result<Change, StoreError>>, StoreError> {
        self.refuse_if_closed()?;
        Ok(self.feed().watch(after))
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.pool.close().await;
        self.end.notify_one();
        self.following.abort();
        self.feed().close();
        Ok(())
    }
}

impl From<NoConnection> for StoreError {
    fn from(none: NoConnection) -> Self {
        match none {
            NoConnection::Closed => Self::closed(),
            NoConnection::Failed(failure) => failure.into(),
        }
    }
}
