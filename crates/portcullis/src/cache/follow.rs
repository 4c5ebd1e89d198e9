//! Following the store's feed of changes.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::task::JoinHandle;

use super::Trust;
use crate::store::{Change, Position, Store, StoreError};

/// How long to wait before the feed is asked for again when it failed: doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A task that listens to the feed for as long as this is kept.
#[derive(Debug)]
pub(crate) struct Follower(JoinHandle<()>);

impl Follower {
    /// Begins to listen. What is read after this has returned is covered by the feed, unless the
    /// store fails: then it is asked again, and nothing is trusted for long until it answers.
    pub(crate) async fn start(store: &Arc<dyn Store>, trust: Arc<Trust>) -> Self {
        let mut followed = Followed { store: Arc::downgrade(store), trust, position: None };
        let feed = followed.subscribe().await;
        Self(tokio::spawn(followed.follow(feed)))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type Changes = BoxStream<'static, Result<Change, StoreError>>;

struct Followed {
    store: Weak<dyn Store>,
    trust: Arc<Trust>,
    /// Up to where changes were heard.
    position: Option<Position>,
}

impl Followed {
    /// Asks for the feed: from where it broke off, or else from now on.
    async fn subscribe(&mut self) -> Result<Option<Changes>, StoreError> {
        let Some(store) = self.store.upgrade() else { return Ok(None) };
        let position = match self.position {
            Some(position) => position,
            None => {
                let now = store.position().await?;
                // What was read before may be from before the position.
                self.trust.forget_everything();
                *self.position.insert(now)
            }
        };
        store.watch(position).await.map(Some)
    }

    /// Listens for as long as there is a store.
    async fn follow(mut self, mut feed: Result<Option<Changes>, StoreError>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let ended = match feed {
                Ok(Some(changes)) => self.listen(changes, &mut pause).await,
                Ok(None) => return,
                Err(error) => Err(error),
            };
            match ended {
                Ok(()) => tracing::debug!("the store's feed of changes has ended"),
                // What lasts is said once.
                Err(error) if pause > FIRST_PAUSE => tracing::debug!("still: {error}"),
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(cause, "cannot follow the store's changes: {error}");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
            feed = self.subscribe().await;
        }
    }

    /// Listens until the feed ends or fails.
    async fn listen(
        &mut self,
        mut changes: Changes,
        pause: &mut Duration,
    ) -> Result<(), StoreError> {
        while let Some(change) = changes.next().await {
            match change? {
                Change::Changed { kind, id, position } => {
                    self.trust.forget(kind, id);
                    self.position = Some(position);
                }
                Change::Fresh { as_of } => {
                    self.trust.fresh(as_of);
                    *pause = FIRST_PAUSE;
                }
                Change::Resync { position } => {
                    self.trust.forget_everything();
                    self.position = Some(position);
                }
            }
        }
        Ok(())
    }
}
