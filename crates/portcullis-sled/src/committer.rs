//! Group commit: many batches, one transaction, one wait for the disk.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use portcullis::Id;
use portcullis::store::{Kind, Operation, Position, StoreError};
use portcullis::toolkit::ordered::{Edits, Overlay, apply};
use portcullis::toolkit::{Committer, Feed, SharedDatabase, ambiguous};

use crate::open::Location;
use crate::trees::Trees;

/// Commits groups of batches, and announces their changes.
pub(crate) struct SledCommitter {
    location: Location,
    shared: Arc<SharedDatabase<Trees>>,
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
    pub(crate) fn new(
        location: Location,
        shared: Arc<SharedDatabase<Trees>>,
        feed: Arc<Feed>,
    ) -> Self {
        Self { location, shared, feed, changed_during_backup: None }
    }

    pub(crate) fn shared(&self) -> &SharedDatabase<Trees> {
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

    /// Computes the edits of the group before anything is written. There is one writer, so its reads stay
    /// valid until it writes. Refused batches have no edits, and the transaction of sled has nothing to
    /// decide.
    fn build(&self, group: &[Vec<Operation>]) -> Result<(Vec<BatchOutcome>, Edits), StoreError> {
        self.shared.read(|trees| {
            let mut edits = Overlay::on(trees);
            let mut outcomes = Vec::with_capacity(group.len());
            for batch in group {
                let mut step = Overlay::on(&edits);
                let outcome = apply(&mut step, batch);
                let step = step.into_edits();
                if outcome.is_ok() {
                    step.write_to(&mut edits)?;
                }
                outcomes.push(outcome);
            }
            Ok((outcomes, edits.into_edits()))
        })
    }

    fn write(&self, edits: &Edits) -> Result<(), StoreError> {
        // Readers wait while it is applied, not while it is made durable.
        self.shared.write(|trees| Ok(trees.write(edits)?))?;
        self.shared.read(|trees| Ok(trees.make_durable()?))
    }

    /// Opens the database again: after a failure its state in memory is undefined.
    fn reopen(&self) {
        self.shared.reopen(|| Ok(self.location.trees()?));
        self.feed.resync(self.feed.position().sequence());
    }
}

impl Committer for SledCommitter {
    const IDLE_EVERY: Option<Duration> = None;

    fn commit(&mut self, group: &[Vec<Operation>]) -> Vec<Result<Position, StoreError>> {
        if self.shared.is_broken() {
            self.reopen();
        }
        let (outcomes, edits) = match self.build(group) {
            Ok(built) => built,
            Err(error) => {
                let others =
                    group.iter().skip(1).map(|_| Err(StoreError::unavailable("sled failed")));
                return std::iter::once(Err(error)).chain(others).collect();
            }
        };
        if !edits.is_empty()
            && let Err(failure) = self.write(&edits)
        {
            let cause = std::error::Error::source(&failure).map(ToString::to_string);
            tracing::error!(cause, "a commit failed: the database is opened again");
            self.reopen();
            return ambiguous(outcomes, failure);
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
        match self.shared.close() {
            Some(trees) => Ok(trees.make_durable()?),
            None => Ok(()),
        }
    }
}
