//! Group commit: many batches, one transaction, one wait for the disk.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use portcullis::Id;
use portcullis::store::{Kind, Operation, Position, StoreError};
use portcullis::toolkit::{Committer, Feed};

use crate::error::{Failure, guarded};
use crate::open::Location;
use crate::shared::{Shared, State};
use crate::write_set::{WriteBuilder, WriteSet};

/// Commits groups of batches, and announces their changes.
pub(crate) struct SledCommitter {
    location: Location,
    shared: Arc<Shared>,
    feed: Arc<Feed>,
    /// What has changed since the current backup began.
    changed_during_backup: Option<ChangedDuringBackup>,
}

struct ChangedDuringBackup {
    /// Dangling once the backup is cancelled.
    backup: Weak<()>,
    records: BTreeSet<(Kind, Id)>,
}

/// The records that a batch changes, or why it is refused.
type BatchOutcome = Result<Vec<(Kind, Id)>, StoreError>;

impl SledCommitter {
    pub(crate) fn new(location: Location, shared: Arc<Shared>, feed: Arc<Feed>) -> Self {
        Self { location, shared, feed, changed_during_backup: None }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Collects changed records from now on, until the backup ends or is cancelled. There is one
    /// backup at a time.
    pub(crate) fn begin_backup(&mut self, backup: Weak<()>) {
        let records = BTreeSet::new();
        self.changed_during_backup = Some(ChangedDuringBackup { backup, records });
    }

    /// Returns the records that have changed since the backup began.
    pub(crate) fn end_backup(&mut self) -> BTreeSet<(Kind, Id)> {
        self.changed_during_backup.take().map(|changed| changed.records).unwrap_or_default()
    }

    fn build(&self, group: &[Vec<Operation>]) -> Result<(Vec<BatchOutcome>, WriteSet), StoreError> {
        self.shared.read(|state| {
            let mut builder = WriteBuilder::on(state.trees()?);
            let outcomes = guarded(|| Ok(group.iter().map(|batch| builder.add(batch)).collect()))?;
            Ok((outcomes, builder.into_write_set()))
        })
    }

    fn write(&self, write_set: &WriteSet) -> Result<(), Failure> {
        // Readers wait while it is applied, not while it is made durable.
        self.shared.write(|state| match state {
            State::Open(trees) => guarded(|| trees.write(write_set)),
            _ => Err(Failure::Broken("it was closed meanwhile".into())),
        })?;
        self.make_durable()
    }

    pub(crate) fn make_durable(&self) -> Result<(), Failure> {
        self.shared.read(|state| match state {
            State::Open(trees) => trees.make_durable(),
            _ => Err(Failure::Broken("it was closed meanwhile".into())),
        })
    }

    /// Opens the database again: after a failure its state in memory is undefined.
    pub(crate) fn reopen(&mut self) {
        let opened = self.shared.write(|state| {
            // sled releases its files when the last handle is dropped.
            *state = State::Broken("it is being opened".into());
            match self.location.trees() {
                Ok(trees) => {
                    *state = State::Open(trees);
                    Ok(())
                }
                Err(failure) => {
                    *state = State::Broken(failure.to_string().into());
                    Err(failure)
                }
            }
        });
        if let Err(error) = opened {
            tracing::error!(%error, "the database cannot be opened again for now");
        }
        self.feed.resync(self.feed.position().sequence());
    }

    fn reopen_if_broken(&mut self) {
        if self.shared.read(|state| matches!(state, State::Broken(_))) {
            self.reopen();
        }
    }
}

impl Committer for SledCommitter {
    const IDLE_EVERY: Option<Duration> = None;

    fn commit(&mut self, group: &[Vec<Operation>]) -> Vec<Result<Position, StoreError>> {
        self.reopen_if_broken();
        let (outcomes, write_set) = match self.build(group) {
            Ok(built) => built,
            Err(error) => {
                let others =
                    group.iter().skip(1).map(|_| Err(StoreError::unavailable("sled failed")));
                return std::iter::once(Err(error)).chain(others).collect();
            }
        };
        if !write_set.is_empty()
            && let Err(failure) = self.write(&write_set)
        {
            tracing::error!(error = %failure, "a commit failed: the database is opened again");
            self.reopen();
            let ambiguous = outcomes.into_iter().map(|outcome| match outcome {
                Ok(_) => Err(StoreError::indeterminate(failure.clone())),
                // It was not applied, and the reason for its refusal may be ambiguous as well.
                Err(_) => Err(failure.clone().into()),
            });
            return ambiguous.collect();
        }
        self.changed_during_backup.take_if(|changed| changed.backup.strong_count() == 0);
        let announce = |outcome: BatchOutcome| {
            let records = outcome?;
            if let Some(changed) = &mut self.changed_during_backup {
                changed.records.extend(records.iter().copied());
            }
            Ok(self.feed.announce(records))
        };
        outcomes.into_iter().map(announce).collect()
    }

    fn idle(&mut self) {}

    fn close(self) -> Result<(), StoreError> {
        self.feed.close();
        let durable = match self.shared.read(|state| matches!(state, State::Open(_))) {
            true => self.make_durable(),
            false => Ok(()),
        };
        self.shared.write(|state| *state = State::Closed);
        durable.map_err(StoreError::from)
    }
}
