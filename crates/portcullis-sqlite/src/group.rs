//! Group commit: many batches, one transaction, one wait for the disk.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis::store::{Operation, Position, StoreError};
use portcullis::toolkit::Feed;
use rusqlite::Connection;

use crate::changes::{self, News};
use crate::error::{Failure, is_busy};
use crate::open::Location;
use crate::operations::{self, Rejection};
use crate::readers::Readers;
use crate::schema::{self, FORMAT};

/// How often it is looked what other processes have committed. Together with the look itself well
/// below the 250 ms within which a change must be told.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long nothing must have been written before the log is copied into the file and emptied.
const TIDY_AFTER: Duration = Duration::from_secs(1);

/// The connection that writes, and the feed of what is committed.
pub(crate) struct Committer {
    location: Location,
    /// `None` after a failure that it may not have survived: the next use opens another one.
    connection: Option<Connection>,
    feed: Arc<Feed>,
    incarnation: u128,
    /// Place of the last change that the feed was told of.
    told: i64,
    /// What `PRAGMA data_version` said at the last look.
    data_version: Option<i64>,
    /// Whether the last look failed, so that a lasting failure is logged once.
    blind: bool,
    /// When something was written last, until the log is [tidied](Committer::tidy).
    written: Option<Instant>,
    /// They close their connections first: the last one to go takes the log with it.
    readers: Arc<Readers>,
}

/// What became of each batch of a group.
type Outcomes = Vec<Result<Position, StoreError>>;

/// Why a group was not committed.
#[derive(Debug)]
enum Stop {
    /// While a batch of it was carried out, SQLite undid the whole transaction, or failed where
    /// only all of it can be undone. Nothing was changed.
    Collapsed(Failure),
    /// The only batch of it asks for what is not so. Nothing was changed.
    Refused(StoreError),
    /// Nothing was changed.
    Undone(Failure),
    /// The commit itself failed. It may come back after a crash, so nobody knows.
    Unknown(Outcomes, Failure),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Undone(error.into())
    }
}

impl Committer {
    /// Takes the connection, of which the feed was told everything up to the place.
    pub(crate) fn new(
        location: Location,
        connection: Connection,
        readers: Arc<Readers>,
        feed: Arc<Feed>,
        told: i64,
    ) -> Self {
        Self {
            connection: Some(connection),
            incarnation: feed.position().incarnation(),
            feed,
            told,
            data_version: None,
            blind: false,
            written: (!location.is_still()).then(Instant::now),
            location,
            readers,
        }
    }

    fn commit_all(&mut self, group: &[Vec<Operation>]) -> Outcomes {
        match self.try_commit(group) {
            Ok(outcomes) => outcomes,
            Err(Stop::Collapsed(_)) if group.len() > 1 => {
                // One by one, so that nobody pays for the batch whose fault it is.
                group
                    .iter()
                    .flat_map(|batch| self.commit_all(std::slice::from_ref(batch)))
                    .collect()
            }
            Err(Stop::Collapsed(failure) | Stop::Undone(failure)) => {
                // Or nothing would be told while changes keep coming and failing.
                self.look();
                group.iter().map(|_| Err(failure.clone().into())).collect()
            }
            Err(Stop::Refused(error)) => {
                self.look();
                vec![Err(error)]
            }
            Err(Stop::Unknown(outcomes, failure)) => {
                self.look();
                let unknown = outcomes.into_iter().map(|outcome| match outcome {
                    Ok(_) => Err(StoreError::indeterminate(failure.clone())),
                    // It was not applied, and why it was refused is in doubt as well.
                    Err(_) => Err(failure.clone().into()),
                });
                unknown.collect()
            }
        }
    }

    fn try_commit(&mut self, batches: &[Vec<Operation>]) -> Result<Outcomes, Stop> {
        // It is put back unless it has to be closed, which undoes what it has not committed.
        let connection = self.take_connection().map_err(Stop::Undone)?;
        if let Err(error) = run(&connection, "BEGIN IMMEDIATE") {
            if is_busy(&error) {
                self.connection = Some(connection);
            }
            return Err(error.into());
        }
        let (outcomes, news) = match self.fill_transaction(&connection, batches) {
            Ok(filled) => filled,
            Err(stop) => {
                if connection.is_autocommit() || run(&connection, "ROLLBACK").is_ok() {
                    self.connection = Some(connection);
                }
                return Err(stop);
            }
        };
        // Nobody else can have committed after the news were read.
        let as_of = Instant::now();
        if let Err(error) = run(&connection, "COMMIT") {
            drop(connection);
            self.feed.resync(place(self.told));
            return Err(Stop::Unknown(outcomes, error.into()));
        }
        self.connection = Some(connection);
        self.tell(news);
        self.feed.fresh(as_of);
        Ok(outcomes)
    }

    /// Everything between begin and commit.
    fn fill_transaction(
        &self,
        connection: &Connection,
        batches: &[Vec<Operation>],
    ) -> Result<(Outcomes, News), Stop> {
        // A newer version of Portcullis may have migrated the file while it was open here.
        match schema::format(connection)? {
            FORMAT => {}
            found => {
                let supported = FORMAT;
                return Err(Stop::Undone(Failure::Upgraded { found, supported }));
            }
        }
        changes::count_on_from(connection, self.told)?;
        let mut outcomes = Vec::with_capacity(batches.len());
        if let [batch] = batches {
            self.apply_alone(connection, batch)?;
        } else {
            for batch in batches {
                outcomes.push(self.apply_one(connection, batch)?);
            }
        }
        let news = changes::after(connection, self.told)?;
        changes::trim(connection, self.told, news.last)?;
        if batches.len() == 1 {
            outcomes.push(Ok(self.position(news.last)));
        }
        Ok((outcomes, news))
    }

    /// Carries out the only batch: if it is refused, the whole transaction can go.
    fn apply_alone(&self, connection: &Connection, batch: &[Operation]) -> Result<(), Stop> {
        apply(connection, batch).map_err(|rejection| match rejection {
            Rejection::Failed(failure) if connection.is_autocommit() => Stop::Collapsed(failure),
            Rejection::Failed(failure) => Stop::Undone(failure),
            Rejection::Refused(error) => Stop::Refused(error),
        })
    }

    /// Carries out one batch of several, or leaves no trace of it when it is refused.
    fn apply_one(
        &self,
        connection: &Connection,
        batch: &[Operation],
    ) -> Result<Result<Position, StoreError>, Stop> {
        if !operations::is_written_at_once(batch) {
            return self.apply_or_undo(connection, batch);
        }
        match apply(connection, batch) {
            Ok(()) => Ok(Ok(self.position(changes::last(connection)?))),
            Err(Rejection::Failed(failure)) => Err(Stop::Collapsed(failure)),
            Err(Rejection::Refused(error)) => Ok(Err(error)),
        }
    }

    /// Carries out one batch of several, or undoes what it did before it was refused. SQLite keeps a
    /// copy of every page that is changed meanwhile.
    fn apply_or_undo(
        &self,
        connection: &Connection,
        batch: &[Operation],
    ) -> Result<Result<Position, StoreError>, Stop> {
        run(connection, "SAVEPOINT batch")?;
        Ok(match apply(connection, batch) {
            Ok(()) => {
                run(connection, "RELEASE batch")?;
                Ok(self.position(changes::last(connection)?))
            }
            Err(Rejection::Failed(failure)) if connection.is_autocommit() => {
                return Err(Stop::Collapsed(failure));
            }
            Err(rejection) => {
                run(connection, "ROLLBACK TO batch")?;
                run(connection, "RELEASE batch")?;
                Err(match rejection {
                    Rejection::Failed(failure) => failure.into(),
                    Rejection::Refused(error) => error,
                })
            }
        })
    }

    fn position(&self, seq: i64) -> Position {
        Position::new(self.incarnation, place(seq))
    }

    /// Looks whether another process has committed something, and tells the feed how it stands.
    pub(crate) fn look(&mut self) {
        match self.try_look() {
            Ok(()) => self.blind = false,
            Err(error) => {
                if !self.blind {
                    tracing::error!(%error, "changes of other processes cannot be seen for now");
                }
                self.blind = true;
            }
        }
    }

    fn try_look(&mut self) -> Result<(), StoreError> {
        let as_of = Instant::now();
        let data_version = self.on_connection(|_, connection| data_version(connection))?;
        if self.data_version != Some(data_version) {
            let news = self.on_connection(|committer, connection| {
                let restored = changes::last(connection)? < committer.told;
                let news = changes::after(connection, committer.told)?;
                Ok((!restored).then_some(news))
            })?;
            match news {
                Some(news) => self.tell(news),
                // An empty group makes the file count on from where it was.
                None => self.try_commit(&[]).map(drop).map_err(Stop::into_error)?,
            }
            self.data_version = Some(data_version);
        }
        self.feed.fresh(as_of);
        Ok(())
    }

    /// Copies the log into the file and empties it, unless somebody is reading from it. What was
    /// deleted is gone from the disk then, and a copy of the file alone has everything.
    pub(crate) fn tidy(&mut self) -> bool {
        let tidied = self.on_connection(|committer, connection| {
            let timeout = committer.location.busy_timeout();
            checkpoint(connection, timeout)
        });
        tidied.unwrap_or(false)
    }

    /// Does something that changes no record, all or nothing.
    pub(crate) fn in_transaction(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let connection = self.take_connection()?;
        // It is closed after a failure, which undoes what it has not committed.
        run(&connection, "BEGIN IMMEDIATE").map_err(Failure::from)?;
        work(&connection)?;
        let committed = run(&connection, "COMMIT");
        committed.map_err(|error| StoreError::indeterminate(Failure::from(error)))?;
        self.connection = Some(connection);
        Ok(())
    }

    fn tell(&mut self, news: News) {
        match news.changes {
            Some(changes) => drop(self.feed.announce(changes)),
            None => self.feed.resync(place(news.last)),
        }
        self.told = news.last;
    }

    fn take_connection(&mut self) -> Result<Connection, Failure> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => {
                // Another connection counts from elsewhere.
                self.data_version = None;
                Ok(self.location.connect_writer()?)
            }
        }
    }

    fn on_connection<T>(
        &mut self,
        f: impl FnOnce(&Self, &Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Failure> {
        let connection = self.take_connection()?;
        let done = f(self, &connection);
        if done.as_ref().err().is_none_or(is_busy) {
            self.connection = Some(connection);
        }
        Ok(done?)
    }
}

impl portcullis::toolkit::Committer for Committer {
    const IDLE_EVERY: Option<Duration> = Some(LOOK_EVERY);

    fn commit(&mut self, group: &[Vec<Operation>]) -> Outcomes {
        let outcomes = self.commit_all(group);
        self.written = Some(Instant::now());
        outcomes
    }

    fn idle(&mut self) {
        self.look();
        if self.written.is_some_and(|written| written.elapsed() >= TIDY_AFTER) {
            let done = self.tidy();
            self.written = (!done).then(Instant::now);
        }
    }

    fn close(mut self) -> Result<(), StoreError> {
        self.readers.disconnect();
        self.feed.close();
        let Some(connection) = self.connection.take() else {
            return Ok(());
        };
        // For when others have the file open; otherwise closing does it.
        if !self.location.is_still() {
            checkpoint(&connection, Duration::ZERO).map_err(Failure::from)?;
        }
        connection.close().map_err(|(_, error)| Failure::from(error).into())
    }
}

impl Stop {
    fn into_error(self) -> StoreError {
        match self {
            Self::Collapsed(failure) | Self::Undone(failure) | Self::Unknown(_, failure) => {
                failure.into()
            }
            Self::Refused(error) => error,
        }
    }
}

/// Carries out a batch, up to the first operation that fails.
fn apply(connection: &Connection, batch: &[Operation]) -> Result<(), Rejection> {
    batch.iter().try_for_each(|operation| operations::apply(connection, operation))
}

fn run(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

/// Returns a number that changes when another connection has committed.
fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    let mut data_version = connection.prepare_cached("PRAGMA data_version")?;
    data_version.query_row([], |row| row.get(0))
}

/// Copies the log into the file without waiting for anybody; returns whether all of it.
fn checkpoint(connection: &Connection, timeout_afterwards: Duration) -> rusqlite::Result<bool> {
    connection.busy_timeout(Duration::ZERO)?;
    let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
    let busy: rusqlite::Result<i64> = connection.query_row(sql, [], |row| row.get(0));
    connection.busy_timeout(timeout_afterwards)?;
    Ok(busy? == 0)
}

/// The number of a change is its place in the feed.
fn place(seq: i64) -> u128 {
    u128::try_from(seq).unwrap_or(0)
}
