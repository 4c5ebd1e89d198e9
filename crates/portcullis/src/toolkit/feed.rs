//! The recent changes of a store, for its watchers.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::watch;

use crate::Id;
use crate::store::{Change, Kind, Position, StoreError};
use crate::sync::lock;

/// The recent changes of a store that has one writer in this process, for any number of watchers.
///
/// The writer announces changes in the order of commits; each watcher reads at its own speed. The log
/// is bounded: a watcher that falls behind it receives [`Change::Resync`], so a watcher that does not
/// read costs nothing. Sequence numbers count up by one.
pub struct Feed {
    incarnation: u128,
    freshness: Freshness,
    state: Mutex<State>,
    wake: watch::Sender<()>,
}

/// How a [`Feed`] finds out that all commits up to an instant were announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freshness {
    /// Commit and announcement are one step, so they always are.
    Always,
    /// The store reports it with [`Feed::fresh`].
    Reported,
}

struct State {
    log: VecDeque<(Kind, Id)>,
    /// The sequence of the last change announced.
    last: u128,
    /// How often changes were missed, and up to which sequence the last time. A watcher of that time
    /// cannot continue, nor can a stream begin after an earlier position.
    resyncs: u64,
    resync_at: Option<u128>,
    fresh: Option<Instant>,
    closed: bool,
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("position", &self.position()).finish_non_exhaustive()
    }
}

impl Feed {
    /// The most changes in the log.
    pub const CAPACITY: usize = 16_384;

    /// The period of [`Change::Fresh`] while nothing changes.
    pub const FRESH_EVERY: Duration = Duration::from_millis(250);

    /// The most changes that a watcher takes at a time.
    const CHUNK: usize = 256;

    /// Creates the feed of a store in which commit and [`announce`](Feed::announce) are one step for
    /// watchers. Watching needs a runtime with its time driver enabled.
    pub fn single_process(incarnation: u128) -> Arc<Self> {
        Self::new(incarnation, 0, Freshness::Always)
    }

    /// Creates the feed of a store that other processes may change as well. It continues from the
    /// sequence, and is fresh when the store [reports](Feed::fresh) it.
    pub fn of_shared_store(incarnation: u128, sequence: u128) -> Arc<Self> {
        Self::new(incarnation, sequence, Freshness::Reported)
    }

    fn new(incarnation: u128, sequence: u128, freshness: Freshness) -> Arc<Self> {
        let state = State {
            log: VecDeque::new(),
            last: sequence,
            resyncs: 0,
            resync_at: None,
            fresh: None,
            closed: false,
        };
        let wake = watch::Sender::new(());
        Arc::new(Self { incarnation, freshness, state: Mutex::new(state), wake })
    }

    /// Adds changes in the order of their commits, and returns the position after them.
    pub fn announce(&self, changes: impl IntoIterator<Item = (Kind, Id)>) -> Position {
        let mut state = self.state();
        for change in changes {
            if state.log.len() == Self::CAPACITY {
                state.log.pop_front();
            }
            state.log.push_back(change);
            state.last += 1;
        }
        let position = Position::new(self.incarnation, state.last);
        drop(state);
        self.wake();
        position
    }

    /// Reports that everything committed before the instant has been announced.
    pub fn fresh(&self, as_of: Instant) {
        self.state().fresh = Some(as_of);
        self.wake();
    }

    /// Reports that changes were missed, and continues from the sequence.
    pub fn resync(&self, sequence: u128) {
        let mut state = self.state();
        state.log.clear();
        state.last = state.last.max(sequence);
        state.resync_at = Some(state.last);
        state.resyncs += 1;
        state.fresh = None;
        drop(state);
        self.wake();
    }

    /// Ends every stream.
    pub fn close(&self) {
        self.state().closed = true;
        self.wake();
    }

    /// Returns the position after the last change announced.
    pub fn position(&self) -> Position {
        Position::new(self.incarnation, self.state().last)
    }

    /// Streams every change after the position.
    pub fn watch(
        self: &Arc<Self>,
        after: Position,
    ) -> BoxStream<'static, Result<Change, StoreError>> {
        let watcher = Watcher {
            wake: self.wake.subscribe(),
            feed: Arc::clone(self),
            cursor: (after.incarnation() == self.incarnation).then_some(after.sequence()),
            resyncs: None,
            sent_fresh: None,
        };
        stream::unfold(watcher, |mut watcher| async {
            let changes = watcher.next().await?;
            Some((stream::iter(changes).map(Ok), watcher))
        })
        .flatten()
        .boxed()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn wake(&self) {
        self.wake.send_replace(());
    }
}

struct Watcher {
    feed: Arc<Feed>,
    wake: watch::Receiver<()>,
    /// The sequence of the last change sent; `None` if it belongs to another incarnation.
    cursor: Option<u128>,
    /// The number of resyncs at the last poll; `None` before the first.
    resyncs: Option<u64>,
    sent_fresh: Option<Instant>,
}

impl Watcher {
    /// Waits for the next events; `None` at the end.
    async fn next(&mut self) -> Option<Vec<Change>> {
        loop {
            self.wake.mark_unchanged();
            match self.poll() {
                Poll::End => return None,
                Poll::Send(changes) => return Some(changes),
                Poll::Wait => {}
            }
            match self.feed.freshness {
                Freshness::Reported => self.wake.changed().await.ok()?,
                Freshness::Always => {
                    // Either way it is time to poll again.
                    let _ = tokio::time::timeout(Feed::FRESH_EVERY, self.wake.changed()).await;
                }
            }
        }
    }

    fn poll(&mut self) -> Poll {
        let now = Instant::now();
        let state = self.feed.state();
        if state.closed {
            return Poll::End;
        }
        let log_begin = state.last - state.log.len() as u128;
        let is_complete = |cursor: u128| match self.resyncs {
            Some(resyncs) => resyncs == state.resyncs,
            None => state.resync_at.is_none_or(|at| cursor > at),
        };
        let in_log =
            |cursor: &u128| (log_begin..=state.last).contains(cursor) && is_complete(*cursor);
        let cursor = self.cursor.filter(in_log);
        self.resyncs = Some(state.resyncs);
        let cursor = match cursor {
            Some(cursor) => cursor,
            None => {
                self.cursor = Some(state.last);
                let position = Position::new(self.feed.incarnation, state.last);
                return Poll::Send(vec![Change::Resync { position }]);
            }
        };
        let skip = usize::try_from(cursor - log_begin).unwrap_or(usize::MAX);
        let mut changes: Vec<_> = state
            .log
            .iter()
            .skip(skip)
            .take(Feed::CHUNK)
            .zip(cursor + 1..)
            .map(|(&(kind, id), sequence)| {
                let position = Position::new(self.feed.incarnation, sequence);
                Change::Changed { kind, id, position }
            })
            .collect();
        let cursor = cursor + changes.len() as u128;
        self.cursor = Some(cursor);
        if cursor == state.last
            && let Some(as_of) = self.new_freshness(now, state.fresh)
        {
            self.sent_fresh = Some(as_of);
            changes.push(Change::Fresh { as_of });
        }
        if changes.is_empty() { Poll::Wait } else { Poll::Send(changes) }
    }

    /// Returns the instant up to which the stream is complete, if it is time to send it.
    fn new_freshness(&self, now: Instant, reported: Option<Instant>) -> Option<Instant> {
        match self.feed.freshness {
            Freshness::Always => {
                let due = |sent| now.duration_since(sent) >= Feed::FRESH_EVERY;
                self.sent_fresh.is_none_or(due).then_some(now)
            }
            Freshness::Reported => reported.filter(|as_of| self.sent_fresh < Some(*as_of)),
        }
    }
}

enum Poll {
    End,
    Send(Vec<Change>),
    Wait,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(feed: &Feed, sequence: u128, id: u64) -> Change {
        let position = Position::new(feed.incarnation, sequence);
        Change::Changed { kind: Kind::User, id: Id::from_u64(id), position }
    }

    fn announce(feed: &Feed, ids: impl IntoIterator<Item = u64>) -> Position {
        feed.announce(ids.into_iter().map(|id| (Kind::User, Id::from_u64(id))))
    }

    async fn next(stream: &mut BoxStream<'static, Result<Change, StoreError>>) -> Change {
        stream.next().await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_stream_has_the_changes_after_the_position_then_that_it_is_fresh() {
        let feed = Feed::single_process(7);
        announce(&feed, [1]);
        let after = feed.position();
        announce(&feed, [2, 3]);
        let before_poll = Instant::now();
        let mut stream = feed.watch(after);
        assert_eq!(next(&mut stream).await, changed(&feed, 2, 2));
        assert_eq!(next(&mut stream).await, changed(&feed, 3, 3));
        assert!(matches!(next(&mut stream).await, Change::Fresh { as_of } if as_of > before_poll));
        announce(&feed, [4]);
        assert_eq!(next(&mut stream).await, changed(&feed, 4, 4));
    }

    #[tokio::test]
    async fn a_shared_store_is_fresh_only_when_reported() {
        let feed = Feed::of_shared_store(7, 41);
        let mut stream = feed.watch(feed.position());
        assert!(futures_util::poll!(stream.next()).is_pending());
        let as_of = Instant::now();
        feed.fresh(as_of);
        assert_eq!(next(&mut stream).await, Change::Fresh { as_of });
        announce(&feed, [1]);
        assert_eq!(next(&mut stream).await, changed(&feed, 42, 1));
        assert!(futures_util::poll!(stream.next()).is_pending());
    }

    #[tokio::test]
    async fn a_watcher_that_falls_behind_receives_a_resync_and_continues() {
        let feed = Feed::single_process(7);
        let mut stream = feed.watch(feed.position());
        announce(&feed, 1..=Feed::CAPACITY as u64 + 1);
        let position = feed.position();
        assert_eq!(next(&mut stream).await, Change::Resync { position });
        announce(&feed, [9]);
        assert_eq!(next(&mut stream).await, changed(&feed, position.sequence() + 1, 9));
    }

    #[tokio::test]
    async fn a_foreign_or_future_position_gets_a_resync() {
        let feed = Feed::single_process(7);
        announce(&feed, [1]);
        for after in [Position::new(8, 1), Position::new(7, 2)] {
            let position = feed.position();
            assert_eq!(next(&mut feed.watch(after)).await, Change::Resync { position });
        }
    }

    #[tokio::test]
    async fn resync_reaches_every_watcher_and_close_ends_the_streams() {
        let feed = Feed::of_shared_store(7, 0);
        let mut stream = feed.watch(feed.position());
        assert!(futures_util::poll!(stream.next()).is_pending());
        for sequence in [5, 5, 3] {
            let before = feed.position();
            feed.resync(sequence);
            let position = Position::new(7, 5);
            assert_eq!(next(&mut stream).await, Change::Resync { position });
            assert_eq!(next(&mut feed.watch(before)).await, Change::Resync { position });
            assert!(futures_util::poll!(stream.next()).is_pending());
        }
        feed.close();
        assert!(stream.next().await.is_none());
    }
}
