//! What is told of changes, once each: those of this process when they are committed, those of
//! others when they are found.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis::Id;
use portcullis::store::{Kind, Position};
use portcullis::toolkit::Feed;

/// A change that was found: by which batch it was made, if that is known, and of what it is.
pub(crate) type Found = (Option<i64>, Kind, Id);

/// How many batches are known to have been told. More of them between two looks are told twice.
const MOST: usize = 4_096;

/// The feed, and which batches of this process it was told of.
///
/// A batch is told by whoever comes first, the task that commits it or the one that looks for
/// changes, and the other one leaves it.
pub(crate) struct Announcements {
    feed: Arc<Feed>,
    batches: Mutex<HashMap<i64, State>>,
}

#[derive(Clone, Copy)]
enum State {
    /// It is being committed.
    Committing,
    /// Told by the task that has committed it. Kept until that can no longer be found.
    Told,
    /// Found, and told, before the task that commits it has got its answer.
    Found(Position),
}

impl Announcements {
    pub(crate) fn new(feed: Arc<Feed>) -> Self {
        Self { feed, batches: Mutex::default() }
    }

    pub(crate) fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// Says that the batch may be found from now on.
    pub(crate) fn commits(&self, batch: i64) {
        self.batches().insert(batch, State::Committing);
    }

    /// Tells what the batch has changed, unless it was found already, and returns the position
    /// after it.
    pub(crate) fn committed(
        &self,
        batch: i64,
        changes: impl Iterator<Item = (Kind, Id)>,
    ) -> Position {
        let mut batches = self.batches();
        if let Some(State::Found(position)) = batches.remove(&batch) {
            return position;
        }
        if batches.len() < MOST {
            batches.insert(batch, State::Told);
        }
        // While it is locked, so that nobody else tells it meanwhile.
        self.feed.announce(changes)
    }

    /// Says that the batch was not committed, or that nobody knows: it is told if it is found.
    pub(crate) fn gave_up(&self, batch: i64) {
        self.batches().remove(&batch);
    }

    /// The batches that need not be found, since they were told. Everything about them was
    /// committed before this call.
    pub(crate) fn told(&self) -> Vec<i64> {
        let batches = self.batches();
        let told = batches.iter().filter(|(_, state)| matches!(state, State::Told));
        told.map(|(batch, _)| *batch).collect()
    }

    /// Tells what was found in a look that began after `told` was asked for, except for what was
    /// told since. The next look will not find them.
    pub(crate) fn found(&self, told: &[i64], changes: Vec<Found>) {
        let mut batches = self.batches();
        for batch in told {
            batches.remove(batch);
        }
        let news = changes.iter().filter(|(batch, ..)| {
            let state = batch.and_then(|batch| batches.get(&batch));
            !matches!(state, Some(State::Told))
        });
        let position = self.feed.announce(news.map(|(_, kind, id)| (*kind, *id)));
        for batch in changes.into_iter().filter_map(|(batch, ..)| batch) {
            match batches.get_mut(&batch) {
                Some(state @ State::Committing) => *state = State::Found(position),
                Some(State::Told) => {
                    batches.remove(&batch);
                }
                Some(State::Found(_)) | None => {}
            }
        }
    }

    /// Says that changes were missed.
    pub(crate) fn missed(&self, told: &[i64]) {
        let mut batches = self.batches();
        for batch in told {
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

    fn found(batch: i64, ids: impl IntoIterator<Item = u64>) -> Vec<Found> {
        changes(ids).map(|(kind, id)| (Some(batch), kind, id)).collect()
    }

    fn place(announcements: &Announcements) -> u128 {
        announcements.feed.position().sequence()
    }

    fn new() -> Announcements {
        Announcements::new(Feed::of_shared_store(1, 0))
    }

    #[test]
    fn a_batch_is_told_once_whoever_comes_first() {
        let committed_first = new();
        committed_first.commits(7);
        let position = committed_first.committed(7, changes([1, 2]));
        assert_eq!(position.sequence(), 2);
        assert_eq!(committed_first.told(), [7]);
        committed_first.found(&[7], Vec::new());
        assert_eq!(place(&committed_first), 2);
        assert!(committed_first.told().is_empty());

        let found_first = new();
        found_first.commits(7);
        found_first.found(&[], found(7, [1, 2]));
        assert_eq!(place(&found_first), 2);
        assert_eq!(found_first.committed(7, changes([1, 2])).sequence(), 2);
        assert_eq!(place(&found_first), 2);

        // The look began before it was committed, and ends after.
        let meanwhile = new();
        meanwhile.commits(7);
        let told = meanwhile.told();
        meanwhile.committed(7, changes([1]));
        meanwhile.found(&told, found(7, [1]));
        assert_eq!(place(&meanwhile), 1);
        assert!(meanwhile.told().is_empty());
    }

    #[test]
    fn what_nobody_knows_is_told_when_it_is_found() {
        let announcements = new();
        announcements.commits(7);
        announcements.gave_up(7);
        announcements.found(&[], found(7, [1]));
        assert_eq!(place(&announcements), 1);
        announcements.found(&[], vec![(None, Kind::Org, Id::from_u64(3))]);
        assert_eq!(place(&announcements), 2);
    }
}
