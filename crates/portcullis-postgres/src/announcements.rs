//! Announces every change once: those of this process when they are committed, those of other nodes
//! when a poll finds them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis::Id;
use portcullis::store::{Kind, Position};
use portcullis::toolkit::Feed;

/// A change that a poll has found: its batch, unless it was made by hand, and its record.
pub(crate) type PolledChange = (Option<i64>, Kind, Id);

/// How many announced batches are remembered. Those beyond are announced twice.
const MAX_BATCHES: usize = 4_096;

/// The feed, and the batches of this process that were announced to it.
///
/// A batch is announced by the first of two tasks, the one that commits it or the one that polls; the
/// other one skips it.
pub(crate) struct Announcements {
    feed: Arc<Feed>,
    batches: Mutex<HashMap<i64, State>>,
}

#[derive(Clone, Copy)]
enum State {
    /// The commit is in progress.
    Committing,
    /// Announced by the task that committed it. Remembered until no poll can find it any more.
    Announced,
    /// Found and announced by a poll before the committing task received its response.
    Polled(Position),
}

impl Announcements {
    pub(crate) fn new(feed: Arc<Feed>) -> Self {
        Self { feed, batches: Mutex::default() }
    }

    pub(crate) fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// Registers a batch that a poll may find from now on.
    pub(crate) fn begin_commit(&self, batch: i64) {
        self.batches().insert(batch, State::Committing);
    }

    /// Announces the changes of a committed batch, unless a poll has done so, and returns the
    /// position after it.
    pub(crate) fn committed(
        &self,
        batch: i64,
        changes: impl Iterator<Item = (Kind, Id)>,
    ) -> Position {
        let mut batches = self.batches();
        if let Some(State::Polled(position)) = batches.remove(&batch) {
            return position;
        }
        if batches.len() < MAX_BATCHES {
            batches.insert(batch, State::Announced);
        }
        // Under the lock, so that no poll announces it meanwhile.
        self.feed.announce(changes)
    }

    /// Forgets a batch that was not committed, or whose commit is ambiguous: it is announced if a
    /// poll finds it.
    pub(crate) fn abandon_commit(&self, batch: i64) {
        self.batches().remove(&batch);
    }

    /// Returns the batches that a poll may skip. All their changes were committed and announced
    /// before this call.
    pub(crate) fn announced(&self) -> Vec<i64> {
        let batches = self.batches();
        let announced = batches.iter().filter(|(_, state)| matches!(state, State::Announced));
        announced.map(|(batch, _)| *batch).collect()
    }

    /// Announces what a poll has found that began after `announced` was read, except what was
    /// announced since. Later polls will not find it again.
    pub(crate) fn polled(&self, announced: &[i64], changes: Vec<PolledChange>) {
        let mut batches = self.batches();
        for batch in announced {
            batches.remove(batch);
        }
        let unannounced = changes.iter().filter(|(batch, ..)| {
            let state = batch.and_then(|batch| batches.get(&batch));
            !matches!(state, Some(State::Announced))
        });
        let position = self.feed.announce(unannounced.map(|(_, kind, id)| (*kind, *id)));
        for batch in changes.into_iter().filter_map(|(batch, ..)| batch) {
            match batches.get_mut(&batch) {
                Some(state @ State::Committing) => *state = State::Polled(position),
                Some(State::Announced) => {
                    batches.remove(&batch);
                }
                Some(State::Polled(_)) | None => {}
            }
        }
    }

    /// Announces that changes were missed.
    pub(crate) fn missed(&self, announced: &[i64]) {
        let mut batches = self.batches();
        for batch in announced {
            batches.remove(batch);
        }
        self.feed.resync(self.feed.position().sequence());
    }

    fn batches(&self) -> MutexGuard<'_, HashMap<i64, State>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(ids: impl IntoIterator<Item = u64>) -> impl Iterator<Item = (Kind, Id)> {
        ids.into_iter().map(|id| (Kind::User, Id::from_u64(id)))
    }

    fn polled(batch: i64, ids: impl IntoIterator<Item = u64>) -> Vec<PolledChange> {
        changes(ids).map(|(kind, id)| (Some(batch), kind, id)).collect()
    }

    fn sequence(announcements: &Announcements) -> u128 {
        announcements.feed.position().sequence()
    }

    fn new() -> Announcements {
        Announcements::new(Feed::of_shared_store(1, 0))
    }

    #[test]
    fn a_batch_is_announced_once_by_its_commit_or_by_a_poll() {
        let committed_first = new();
        committed_first.begin_commit(7);
        let position = committed_first.committed(7, changes([1, 2]));
        assert_eq!(position.sequence(), 2);
        assert_eq!(committed_first.announced(), [7]);
        committed_first.polled(&[7], Vec::new());
        assert_eq!(sequence(&committed_first), 2);
        assert!(committed_first.announced().is_empty());

        let found_first = new();
        found_first.begin_commit(7);
        found_first.polled(&[], polled(7, [1, 2]));
        assert_eq!(sequence(&found_first), 2);
        assert_eq!(found_first.committed(7, changes([1, 2])).sequence(), 2);
        assert_eq!(sequence(&found_first), 2);

        // The poll began before the commit, and ends after it.
        let meanwhile = new();
        meanwhile.begin_commit(7);
        let announced = meanwhile.announced();
        meanwhile.committed(7, changes([1]));
        meanwhile.polled(&announced, polled(7, [1]));
        assert_eq!(sequence(&meanwhile), 1);
        assert!(meanwhile.announced().is_empty());
    }

    #[test]
    fn an_ambiguous_commit_is_announced_when_a_poll_finds_it() {
        let announcements = new();
        announcements.begin_commit(7);
        announcements.abandon_commit(7);
        announcements.polled(&[], polled(7, [1]));
        assert_eq!(sequence(&announcements), 1);
        announcements.polled(&[], vec![(None, Kind::Org, Id::from_u64(3))]);
        assert_eq!(sequence(&announcements), 2);
    }
}
