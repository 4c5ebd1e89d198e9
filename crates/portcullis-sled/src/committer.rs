//! Group commit: many batches, one transaction, one wait for the disk.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use portcullis::Id;
use portcullis::store::{Kind, Operation, Position, StoreError};
use portcullis::toolkit::{Committer, Feed};

use crate::edits::{Draft, Edits};
use crate::error::{Failure, guarded};
use crate::open::Location;
use crate::shared::{Shared, State};

/// Writes, and tells the feed what was written.
pub(crate) struct SledCommitter {
    location: Location,
    shared: Arc<Shared>,
    feed: Arc<Feed>,
    /// What has changed since a backup began, if one is being made.
    noted: Option<Noted>,
}

/// What has changed since a backup began.
struct Noted {
    /// Gone when the backup is given up.
    backup: Weak<()>,
    changed: BTreeSet<(Kind, Id)>,
}

/// What a batch changes, or why it is refused.
type Drafted = Result<Vec<(Kind, Id)>, StoreError>;

impl SledCommitter {
    pub(crate) fn new(location: Location, shared: Arc<Shared>, feed: Arc<Feed>) -> Self {
        Self { location, shared, feed, noted: None }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Notes from now on what changes, for a backup, until that is given up. One at a time.
    pub(crate) fn begin_to_note(&mut self, backup: Weak<()>) {
        self.noted = Some(Noted { backup, changed: BTreeSet::new() });
    }

    /// Returns what has changed since then.
    pub(crate) fn end_noting(&mut self) -> BTreeSet<(Kind, Id)> {
        self.noted.take().map(|noted| noted.changed).unwrap_or_default()
    }

    fn draft(&self, group: &[Vec<Operation>]) -> Result<(Vec<Drafted>, Edits), StoreError> {
        self.shared.read(|state| {
            let mut draft = Draft::on(state.trees()?);
            let drafted = guarded(|| Ok(group.iter().map(|batch| draft.add(batch)).collect()))?;
            Ok((drafted, draft.into_edits()))
        })
    }

    fn write(&self, edits: &Edits) -> Result<(), Failure> {
        // Readers wait while it is applied, not while it is made durable.
        self.shared.write(|state| match state {
            State::Open(trees) => guarded(|| trees.write(edits)),
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

    /// Opens the database anew, since nobody knows what a failure has left of it in memory.
    pub(crate) fn reopen(&mut self) {
        let opened = self.shared.write(|state| {
            // sled lets go of its files when the last handle is gone.
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
        let (drafted, edits) = match self.draft(group) {
            Ok(drafted) => drafted,
            Err(error) => {
                let again =
                    group.iter().skip(1).map(|_| Err(StoreError::unavailable("sled failed")));
                return std::iter::once(Err(error)).chain(again).collect();
            }
        };
        if !edits.is_empty()
            && let Err(failure) = self.write(&edits)
        {
            tracing::error!(error = %failure, "a commit failed: the database is opened again");
            self.reopen();
            return drafted
                .into_iter()
                .map(|drafted| match drafted {
                    Ok(_) => Err(StoreError::indeterminate(failure.clone())),
                    // It was not applied, and why it was refused is in doubt as well.
                    Err(_) => Err(failure.clone().into()),
                })
                .collect();
        }
        self.noted.take_if(|noted| noted.backup.strong_count() == 0);
        let tell = |drafted: Drafted| {
            let changed = drafted?;
            if let Some(noted) = &mut self.noted {
                noted.changed.extend(changed.iter().copied());
            }
            Ok(self.feed.announce(changed))
        };
        drafted.into_iter().map(tell).collect()
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
