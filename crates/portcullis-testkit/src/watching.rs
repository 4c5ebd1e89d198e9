//! Watches the change feed of a store.

use std::time::{Duration, Instant};

use futures_util::stream::{BoxStream, StreamExt};
use portcullis::Id;
use portcullis::store::{Change, Kind, Position, Store, StoreError};

/// A stream of changes, and all events that it has reported so far.
pub(crate) struct Watching {
    stream: BoxStream<'static, Result<Change, StoreError>>,
    events: Vec<Change>,
    deadline: Duration,
}

impl Watching {
    pub(crate) async fn new(store: &dyn Store, after: Position, deadline: Duration) -> Self {
        Self { stream: store.watch(after).await.expect("watch"), events: Vec::new(), deadline }
    }

    /// Waits for the next event; `None` at the end.
    pub(crate) async fn next_or_end(&mut self) -> Option<Change> {
        let Ok(next) = tokio::time::timeout(self.deadline, self.stream.next()).await else {
            panic!("no event within {:?}, after {:?}", self.deadline, self.events);
        };
        let change = next.map(|change| change.expect("an error instead of a change"));
        if let Some(Change::Fresh { as_of }) = change {
            assert!(as_of <= Instant::now(), "fresh as of a time in the future");
        }
        self.events.extend(change);
        change
    }

    /// Waits for the next event.
    pub(crate) async fn next(&mut self) -> Change {
        self.next_or_end().await.expect("the stream ended")
    }

    /// Polls once without waiting, and drops the future.
    pub(crate) fn poll_once(&mut self) {
        use futures_util::FutureExt;

        if let Some(next) = self.stream.next().now_or_never() {
            let change = next.expect("the stream ended");
            self.events.push(change.expect("an error instead of a change"));
        }
    }

    /// Waits until everything committed before this call is reported.
    pub(crate) async fn until_fresh(&mut self) {
        self.until_fresh_as_of(Instant::now()).await;
    }

    /// Waits until everything committed before the instant is reported.
    pub(crate) async fn until_fresh_as_of(&mut self, instant: Instant) {
        let deadline = self.deadline;
        let fresh = async {
            loop {
                if matches!(self.next().await, Change::Fresh { as_of } if as_of >= instant) {
                    return;
                }
            }
        };
        if tokio::time::timeout(deadline, fresh).await.is_err() {
            panic!("not fresh within {deadline:?}");
        }
    }

    /// Returns all events so far.
    pub(crate) fn events(&self) -> &[Change] {
        &self.events
    }

    /// Discards the events so far.
    pub(crate) fn forget(&mut self) {
        self.events.clear();
    }

    /// Returns the records that were reported as changed, in order.
    pub(crate) fn changed(&self) -> Vec<(Kind, Id)> {
        self.events.iter().filter_map(changed).collect()
    }

    /// Tells whether a resync was reported.
    pub(crate) fn resynced(&self) -> bool {
        self.events.iter().any(|change| matches!(change, Change::Resync { .. }))
    }

    /// Checks that exactly these changes were reported, in order, each at least once.
    #[track_caller]
    pub(crate) fn assert_reported(&self, expected: &[(Kind, Id)]) {
        assert!(!self.resynced(), "a resync for no reason");
        let changed = self.changed();
        let mut rest = changed.iter();
        for (number, change) in expected.iter().enumerate() {
            assert!(
                rest.any(|reported| reported == change),
                "{change:?}, change {number} of {}, was not reported in order: {changed:?}",
                expected.len()
            );
        }
        for reported in &changed {
            assert!(expected.contains(reported), "{reported:?} was reported and did not change");
        }
    }
}

pub(crate) fn changed(change: &Change) -> Option<(Kind, Id)> {
    match change {
        Change::Changed { kind, id, .. } => Some((*kind, *id)),
        _ => None,
    }
}
