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
//!
//! # When to choose it
//!
//! Several machines serve the same records, or the service must survive the loss of one. The store
//! needs PostgreSQL 13 or later with the encoding UTF8; it is tested with 15. All reads and writes
//! go to one primary. Promoting a standby is the task of the operator's failover manager, such as
//! Patroni. The store does not work behind a proxy that pools by transaction, as PgBouncer can:
//! sessions hold settings and prepared statements.
//!
//! # Guarantees
//!
//! - **Durability.** An acknowledged commit is on the primary's disk, and on the standbys that the
//!   server waits for (`synchronous_standby_names`). It survives kills, and power cuts if `fsync` is
//!   on. A session with `synchronous_commit` off is switched to on; other values stay. Without a
//!   synchronous standby, a failover can lose the last acknowledged commits.
//! - **Batches.** A batch is one short transaction of two round trips: its statements are sent
//!   without waiting for responses. If an operation is not applied, the transaction is repeated and
//!   that operation is checked on its own. A transaction that the server rolls back in favour of
//!   another one, for example in a deadlock, is repeated up to ten times within about a second.
//! - **Ambiguous commits.** A commit without a response, or with the warning that the wait for the
//!   standbys was cancelled, is [`StoreError::Indeterminate`]; the record's revision resolves it. No
//!   statement timeout applies to a `COMMIT`.
//! - **Replaced primaries.** The store does not read from a primary that was replaced without
//!   noticing it, such as one that was suspended and resumed. When the primary is suspect (a
//!   connection broke, or a poll took longer than two seconds), the store connects to all hosts and
//!   chooses the writable one with the latest timeline. It refuses a timeline earlier than the latest
//!   one that it has used. If the new primary is unreachable, the switch cannot be detected: fencing
//!   the old one is the task of the failover manager.
//! - **Changes of other nodes.** A node reads what other nodes have committed at once, and its feed
//!   reports it within two polls, 75 ms apart by default. Reads go to the primary too, because a
//!   cached read must not be older than the feed.
//! - **Dropped calls.** When the future of a call is dropped, its transaction continues and is
//!   announced, and the connection returns to the pool.
//! - **Deletion.** Deleted data leaves the tables with PostgreSQL's next `VACUUM`. It stays in the
//!   write-ahead log and in backups as long as those are retained.
//!
//! # The change feed
//!
//! Each transaction records its changes in the table `changes`. Polling `seq > last` would lose
//! changes: sequence numbers are drawn before the commit, so a transaction with an earlier number
//! may commit later. In a test with 16 writers, 2 to 5 of 100 changes were lost that way.
//!
//! A poll selects the changes that are visible now and were not visible at the previous poll: those
//! of transactions that had not begun then, and of those that were in progress, as listed by the
//! previous poll's snapshot. Every change is therefore reported once, as soon as it is committed, and
//! a poll is fresh as of the instant at which it begins. No transaction waits for another one, and no
//! heartbeat is written. Two other methods were measured (`examples/feeds.rs`; 16 writers, polls
//! 20 ms apart, the same machine, two rounds each):
//!
//! | | commits | delay of a change | beside a transaction of 3 s |
//! |---|---|---|---|
//! | snapshots | 1 | 16 ms | 16 ms |
//! | below the oldest transaction in progress | 1.1 | 21 to 27 ms | 1,500 to 3,000 ms, and no freshness |
//! | 16 counters, each locked to the end of its transaction | 0.7 to 0.85 | 17 ms | 17 ms |
//!
//! Changes are retained for an [hour](PostgresOptions::changes_retention). A node that was
//! disconnected for longer, or finds another store, a restored one, or a primary on a new timeline,
//! resynchronizes. `LISTEN` and `NOTIFY` are not used: a notification makes all commits queue for one
//! lock.
//!
//! A transaction of several hours delays no feed, but prevents PostgreSQL's clean-up. Transactions of
//! this store end after twice the statement timeout.
//!
//! # Inspecting a store
//!
//! Everything is in the schema `portcullis`: a table for each kind of record, views with readable
//! columns, and comments in the migration.
//!
//! ```console
//! portcullis=> SET search_path TO portcullis;
//! portcullis=> SELECT username, status, description FROM authorization_details;
//! portcullis=> SELECT u.unique_key FROM grants g JOIN authorizations u ON u.id = g.id
//! portcullis->   WHERE g.grant_key = 'write:buckets/0c0c000000000001';
//! ```
//!
//! Every node detects a row that is inserted, changed or deleted by hand. Change the column and
//! `body` alike, because a record that contradicts itself counts as corrupt; the `portcullis`
//! commands are easier. Do not delete rows of `changes` by hand.
//!
//! After a restore into the same database while nodes run, draw a fresh incarnation, so that every
//! node resynchronizes:
//!
//! ```console
//! portcullis=> UPDATE meta SET value = md5(random()::text) WHERE name = 'incarnation';
//! ```
//!
//! # Privileges
//!
//! The database user that [creates](PostgresOptions::create) the store owns it. Another user, for
//! serving, needs:
//!
//! ```sql
//! GRANT USAGE ON SCHEMA portcullis TO portcullis_serving;
//! GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA portcullis TO portcullis_serving;
//! ```
//!
//! SQL that is specific to PostgreSQL is in `dialect.rs` and in the migration; the other statements
//! use what engines with its wire protocol have in common. No other engine has been tried.

mod announcements;
mod connection;
mod connector;
mod dialect;
mod error;
mod escape;
mod maintain;
mod open;
mod open_error;
mod options;
mod passwords;
mod poll;
mod pool;
mod rows;
mod schema;
mod statements;
mod tables;
mod tls;
mod url;
mod write;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use portcullis::store::{
    Batch, Change, Index, Lookup, Lookups, Page, PageRequest, Position, Record, Store, StoreError,
};
use portcullis::toolkit::Feed;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub use open_error::OpenError;
pub use options::PostgresOptions;

use connection::Connection;
use error::Retry;
use pool::{Pool, PoolError};
use rows::{LookupQuery, LookupsQuery, ReadError};
use write::Writer;

/// How often a read is attempted that fails because of its connection.
const READS: u32 = 3;

/// Keeps records in a PostgreSQL database.
///
/// The store belongs to the tokio runtime in which it was opened. It has one task there that polls for
/// the changes of other nodes, and one task for each commit. They end when the store is
/// [closed](Store::close); the polling task also ends when the store is dropped.
pub struct PostgresStore {
    display_url: String,
    schema: String,
    created: bool,
    pool: Arc<Pool>,
    writer: Arc<Writer>,
    shutdown: Arc<Notify>,
    poller: JoinHandle<()>,
}

impl PostgresStore {
    /// Opens the store at the [URL](PostgresOptions::open), and creates it if there is none.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        Self::options().open(url).await
    }

    /// Returns the options to open a store with.
    pub fn options() -> PostgresOptions {
        PostgresOptions::default()
    }

    /// Returns a URL's hosts, ports and database, without user and password; `None` for an invalid
    /// URL.
    pub fn redact_url(url: &str) -> Option<String> {
        Some(url::DatabaseUrl::parse(url).ok()?.display())
    }

    /// Tells whether opening this store has created it.
    ///
    /// If several processes open the same missing store at once, this is true in one of them.
    pub const fn was_created(&self) -> bool {
        self.created
    }

    /// Returns the hosts, ports and database of the store as a URL, without user and password.
    pub fn display_url(&self) -> &str {
        &self.display_url
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

    /// Reads on any connection, and on another one if that has failed.
    async fn read<T, R>(&self, read: R) -> Result<T, StoreError>
    where
        R: for<'c> Fn(&'c mut Connection) -> BoxFuture<'c, Result<T, ReadError>> + Send + Sync,
    {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let mut lease = self.pool.take().await?;
            match read(lease.connection()?).await {
                Ok(found) => return Ok(found),
                Err(ReadError::Refused(error)) => return Err(error),
                Err(ReadError::Failed(failure)) => {
                    let again = failure.retry() == Retry::Transaction;
                    if !(lease.release_after(&failure) || again) || attempts == READS {
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
            .field("url", &self.display_url)
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.feed().close();
        self.poller.abort();
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn get(&self, lookup: Lookup<'_>) -> Result<Option<Record>, StoreError> {
        let wanted = LookupQuery::from(lookup);
        self.read(move |connection| Box::pin(rows::get(connection, wanted.clone()))).await
    }

    async fn get_many(&self, lookups: Lookups<'_>) -> Result<Vec<Option<Record>>, StoreError> {
        if lookups.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = LookupsQuery::from(lookups);
        self.read(move |connection| Box::pin(rows::get_many(connection, wanted.clone()))).await
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
        // In a task of its own, which continues if the caller drops this future.
        let task = tokio::spawn(async move { writer.commit(&operations).await });
        match task.await {
            Ok(outcome) => outcome,
            Err(_) => Err(StoreError::indeterminate("the runtime is shutting down")),
        }
    }

    /// The position of the last announced change, which may be behind other nodes.
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
        self.shutdown.notify_one();
        self.poller.abort();
        self.feed().close();
        Ok(())
    }
}

impl From<PoolError> for StoreError {
    fn from(none: PoolError) -> Self {
        match none {
            PoolError::Closed => Self::closed(),
            PoolError::Failed(failure) => failure.into(),
        }
    }
}

/// The Rust in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
