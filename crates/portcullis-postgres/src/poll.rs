//! Polls the database for the changes of other nodes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use portcullis::Id;
use portcullis::toolkit::Feed;
use portcullis::toolkit::relational::kind_of_table;

use crate::announcements::{Announcements, PolledChange};
use crate::connection::{Connection, response_within};
use crate::connector::Connector;
use crate::dialect::{self, History, Snapshot};
use crate::error::Failure;
use crate::pool::{Pool, PoolError};

/// The longest pause between polls while they fail.
const MAX_BACKOFF: Duration = Duration::from_millis(500);

/// How long a poll may take, and how long after the previous one it may begin, before the primary
/// is suspect. Much shorter than a failover takes: a host that did not respond for so long may have
/// been replaced by the time it responds again.
const POLL_TIMEOUT: Duration = Duration::from_secs(2);

/// How many old changes are deleted at a time.
const TRIM_BATCH: i64 = 5_000;

/// The longest pause between deletions of old changes.
const MAX_TRIM_INTERVAL: Duration = Duration::from_secs(60);

/// The most changes that a poll selects. The feed holds no more for its watchers.
const MAX_CHANGES: usize = Feed::CAPACITY;

/// Polls for changes, on a connection of its own.
pub(crate) struct Poller {
    connector: Arc<Connector>,
    announcements: Arc<Announcements>,
    pool: Arc<Pool>,
    interval: Duration,
    retention: Duration,
    connection: Option<PollConnection>,
    state: Option<PollState>,
    /// When the last successful poll began.
    polled_at: Instant,
    trimmed_at: Instant,
    /// Whether the last poll failed, so that a lasting failure is logged once.
    is_failing: bool,
}

/// A connection, and the statement that polls on it.
struct PollConnection {
    connection: Connection,
    poll: Statement,
}

/// What the last poll saw, in which history of which store.
struct PollState {
    snapshot: Snapshot,
    history: History,
    store: String,
    is_read_only: bool,
}

impl Poller {
    pub(crate) fn new(
        connector: Arc<Connector>,
        announcements: Arc<Announcements>,
        pool: Arc<Pool>,
        interval: Duration,
        retention: Duration,
    ) -> Self {
        let now = Instant::now();
        Self {
            connector,
            announcements,
            pool,
            interval,
            retention,
            connection: None,
            state: None,
            polled_at: now,
            trimmed_at: now,
            is_failing: false,
        }
    }

    /// Polls until `shutdown` is notified.
    pub(crate) async fn run(mut self, shutdown: Arc<Notify>) {
        let mut pause = self.interval;
        loop {
            let shutdown = shutdown.notified();
            if timeout(pause, shutdown).await.is_ok() {
                return;
            }
            match self.poll().await {
                Ok(()) => {
                    if self.is_failing {
                        tracing::info!("the database's changes can be followed again");
                    }
                    self.is_failing = false;
                    pause = self.interval;
                }
                Err(failure) => {
                    match self.is_failing {
                        false => tracing::warn!(%failure, "cannot follow the database's changes"),
                        true => tracing::debug!(%failure, "still cannot follow changes"),
                    }
                    self.is_failing = true;
                    self.suspect();
                    pause = (2 * pause).min(MAX_BACKOFF.max(self.interval));
                }
            }
            self.trim().await;
        }
    }

    /// Makes the next poll search for the primary, on another connection.
    fn suspect(&mut self) {
        if let Some(PollConnection { connection, .. }) = self.connection.take() {
            self.connector.suspect(connection.generation);
            connection.abort();
        }
    }

    /// Announces the changes since the last poll. The first poll only reads where to begin.
    pub(crate) async fn poll(&mut self) -> Result<(), Failure> {
        // This process may have been suspended as well.
        if self.polled_at.elapsed() > POLL_TIMEOUT + self.interval {
            self.suspect();
        }
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(PollConnection::open(&self.connector).await?),
        };
        // Before the database is read: the poll sees everything that was committed by now.
        let as_of = Instant::now();
        let announced = self.announcements.announced();
        let history = connection.connection.history();
        let previous = self.state.as_ref().filter(|state| state.history == *history);
        let Some(previous) = previous else {
            let state = connection.start().await?;
            if self.state.is_some() {
                tracing::warn!("the database is another one than before, or was restored");
                self.announcements.missed(&announced);
            }
            if state.is_read_only {
                self.pool.read_only_at(as_of);
            }
            self.state = Some(state);
            self.polled_at = as_of;
            self.announcements.feed().fresh(as_of);
            return Ok(());
        };
        let rows = connection.changes(&previous.snapshot, &announced).await?;
        let first = rows.first().ok_or(NO_SNAPSHOT)?;
        let (snapshot, store, trimmed) = head(first)?;
        let is_read_only: bool = first.try_get("read_only")?;
        // At each poll, not only when it changes: the database may have been writable between two
        // polls, and connections from that time have not detected the end of it.
        if is_read_only {
            self.pool.read_only_at(as_of);
        }
        if previous.is_read_only != is_read_only {
            match is_read_only {
                true => tracing::warn!("the database has become read-only: changes are refused"),
                false => tracing::info!("the database is no longer read-only"),
            }
        }
        let changes = match rows.len() > MAX_CHANGES {
            true => None,
            false => rows.iter().filter_map(change).collect::<Option<Vec<_>>>(),
        };
        let reaches = previous.snapshot.reaches(&snapshot, trimmed) && previous.store == store;
        match changes {
            Some(changes) if reaches => self.announcements.polled(&announced, changes),
            _ => self.announcements.missed(&announced),
        }
        let history = history.clone();
        self.state = Some(PollState { snapshot, history, store, is_read_only });
        self.polled_at = as_of;
        self.announcements.feed().fresh(as_of);
        Ok(())
    }

    /// Deletes old changes, unless another node does.
    async fn trim(&mut self) {
        let interval = (self.retention / 16).clamp(Duration::from_millis(500), MAX_TRIM_INTERVAL);
        if self.is_failing || self.trimmed_at.elapsed() < interval {
            return;
        }
        self.trimmed_at = Instant::now();
        match trim(&self.pool, self.retention).await {
            Ok(0) | Err(PoolError::Closed | PoolError::Failed(Failure::ReadOnly)) => {}
            Ok(changes) => tracing::debug!(changes, "deleted old changes"),
            Err(PoolError::Failed(failure)) => {
                tracing::warn!(%failure, "cannot delete old changes");
            }
        }
    }
}

impl PollConnection {
    async fn open(connector: &Connector) -> Result<Self, Failure> {
        let connection = connector.connect().await?;
        connection.run(dialect::POLL_SESSION).await?;
        let poll = connection.within_timeout(connection.client().prepare(dialect::POLL)).await?;
        Ok(Self { connection, poll })
    }

    /// Returns the state to begin with.
    async fn start(&self) -> Result<PollState, Failure> {
        let row = self.connection.row(dialect::POLL_START, &[]).await?;
        let (snapshot, store, _) = head(&row)?;
        let history = self.connection.history().clone();
        Ok(PollState { snapshot, history, store, is_read_only: row.try_get("read_only")? })
    }

    /// Returns the changes since the snapshot that were not announced; one row at least.
    async fn changes(&self, since: &Snapshot, announced: &[i64]) -> Result<Vec<Row>, Failure> {
        let limit = i64::try_from(MAX_CHANGES).unwrap_or(i64::MAX).saturating_add(1);
        let parameters: [&(dyn ToSql + Sync); 4] =
            [&since.next, &since.in_progress, &announced, &limit];
        let rows = self.connection.client().query(&self.poll, &parameters);
        response_within(POLL_TIMEOUT.min(self.connection.response_timeout()), rows).await
    }
}

const NO_SNAPSHOT: Failure = Failure::Unusable("it reports no snapshot");

/// Reads the columns that every row of a poll has: the snapshot, the store, and up to which
/// transaction changes were trimmed.
fn head(row: &Row) -> Result<(Snapshot, String, i64), Failure> {
    let snapshot = Snapshot::parse(row.try_get(0)?).ok_or(NO_SNAPSHOT)?;
    let trimmed: Option<&str> = row.try_get(2)?;
    let trimmed = trimmed.and_then(|trimmed| trimmed.parse().ok());
    // Without it, changes may be missing.
    Ok((snapshot, row.try_get(1)?, trimmed.unwrap_or(i64::MAX)))
}

/// Returns the change in a row: `None` if it has none, `Some(None)` if it cannot be read.
fn change(row: &Row) -> Option<Option<PolledChange>> {
    let kind: Option<&str> = row.try_get(4).ok()?;
    let kind = kind?;
    let change = || {
        let (batch, id): (Option<i64>, &str) = (row.try_get(3).ok()?, row.try_get(5).ok()?);
        Some((batch, kind_of_table(kind)?, Id::from_digits(id.as_bytes())?))
    };
    Some(change())
}

/// Deletes changes older than `retention`, and returns how many.
async fn trim(pool: &Arc<Pool>, retention: Duration) -> Result<i64, PoolError> {
    let mut lease = pool.take_to_write().await?;
    let mut total = 0;
    loop {
        let trimmed = match lease.for_transaction() {
            Ok(connection) => trim_some(connection, retention).await,
            Err(failure) => Err(failure),
        };
        match trimmed {
            Ok(count) => {
                lease.end_transaction();
                total += count;
            }
            Err(failure) => {
                lease.discard();
                return Err(PoolError::Failed(failure));
            }
        }
        match trimmed {
            Ok(TRIM_BATCH..) => {}
            _ => return Ok(total),
        }
    }
}

async fn trim_some(connection: &mut Connection, retention: Duration) -> Result<i64, Failure> {
    connection.run(dialect::BEGIN).await?;
    let count = match connection.row(dialect::MAY_TRIM, &[]).await?.try_get(0)? {
        true => {
            let parameters: [&(dyn ToSql + Sync); 2] = [&retention.as_secs_f64(), &TRIM_BATCH];
            connection.row(dialect::TRIM, &parameters).await?.try_get(0)?
        }
        false => 0,
    };
    connection.run(dialect::COMMIT).await?;
    Ok(count)
}
