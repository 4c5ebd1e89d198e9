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

/// The recent changes of a store that has one writer in this process, for everybody who watches.
///
/// The writer announces, in the order of commits; each watcher reads at its own pace. The log is
/// bounded: whoever falls behind it is told to [resync](Change::Resync), so that a watcher that
/// does not read costs nothing. Places count up by one.
///
/// Third parties may build a store on it too.
pub struct Feed {
    incarnation: u128,
    freshness: Freshness,
    state: Mutex<State>,
    wake: watch::Sender<()>,
}

/// How a [`Feed`] knows that all commits up to an instant were announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freshness {
    /// Commit and announcement are one step, so it knows at any time.
    Always,
    /// The store says so with [`Feed::fresh`].
    Told,
}

struct State {
    log: VecDeque<(Kind, Id)>,
    /// Place of the last change announced.
    last: u128,
    /// How often changes were missed, and up to which place the last time: whoever watched then,
    /// or asks for what came after a position of before, cannot go on.
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
    /// How many changes are kept for watchers that are behind.
    pub const CAPACITY: usize = 16_384;

    /// How often watchers are told that they are up to date while nothing changes.
    pub const FRESH_EVERY: Duration = Duration::from_millis(250);

    /// How many changes a watcher takes at a time.
    const CHUNK: usize = 256;

    /// The feed of a store in which commit and [`announce`](Feed::announce) are one step for
    /// whoever watches. Watching needs a runtime with its time driver enabled.
    pub fn single_process(incarnation: u128) -> Arc<Self> {
        Self::new(incarnation, 0, Freshness::Always)
    }

    /// The feed of a store that others may change as well: it goes on from the place and is
    /// [told](Feed::fresh) when it is up to date.
    pub fn of_shared_store(incarnation: u128, place: u128) -> Arc<Self> {
        Self::new(incarnation, place, Freshness::Told)
    }

    fn new(incarnation: u128, place: u128, freshness: Freshness) -> Arc<Self> {
        let state = State {
            log: VecDeque::new(),
            last: place,
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

    /// Says that everything committed before the instant has been announced.
    pub fn fresh(&self, as_of: Instant) {
        self.state().fresh = Some(as_of);
        self.wake();
    }

    /// Says that changes were missed, and goes on from the place.
    pub fn resync(&self, place: u128) {
        let mut state = self.state();
        state.log.clear();
        state.last = state.last.max(place);
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

    /// Tells every change after the position.
    pub fn watch(
        self: &Arc<Self>,
        after: Position,
    ) -> BoxStream<'static, Result<Change, StoreError>> {
        let watcher = Watcher {
            wake: self.wake.subscribe(),
            feed: Arc::clone(self),
            cursor: (after.incarnation() == self.incarnation).then_some(after.sequence()),
            resyncs: None,
            told_fresh: None,
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
    /// Place of the last change told; `None` when it belongs to another incarnation.
    cursor: Option<u128>,
    /// The number of resyncs it knows of; `None` before its first look.
    resyncs: Option<u64>,
    told_fresh: Option<Instant>,
}

impl Watcher {
    /// Waits until there is something to tell; `None` at the end.
    async fn next(&mut self) -> Option<Vec<Change>> {
        loop {
            self.wake.mark_unchanged();
            match self.look() {
                Look::End => return None,
                Look::Tell(changes) => return Some(changes),
                Look::Wait => {}
            }
            match self.feed.freshness {
                Freshness::Told => self.wake.changed().await.ok()?,
                Freshness::Always => {
                    // Either way it is time to look again.
                    let _ = tokio::time::timeout(Feed::FRESH_EVERY, self.wake.changed()).await;
                }
            }
        }
    }

    fn look(&mut self) -> Look {
        let now = Instant::now();
        let state = self.feed.state();
        if state.closed {
            return Look::End;
        }
        let known_until = state.last - state.log.len() as u128;
        let missed_nothing = |cursor: u128| match self.resyncs {
            Some(resyncs) => resyncs == state.resyncs,
            None => state.resync_at.is_none_or(|at| cursor > at),
        };
        let known =
            |cursor: &u128| (known_until..=state.last).contains(cursor) && missed_nothing(*cursor);
        let cursor = self.cursor.filter(known);
        self.resyncs = Some(state.resyncs);
        let cursor = match cursor {
            Some(cursor) => cursor,
            None => {
                self.cursor = Some(state.last);
                let position = Position::new(self.feed.incarnation, state.last);
                return Look::Tell(vec![Change::Resync { position }]);
            }
        };
        let skip = usize::try_from(cursor - known_until).unwrap_or(usize::MAX);
        let mut tell: Vec<_> = state
            .log
            .iter()
            .skip(skip)
            .take(Feed::CHUNK)
            .zip(cursor + 1..)
            .map(|(&(kind, id), place)| {
                let position = Position::new(self.feed.incarnation, place);
                Change::Changed { kind, id, position }
            })
            .collect();
        let cursor = cursor + tell.len() as u128;
        self.cursor = Some(cursor);
        if cursor == state.last
            && let Some(as_of) = self.news_of_freshness(now, state.fresh)
        {
            self.told_fresh = Some(as_of);
            tell.push(Change::Fresh { as_of });
        }
        if tell.is_empty() { Look::Wait } else { Look::Tell(tell) }
    }

    /// Returns the instant up to which everything has been told, if that is worth telling.
    fn news_of_freshness(&self, now: Instant, told_by_store: Option<Instant>) -> Option<Instant> {
        match self.feed.freshness {
            Freshness::Always => {
                let due = |told| now.duration_since(told) >= Feed::FRESH_EVERY;
                self.told_fresh.is_none_or(due).then_some(now)
            }
            Freshness::Told => told_by_store.filter(|as_of| self.told_fresh < Some(*as_of)),
        }
    }
}

enum Look {
    End,
    Tell(Vec<Change>),
    Wait,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(feed: &Feed, place: u128, id: u64) -> Change {
        let position = Position::new(feed.incarnation, place);
        Change::Changed { kind: Kind::User, id: Id::from_u64(id), position }
    }

    fn announce(feed: &Feed, ids: impl IntoIterator<Item = u64>) -> Position {
        feed.announce(ids.into_iter().map(|id| (Kind::User, Id::from_u64(id))))
    }

    async fn next(stream: &mut BoxStream<'static, Result<Change, StoreError>>) -> Change {
        stream.next().await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn tells_what_came_after_the_position_then_that_it_is_fresh() {
        let feed = Feed::single_process(7);
        announce(&feed, [1]);
        let after = feed.position();
        announce(&feed, [2, 3]);
        let before_look = Instant::now();
        let mut stream = feed.watch(after);
        assert_eq!(next(&mut stream).await, changed(&feed, 2, 2));
        assert_eq!(next(&mut stream).await, changed(&feed, 3, 3));
        assert!(matches!(next(&mut stream).await, Change::Fresh { as_of } if as_of > before_look));
        announce(&feed, [4]);
        assert_eq!(next(&mut stream).await, changed(&feed, 4, 4));
    }

    #[tokio::test]
    async fn a_shared_store_is_fresh_only_when_told() {
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
    async fn whoever_falls_behind_is_told_to_resync_and_goes_on() {
        let feed = Feed::single_process(7);
        let mut stream = feed.watch(feed.position());
        announce(&feed, 1..=Feed::CAPACITY as u64 + 1);
        let position = feed.position();
        assert_eq!(next(&mut stream).await, Change::Resync { position });
        announce(&feed, [9]);
        assert_eq!(next(&mut stream).await, changed(&feed, position.sequence() + 1, 9));
    }

    #[tokio::test]
    async fn a_foreign_or_future_position_is_told_to_resync() {
        let feed = Feed::single_process(7);
        announce(&feed, [1]);
        for after in [Position::new(8, 1), Position::new(7, 2)] {
            let position = feed.position();
            assert_eq!(next(&mut feed.watch(after)).await, Change::Resync { position });
        }
    }

    #[tokio::test]
    async fn resync_reaches_those_who_watch_and_close_ends_them() {
        let feed = Feed::of_shared_store(7, 0);
        let mut stream = feed.watch(feed.position());
        assert!(futures_util::poll!(stream.next()).is_pending());
        for place in [5, 5, 3] {
            let before = feed.position();
            feed.resync(place);
            let position = Position::new(7, 5);
            assert_eq!(next(&mut stream).await, Change::Resync { position });
            assert_eq!(next(&mut feed.watch(before)).await, Change::Resync { position });
            assert!(futures_util::poll!(stream.next()).is_pending());
        }
        feed.close();
        assert!(stream.next().await.is_none());
    }
}
