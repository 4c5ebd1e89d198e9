//! Group commit: many batches, one transaction, one wait for the disk.

use std::sync::Arc;
use std::time::Duration;

use portcullis::Id;
use portcullis::store::{Kind, Operation, Position, StoreError};
use portcullis::toolkit::ordered::{Keyspace, Overlay, apply, rebuild};
use portcullis::toolkit::{Committer, Feed, SharedDatabase, ambiguous, catch_panic};
use redb::{Database, WriteTransaction};

use crate::open::Location;
use crate::tables::{Snapshot, Tables, definition, failed};

/// Commits groups of batches, and announces their changes.
pub(crate) struct RedbCommitter {
    pub(crate) location: Location,
    pub(crate) shared: Arc<SharedDatabase<Database>>,
    pub(crate) feed: Arc<Feed>,
}

/// The records that a batch changes, or why it is refused.
type BatchOutcome = Result<Vec<(Kind, Id)>, StoreError>;

impl RedbCommitter {
    /// Fills a transaction, and commits it if `fill` returns true. An error comes with the result of
    /// `fill` if the commit is ambiguous; otherwise nothing was changed.
    fn transact<T>(
        &self,
        fill: impl FnOnce(&Database, &WriteTransaction) -> Result<(T, bool), StoreError>,
    ) -> Result<T, (Option<T>, StoreError)> {
        if self.shared.is_broken() {
            self.reopen();
        }
        let done = self.shared.read(|database| {
            let transaction = database.begin_write().map_err(failed)?;
            let (filled, commit) = fill(database, &transaction)?;
            let ended = catch_panic(|| match commit {
                true => transaction.commit().map_err(failed),
                false => transaction.abort().map_err(failed),
            });
            Ok((filled, ended))
        });
        let (filled, error) = match done {
            Ok((filled, Ok(()))) => return Ok(filled),
            Ok((filled, Err(error))) => (Some(filled), error),
            Err(error) => (None, error),
        };
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        tracing::error!(cause, "a transaction failed: the database is opened again");
        self.reopen();
        Err((filled, error))
    }

    /// Opens the database again: after a failure redb refuses further transactions.
    fn reopen(&self) {
        self.shared.reopen(|| self.location.reopen());
        self.feed.resync(self.feed.position().sequence());
    }

    /// Makes the unique keys and index entries anew.
    pub(crate) fn rebuild(&mut self) -> Result<(), StoreError> {
        let rebuilt = self.transact(|database, transaction| {
            for keyspace in [Keyspace::Unique, Keyspace::Index] {
                transaction.delete_table(definition(keyspace)).map_err(failed)?;
            }
            rebuild(&Snapshot::of(database)?, &mut Tables::open(transaction)?)?;
            Ok(((), true))
        });
        rebuilt.map_err(|(filled, error)| match filled {
            Some(()) => StoreError::indeterminate(error),
            None => error,
        })
    }
}

impl Committer for RedbCommitter {
    const IDLE_EVERY: Option<Duration> = None;

    fn commit(&mut self, group: &[Vec<Operation>]) -> Vec<Result<Position, StoreError>> {
        let committed = self.transact(|_, transaction| {
            let mut tables = Tables::open(transaction)?;
            let mut outcomes: Vec<BatchOutcome> = Vec::with_capacity(group.len());
            for batch in group {
                // A batch that is refused leaves nothing in the transaction.
                let mut step = Overlay::on(&tables);
                let outcome = apply(&mut step, batch);
                let edits = step.into_edits();
                if outcome.is_ok() {
                    edits.write_to(&mut tables)?;
                }
                outcomes.push(outcome);
            }
            let changed = outcomes.iter().flatten().any(|records| !records.is_empty());
            Ok((outcomes, changed))
        });
        match committed {
            Ok(outcomes) => {
                let announce = |outcome: BatchOutcome| Ok(self.feed.announce(outcome?));
                outcomes.into_iter().map(announce).collect()
            }
            Err((Some(outcomes), error)) => ambiguous(outcomes, error),
            Err((None, error)) => {
                let error = Arc::new(error);
                group.iter().map(|_| Err(StoreError::unavailable(Arc::clone(&error)))).collect()
            }
        }
    }

    fn idle(&mut self) {}

    fn close(self) -> Result<(), StoreError> {
        self.feed.close();
        match self.shared.close() {
            Some(database) => catch_panic(|| database.close().map_err(failed)),
            None => Ok(()),
        }
    }
}
