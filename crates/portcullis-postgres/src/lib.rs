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
//! Where several machines serve the same records, or one must go on when another is lost. It needs
//! PostgreSQL 13 or later, with the encoding UTF8, and is tested with 15. There is one primary that
//! everything is written to and read from; what makes a standby take its place, such as Patroni, is
//! the operator's. Behind a proxy that gives a connection to somebody else after each transaction,
//! as PgBouncer can, it does not work: sessions have settings and prepared statements.
//!
//! # What it promises
//!
//! - What was acknowledged is on the primary's disk, and on those standbys that the server waits for
//!   (`synchronous_standby_names`): it survives kills and power cuts as far as `fsync` is on. A
//!   session for which `synchronous_commit` is off has it switched on; other values stay. Without
//!   a standby that is waited for, what was acknowledged last can be lost in a failover.
//! - A batch is one short transaction: two round trips, whatever is in it, for its statements are
//!   sent without waiting for the answers. Only where one was not carried out, it is tried again with
//!   a closer look. What was undone for the sake of others, a deadlock for example, is done again, up
//!   to ten times within about a second.
//! - A commit whose answer did not come, or came with the warning that its standbys were not waited
//!   for to the end, is [`StoreError::Indeterminate`]: the revision tells. No statement of a
//!   timeout is ever sent after a `COMMIT`.
//! - A primary that was replaced and does not know it, as when it was halted and wakes up, is not read.
//!   Where there is doubt about the primary (a connection broke, a look took longer than two seconds)
//!   all hosts are asked, and of those that can be written to the one with the latest timeline is
//!   believed, if it is not earlier than the latest that was ever seen. What is not known by asking,
//!   because the new one cannot be reached, is up to what has replaced the old one.
//! - Every node hears of the changes of the others within two looks, 75 ms apart by default, and
//!   reads what they have committed at once. Reads go to the primary too: what is read to be
//!   remembered must not be older than the feed.
//! - When the future of a call is dropped, its transaction goes on and is told; the connection goes
//!   back to the others.
//! - What was deleted is gone from tables after PostgreSQL's next `VACUUM`, and stays in its log and
//!   in backups for as long as those are kept.
//!
//! # Who has changed what
//!
//! Each change is noted in the table `changes` in the transaction that makes it. What is new is not
//! found out by `seq > last`: numbers are drawn before the commit, and whoever draws an earlier one
//! and commits later would never be heard. In a test with 16 writers, 2 to 5 of 100 changes were lost
//! that way.
//!
//! A look asks for the changes that can be seen now and could not be seen at the look before: those
//! of transactions that had not begun then, and of those that were under way, which the snapshot of
//! that look names. So everything is told once, as soon as it is committed, and a look that begins
//! at an instant is fresh as of that instant; nobody has to wait for others, and no heartbeat has to
//! be written. Two other ways were measured (`examples/feeds.rs`; 16 writers, looks 20 ms apart, the
//! same machine, two rounds each):
//!
//! | | commits | a change is found after | beside a transaction that goes on for 3 s |
//! |---|---|---|---|
//! | snapshots | 1 | 16 ms | 16 ms |
//! | below the oldest transaction under way | 1.1 | 21 to 27 ms | 1,500 to 3,000 ms, and no word of freshness |
//! | 16 counters, each locked to the end of its transaction | 0.7 to 0.85 | 17 ms | 17 ms |
//!
//! Notes are kept for an [hour](PostgresOptions::changes_retention). Who was cut off for longer, or finds
//! another store, a restored one, or a primary on a new timeline, is told to resync. `LISTEN` and
//! `NOTIFY` are not used: a notification makes all commits queue up for one lock.
//!
//! A transaction that goes on for hours delays nobody here, but keeps PostgreSQL from cleaning up.
//! Those of this store end after twice the timeout of a statement.
//!
//! # Looking into it
//!
//! Everything is in the schema `portcullis`: a table for each kind of record, views with more columns
//! for people, and comments in the migration.
//!
//! ```console
//! portcullis=> SET search_path TO portcullis;
//! portcullis=> SELECT username, status, description FROM authorization_details;
//! portcullis=> SELECT u.unique_key FROM grants g JOIN authorizations u ON u.id = g.id
//! portcullis->   WHERE g.grant_key = 'write:buckets/0c0c000000000001';
//! ```
//!
//! A row that is inserted, changed or deleted by hand is noticed by every node. A change must be made
//! to the column and to `body` alike, for a record that contradicts itself is taken for corrupt; the
//! `portcullis` commands are easier. Rows of `changes` are not to be deleted by hand.
//!
//! After a restore into the same database while nodes run, draw the incarnation anew, so that none of
//! them believes that it knows what is there:
//!
//! ```console
//! portcullis=> UPDATE meta SET value = md5(random()::text) WHERE name = 'incarnation';
//! ```
//!
//! # Rights
//!
//! The user who [creates](PostgresOptions::create) the store owns it. Another one, for serving, needs:
//!
//! ```sql
//! GRANT USAGE ON SCHEMA portcullis TO portcullis_serving;
//! GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA portcullis TO portcullis_serving;
//! ```
//!
//! What is PostgreSQL's own is in `dialect.rs` and in the migration; the other statements are what
//! engines that speak its protocol have in common. None of those has been tried.

mod announcements;
mod connection;
mod connector;
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
    Batch, Change, Index, Lookup, Page, PageRequest, Position, Record, Store, StoreError,
};
use portcullis::toolkit::Feed;
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
    pub fn display_url(address: &str) -> Option<String> {
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

/// The Rust in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
