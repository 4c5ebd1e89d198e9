//! Group commit: many batches, one transaction, one wait for the disk.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis::store::{Operation, Position, StoreError};
use portcullis::toolkit::{self, Feed};
use rusqlite::Connection;

use crate::changes::{self, NewChanges};
use crate::checkpoint;
use crate::error::{CommitError, Failure, is_busy};
use crate::open::Location;
use crate::operations;
use crate::readers::Readers;
use crate::schema::{self, FORMAT};

/// The period of polls for commits of other processes. Together with the poll itself it is well below
/// the 250 ms within which a change must be announced.
const POLL_EVERY: Duration = Duration::from_millis(100);

/// The connection that writes, and the feed of what is committed.
pub(crate) struct Committer {
    location: Location,
    /// `None` after a failure that it may not have survived: the next use opens another one.
    connection: Option<Connection>,
    feed: Arc<Feed>,
    incarnation: u128,
    /// The sequence of the last change that was announced.
    announced: i64,
    /// `PRAGMA data_version` of the last poll.
    data_version: Option<i64>,
    /// Whether the last poll failed, so that a lasting failure is logged once.
    poll_failed: bool,
    /// When something was last written, until the log is empty.
    written: Option<Instant>,
    /// They close their connections first: the last connection to close removes the log.
    readers: Arc<Readers>,
}

impl Committer {
    /// Takes the connection. The feed has announced every change up to the sequence.
    pub(crate) fn new(
        location: Location,
        connection: Connection,
        readers: Arc<Readers>,
        feed: Arc<Feed>,
        announced: i64,
    ) -> Self {
        Self {
            connection: Some(connection),
            incarnation: feed.position().incarnation(),
            feed,
            announced,
            data_version: None,
            poll_failed: false,
            written: (!location.is_immutable()).then(Instant::now),
            location,
            readers,
        }
    }

    fn commit_all(&mut self, group: &[Vec<Operation>]) -> Vec<Result<Position, StoreError>> {
        let error = match self.try_commit(group) {
            Ok(outcomes) => return outcomes,
            Err(CommitError::TransactionAborted(_)) if group.len() > 1 => {
                // One by one, so that only the batch that caused it fails.
                return group
                    .iter()
                    .flat_map(|batch| self.commit_all(std::slice::from_ref(batch)))
                    .collect();
            }
            Err(error) => error,
        };
        // Without it nothing would be announced while changes keep arriving and failing.
        self.poll();
        match error {
            CommitError::TransactionAborted(failure) | CommitError::Failed(failure) => {
                group.iter().map(|_| Err(failure.clone().into())).collect()
            }
            CommitError::Refused(error) => vec![Err(error)],
            CommitError::Ambiguous(outcomes, failure) => {
                let ambiguous = outcomes.into_iter().map(|outcome| match outcome {
                    Ok(_) => Err(StoreError::indeterminate(failure.clone())),
                    // It was not applied, and the reason for its refusal may be ambiguous as well.
                    Err(_) => Err(failure.clone().into()),
                });
                ambiguous.collect()
            }
        }
    }

    fn try_commit(
        &mut self,
        batches: &[Vec<Operation>],
    ) -> Result<Vec<Result<Position, StoreError>>, CommitError> {
        // It is put back unless it has to be closed, which undoes what it has not committed.
        let connection = self.take_connection().map_err(CommitError::Failed)?;
        if let Err(error) = run(&connection, "BEGIN IMMEDIATE") {
            if is_busy(&error) {
                self.connection = Some(connection);
            }
            return Err(error.into());
        }
        let (outcomes, new) = match self.fill_transaction(&connection, batches) {
            Ok(filled) => filled,
            Err(error) => {
                if connection.is_autocommit() || run(&connection, "ROLLBACK").is_ok() {
                    self.connection = Some(connection);
                }
                return Err(error);
            }
        };
        // No other connection can have committed after the new changes were read.
        let as_of = Instant::now();
        if let Err(error) = run(&connection, "COMMIT") {
            drop(connection);
            self.feed.resync(sequence(self.announced));
            return Err(CommitError::Ambiguous(outcomes, error.into()));
        }
        self.connection = Some(connection);
        self.announce(new);
        self.feed.fresh(as_of);
        Ok(outcomes)
    }

    /// Everything between begin and commit.
    fn fill_transaction(
        &self,
        connection: &Connection,
        batches: &[Vec<Operation>],
    ) -> Result<(Vec<Result<Position, StoreError>>, NewChanges), CommitError> {
        // A newer version of Portcullis may have migrated the file while it was open here.
        match schema::format(connection)? {
            FORMAT => {}
            found => {
                let supported = FORMAT;
                return Err(CommitError::Failed(Failure::Upgraded { found, supported }));
            }
        }
        changes::continue_from(connection, self.announced)?;
        let mut outcomes = Vec::with_capacity(batches.len());
        if let [batch] = batches {
            self.apply_only(connection, batch)?;
        } else {
            for batch in batches {
                outcomes.push(self.apply_next(connection, batch)?);
            }
        }
        let new = changes::after(connection, self.announced)?;
        changes::trim(connection, self.announced, new.last)?;
        if batches.len() == 1 {
            outcomes.push(Ok(self.position(new.last)));
        }
        Ok((outcomes, new))
    }

    /// Applies the only batch: if it is refused, the whole transaction is undone.
    fn apply_only(&self, connection: &Connection, batch: &[Operation]) -> Result<(), CommitError> {
        operations::apply_all(connection, batch).map_err(|error| match error {
            CommitError::Failed(failure) if connection.is_autocommit() => {
                CommitError::TransactionAborted(failure)
            }
            error => error,
        })
    }

    /// Applies one batch of several, or undoes it when it is refused.
    fn apply_next(
        &self,
        connection: &Connection,
        batch: &[Operation],
    ) -> Result<Result<Position, StoreError>, CommitError> {
        if !operations::has_nothing_to_undo(batch) {
            return self.apply_with_savepoint(connection, batch);
        }
        match operations::apply_all(connection, batch) {
            Ok(()) => Ok(Ok(self.position(changes::last(connection)?))),
            Err(CommitError::Failed(failure)) => Err(CommitError::TransactionAborted(failure)),
            Err(CommitError::Refused(error)) => Ok(Err(error)),
            Err(error) => Err(error),
        }
    }

    /// Applies one batch of several, or undoes what it did before it was refused. SQLite keeps a
    /// copy of every page that is changed meanwhile.
    fn apply_with_savepoint(
        &self,
        connection: &Connection,
        batch: &[Operation],
    ) -> Result<Result<Position, StoreError>, CommitError> {
        run(connection, "SAVEPOINT batch")?;
        match operations::apply_all(connection, batch) {
            Ok(()) => {
                run(connection, "RELEASE batch")?;
                Ok(Ok(self.position(changes::last(connection)?)))
            }
            Err(CommitError::Failed(failure)) if connection.is_autocommit() => {
                Err(CommitError::TransactionAborted(failure))
            }
            Err(error) => {
                run(connection, "ROLLBACK TO batch")?;
                run(connection, "RELEASE batch")?;
                Ok(Err(error.into()))
            }
        }
    }

    fn position(&self, seq: i64) -> Position {
        Position::new(self.incarnation, sequence(seq))
    }

    /// Polls for commits of other processes, and announces them.
    pub(crate) fn poll(&mut self) {
        match self.try_poll() {
            Ok(()) => self.poll_failed = false,
            Err(error) => {
                if !self.poll_failed {
                    tracing::error!(%error, "changes of other processes cannot be read for now");
                }
                self.poll_failed = true;
            }
        }
    }

    fn try_poll(&mut self) -> Result<(), StoreError> {
        let as_of = Instant::now();
        let data_version = self.on_connection(|_, connection| data_version(connection))?;
        if self.data_version != Some(data_version) {
            let new = self.on_connection(|committer, connection| {
                let restored = changes::last(connection)? < committer.announced;
                let new = changes::after(connection, committer.announced)?;
                Ok((!restored).then_some(new))
            })?;
            match new {
                Some(new) => self.announce(new),
                // An empty group makes the file continue from the announced sequence.
                None => self.try_commit(&[]).map(drop)?,
            }
            self.data_version = Some(data_version);
        }
        self.feed.fresh(as_of);
        Ok(())
    }

    /// Empties the log; returns false if it could not.
    fn truncate_log(&mut self) -> bool {
        let truncated = self.on_connection(|committer, connection| {
            checkpoint::truncate_log(connection, committer.location.busy_timeout())
        });
        truncated.unwrap_or(false)
    }

    /// Runs work that changes no record, all or nothing.
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

    fn announce(&mut self, new: NewChanges) {
        match new.changes {
            Some(changes) => drop(self.feed.announce(changes)),
            None => self.feed.resync(sequence(new.last)),
        }
        self.announced = new.last;
    }

    fn take_connection(&mut self) -> Result<Connection, Failure> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => {
                // Data versions of two connections cannot be compared.
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

impl toolkit::Committer for Committer {
    const IDLE_EVERY: Option<Duration> = Some(POLL_EVERY);

    fn commit(&mut self, group: &[Vec<Operation>]) -> Vec<Result<Position, StoreError>> {
        let outcomes = self.commit_all(group);
        self.written = Some(Instant::now());
        outcomes
    }

    fn idle(&mut self) {
        self.poll();
        if self.written.is_some_and(|written| written.elapsed() >= checkpoint::AFTER_IDLE) {
            let truncated = self.truncate_log();
            self.written = (!truncated).then(Instant::now);
        }
    }

    fn close(mut self) -> Result<(), StoreError> {
        self.readers.disconnect();
        self.feed.close();
        let Some(connection) = self.connection.take() else {
            return Ok(());
        };
        // For when other processes have the file open; otherwise closing does it.
        if !self.location.is_immutable() {
            checkpoint::truncate_log(&connection, Duration::ZERO).map_err(Failure::from)?;
        }
        connection.close().map_err(|(_, error)| Failure::from(error).into())
    }
}

fn run(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

/// Returns a number that changes when another connection has committed.
fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    let mut data_version = connection.prepare_cached("PRAGMA data_version")?;
    data_version.query_row([], |row| row.get(0))
}

/// The `seq` of a change in the file is its sequence in the feed.
fn sequence(seq: i64) -> u128 {
    u128::try_from(seq).unwrap_or(0)
}
