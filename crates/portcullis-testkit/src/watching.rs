//! Watching a store.

use std::time::{Duration, Instant};

use futures_util::stream::{BoxStream, StreamExt};
use portcullis::Id;
use portcullis::store::{Change, Kind, Position, Store, StoreError};

/// A stream of changes, and all that it has told so far.
pub(crate) struct Watching {
    stream: BoxStream<'static, Result<Change, StoreError>>,
    told: Vec<Change>,
    patience: Duration,
}

impl Watching {
    pub(crate) async fn new(store: &dyn Store, after: Position, patience: Duration) -> Self {
        Self { stream: store.watch(after).await.expect("watch"), told: Vec::new(), patience }
    }

    /// Waits for what is told next; `None` at the end.
    pub(crate) async fn next_or_end(&mut self) -> Option<Change> {
        let Ok(next) = tokio::time::timeout(self.patience, self.stream.next()).await else {
            panic!("told nothing for {:?}, after {:?}", self.patience, self.told);
        };
        let change = next.map(|change| change.expect("an error instead of a change"));
        if let Some(Change::Fresh { as_of }) = change {
            assert!(as_of <= Instant::now(), "fresh as of a time to come");
        }
        self.told.extend(change);
        change
    }

    /// Waits for what is told next.
    pub(crate) async fn next(&mut self) -> Change {
        self.next_or_end().await.expect("the stream ended")
    }

    /// Asks once, does not wait, and forgets the question.
    pub(crate) fn poll_once(&mut self) {
        use futures_util::FutureExt;

        if let Some(next) = self.stream.next().now_or_never() {
            let change = next.expect("the stream ended");
            self.told.push(change.expect("an error instead of a change"));
        }
    }

    /// Waits until everything committed before this call was told.
    pub(crate) async fn until_fresh(&mut self) {
        self.until_fresh_as_of(Instant::now()).await;
    }

    /// Waits until everything committed before the instant was told.
    pub(crate) async fn until_fresh_as_of(&mut self, instant: Instant) {
        let patience = self.patience;
        let fresh = async {
            loop {
                if matches!(self.next().await, Change::Fresh { as_of } if as_of >= instant) {
                    return;
                }
            }
        };
        if tokio::time::timeout(patience, fresh).await.is_err() {
            panic!("not fresh within {patience:?}");
        }
    }

    /// Everything that was told.
    pub(crate) fn told(&self) -> &[Change] {
        &self.told
    }

    /// Forgets what was told.
    pub(crate) fn forget(&mut self) {
        self.told.clear();
    }

    /// The records that were told to have changed, in order.
    pub(crate) fn changed(&self) -> Vec<(Kind, Id)> {
        self.told.iter().filter_map(changed).collect()
    }

    /// Tells whether a resync was told.
    pub(crate) fn resynced(&self) -> bool {
        self.told.iter().any(|change| matches!(change, Change::Resync { .. }))
    }

    /// Checks that exactly these were told, in order, though perhaps more than once.
    #[track_caller]
    pub(crate) fn assert_told(&self, expected: &[(Kind, Id)]) {
        assert!(!self.resynced(), "a resync for no reason");
        let changed = self.changed();
        let mut rest = changed.iter();
        for (place, change) in expected.iter().enumerate() {
            assert!(
                rest.any(|told| told == change),
                "{change:?}, change {place} of {}, was not told in its turn: {changed:?}",
                expected.len()
            );
        }
        for told in &changed {
            assert!(expected.contains(told), "{told:?} was told and did not change");
        }
    }
}

pub(crate) fn changed(change: &Change) -> Option<(Kind, Id)> {
    match change {
        Change::Changed { kind, id, .. } => Some((*kind, *id)),
        _ => None,
    }
}
