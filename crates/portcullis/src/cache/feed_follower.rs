//! Following the store's change feed.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::task::JoinHandle;

use super::Freshness;
use crate::store::{Change, Position, Store, StoreError};

/// The first backoff before the feed is subscribed again after a failure; it doubles each time.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// A task that follows the feed until this is dropped.
#[derive(Debug)]
pub(crate) struct Follower(JoinHandle<()>);

impl Follower {
    /// Subscribes to the feed. It covers every read that begins after this returns, unless the store
    /// fails: then the task retries, and until it succeeds entries are valid for `max_staleness`
    /// only.
    pub(crate) async fn start(store: &Arc<dyn Store>, freshness: Arc<Freshness>) -> Self {
        let mut followed = Followed { store: Arc::downgrade(store), freshness, position: None };
        let feed = followed.subscribe().await;
        Self(tokio::spawn(followed.follow(feed)))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type CommitHealth = BoxStream<'static, Result<Change, StoreError>>;

struct Followed {
    store: Weak<dyn Store>,
    freshness: Arc<Freshness>,
    /// The position of the last event.
    position: Option<Position>,
}

impl Followed {
    /// Subscribes: from the last position, or else from now on.
    async fn subscribe(&mut self) -> Result<Option<CommitHealth>, StoreError> {
        let Some(store) = self.store.upgrade() else { return Ok(None) };
        let position = match self.position {
            Some(position) => position,
            None => {
                let now = store.position().await?;
                // Earlier reads may be from before the position.
                self.freshness.invalidate_all();
                *self.position.insert(now)
            }
        };
        store.watch(position).await.map(Some)
    }

    /// Follows the feed for as long as the store exists.
    async fn follow(mut self, mut feed: Result<Option<CommitHealth>, StoreError>) {
        let mut backoff = FIRST_BACKOFF;
        loop {
            let ended = match feed {
                Ok(Some(changes)) => self.apply(changes, &mut backoff).await,
                Ok(None) => return,
                Err(error) => Err(error),
            };
            match ended {
                Ok(()) => tracing::debug!("the change feed has ended"),
                // A lasting failure is logged once.
                Err(error) if backoff > FIRST_BACKOFF => {
                    tracing::debug!("cannot follow the change feed yet: {error}")
                }
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(cause, "cannot follow the change feed: {error}");
                }
            }
            tokio::time::sleep(backoff).await;
            backoff = (2 * backoff).min(MAX_BACKOFF);
            feed = self.subscribe().await;
        }
    }

    /// Applies events until the feed ends or fails.
    async fn apply(
        &mut self,
        mut changes: CommitHealth,
        backoff: &mut Duration,
    ) -> Result<(), StoreError> {
        while let Some(change) = changes.next().await {
            match change? {
                Change::Changed { kind, id, position } => {
                    self.freshness.invalidate(kind, id);
                    self.position = Some(position);
                }
                Change::Fresh { as_of } => {
                    self.freshness.feed_complete(as_of);
                    *backoff = FIRST_BACKOFF;
                }
                Change::Resync { position } => {
                    self.freshness.invalidate_all();
                    self.position = Some(position);
                }
            }
        }
        Ok(())
    }
}
