//! Looking again and again for what others have changed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use portcullis::Id;
use portcullis::toolkit::Feed;

use crate::announcements::{Announcements, Found};
use crate::connection::{Connection, answer_within};
use crate::connector::Connector;
use crate::dialect::{self, History, Snapshot};
use crate::error::Failure;
use crate::pool::{NoConnection, Pool};
use crate::tables::kind_of;

/// The longest pause between attempts while the database cannot be reached.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How long a look may take, and be away from the last one, before all hosts are asked who the primary
/// is. Much shorter than it takes until another one is chosen: whoever was not heard for so long may
/// have been replaced by the time it is heard again.
const LONGEST_LOOK: Duration = Duration::from_secs(2);

/// How many old changes are deleted at a time.
const TRIM_AT_ONCE: i64 = 5_000;

/// The most that is asked for in one look: whoever watches cannot be told more.
const MOST_CHANGES: usize = Feed::CAPACITY;

/// Looks for changes, on a connection of its own.
pub(crate) struct Follower {
    connector: Arc<Connector>,
    announcements: Arc<Announcements>,
    pool: Arc<Pool>,
    every: Duration,
    keep: Duration,
    eye: Option<Eye>,
    seen: Option<Seen>,
    /// When the last look began that succeeded.
    looked: Instant,
    trimmed: Instant,
    /// Whether the last look failed, so that a lasting failure is logged once.
    blind: bool,
}

/// The connection, and what is asked on it.
struct Eye {
    connection: Connection,
    news: Statement,
}

/// Up to where changes were told, in which history of which store.
struct Seen {
    snapshot: Snapshot,
    history: History,
    store: String,
    is_read_only: bool,
}

impl Follower {
    pub(crate) fn new(
        connector: Arc<Connector>,
        announcements: Arc<Announcements>,
        pool: Arc<Pool>,
        every: Duration,
        keep: Duration,
    ) -> Self {
        let now = Instant::now();
        Self {
            connector,
            announcements,
            pool,
            every,
            keep,
            eye: None,
            seen: None,
            looked: now,
            trimmed: now,
            blind: false,
        }
    }

    /// Looks until it is told to end.
    pub(crate) async fn run(mut self, end: Arc<Notify>) {
        let mut pause = self.every;
        loop {
            let end = end.notified();
            if timeout(pause, end).await.is_ok() {
                return;
            }
            match self.look().await {
                Ok(()) => {
                    if self.blind {
                        tracing::info!("the database's changes can be followed again");
                    }
                    self.blind = false;
                    pause = self.every;
                }
                Err(failure) => {
                    match self.blind {
                        false => tracing::warn!(%failure, "cannot follow the database's changes"),
                        true => tracing::debug!(%failure, "still cannot follow changes"),
                    }
                    self.blind = true;
                    self.doubt();
                    pause = (2 * pause).min(LONGEST_PAUSE.max(self.every));
                }
            }
            self.trim().await;
        }
    }

    /// Looks on another connection the next time, at whoever is the primary then.
    fn doubt(&mut self) {
        if let Some(eye) = self.eye.take() {
            self.connector.doubt(eye.connection.era);
            eye.connection.abandon();
        }
    }

    /// Tells what was changed since the last look. The first one begins.
    pub(crate) async fn look(&mut self) -> Result<(), Failure> {
        // This process may have been halted as well.
        if self.looked.elapsed() > LONGEST_LOOK + self.every {
            self.doubt();
        }
        let eye = match &mut self.eye {
            Some(eye) => eye,
            none => none.insert(Eye::open(&self.connector).await?),
        };
        // Before anything is looked at: what was committed by now will be seen.
        let as_of = Instant::now();
        let told = self.announcements.told();
        let same = self.seen.as_ref().filter(|seen| seen.history == *eye.connection.history());
        let Some(seen) = same else {
            let now = eye.now().await?;
            if self.seen.is_some() {
                tracing::warn!("the database is another one than before, or was restored");
                self.announcements.missed(&told);
            }
            if now.is_read_only {
                self.pool.read_only_at(as_of);
            }
            self.seen = Some(now);
            self.looked = as_of;
            self.announcements.feed().fresh(as_of);
            return Ok(());
        };
        let most = i64::try_from(MOST_CHANGES).unwrap_or(i64::MAX).saturating_add(1);
        let Snapshot { next, under_way } = &seen.snapshot;
        let parameters: [&(dyn ToSql + Sync); 4] = [next, under_way, &told, &most];
        let rows = eye.connection.client().query(&eye.news, &parameters);
        let rows = answer_within(LONGEST_LOOK.min(eye.connection.answer_limit()), rows).await?;
        let first = rows.first().ok_or(Failure::Unusable("it does not say what can be seen"))?;
        let (snapshot, store, trimmed) = head(first)?;
        let is_read_only: bool = first.try_get("read_only")?;
        // At each look, not only when it changes: between two looks it may have been writable, and a
        // connection from then does not know better.
        if is_read_only {
            self.pool.read_only_at(as_of);
        }
        if seen.is_read_only != is_read_only {
            match is_read_only {
                true => tracing::warn!("the database has become read-only: changes are refused"),
                false => tracing::info!("the database is no longer read-only"),
            }
        }
        let changes = match rows.len() > MOST_CHANGES {
            true => None,
            false => rows.iter().filter_map(change).collect::<Option<Vec<_>>>(),
        };
        let reaches = seen.snapshot.reaches(&snapshot, trimmed) && seen.store == store;
        match changes {
            Some(changes) if reaches => self.announcements.found(&told, changes),
            _ => self.announcements.missed(&told),
        }
        let history = eye.connection.history().clone();
        self.seen = Some(Seen { snapshot, history, store, is_read_only });
        self.looked = as_of;
        self.announcements.feed().fresh(as_of);
        Ok(())
    }

    /// Deletes old changes, unless another node does.
    async fn trim(&mut self) {
        let every = (self.keep / 16).clamp(Duration::from_millis(500), Duration::from_secs(60));
        if self.blind || self.trimmed.elapsed() < every {
            return;
        }
        self.trimmed = Instant::now();
        match trim(&self.pool, self.keep).await {
            Ok(0) | Err(NoConnection::Closed | NoConnection::Failed(Failure::ReadOnly)) => {}
            Ok(changes) => tracing::debug!(changes, "deleted old changes"),
            Err(NoConnection::Failed(failure)) => {
                tracing::warn!(%failure, "cannot delete old changes");
            }
        }
    }
}

impl Eye {
    async fn open(connector: &Connector) -> Result<Self, Failure> {
        let connection = connector.connect().await?;
        connection.run(dialect::LOOKING).await?;
        let news = connection.answer(connection.client().prepare(dialect::NEWS)).await?;
        Ok(Self { connection, news })
    }

    /// Begins here.
    async fn now(&self) -> Result<Seen, Failure> {
        let row = self.connection.row(dialect::NOW, &[]).await?;
        let (snapshot, store, _) = head(&row)?;
        let history = self.connection.history().clone();
        Ok(Seen { snapshot, history, store, is_read_only: row.try_get("read_only")? })
    }
}

/// What a row says of the look: what can be seen, of which store, and what was trimmed.
fn head(row: &Row) -> Result<(Snapshot, String, i64), Failure> {
    let snapshot = Snapshot::parse(row.try_get(0)?);
    let snapshot = snapshot.ok_or(Failure::Unusable("it does not say what can be seen"))?;
    let trimmed: Option<&str> = row.try_get(2)?;
    let trimmed = trimmed.and_then(|trimmed| trimmed.parse().ok());
    // If nobody knows what is missing, something is.
    Ok((snapshot, row.try_get(1)?, trimmed.unwrap_or(i64::MAX)))
}

/// The change in a row: none at all, or none that can be told.
fn change(row: &Row) -> Option<Option<Found>> {
    let kind: Option<&str> = row.try_get(4).ok()?;
    let kind = kind?;
    let change = || {
        let (batch, id): (Option<i64>, &str) = (row.try_get(3).ok()?, row.try_get(5).ok()?);
        Some((batch, kind_of(kind)?, Id::from_digits(id.as_bytes())?))
    };
    Some(change())
}

/// Deletes changes that are older than `keep`, and returns how many.
async fn trim(pool: &Arc<Pool>, keep: Duration) -> Result<i64, NoConnection> {
    let mut lease = pool.take_to_write().await?;
    let mut all = 0;
    loop {
        let trimmed = match lease.for_transaction() {
            Ok(connection) => trim_some(connection, keep).await,
            Err(failure) => Err(failure),
        };
        match trimmed {
            Ok(some) => {
                lease.transaction_is_over();
                all += some;
            }
            Err(failure) => {
                lease.abandon();
                return Err(NoConnection::Failed(failure));
            }
        }
        match trimmed {
            Ok(TRIM_AT_ONCE..) => {}
            _ => return Ok(all),
        }
    }
}

async fn trim_some(connection: &mut Connection, keep: Duration) -> Result<i64, Failure> {
    connection.run(dialect::BEGIN).await?;
    let some = match connection.row(dialect::MAY_TRIM, &[]).await?.try_get(0)? {
        true => {
            let parameters: [&(dyn ToSql + Sync); 2] = [&keep.as_secs_f64(), &TRIM_AT_ONCE];
            connection.row(dialect::TRIM, &parameters).await?.try_get(0)?
        }
        false => 0,
    };
    connection.run(dialect::COMMIT).await?;
    Ok(some)
}
