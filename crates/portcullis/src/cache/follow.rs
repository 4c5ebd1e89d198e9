//! Following the store's feed of changes.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
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
    /// Begins to listen.
    pub(crate) fn start(store: &Arc<dyn Store>, trust: Arc<Trust>) -> Self {
        Self(tokio::spawn(follow(Arc::downgrade(store), trust)))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn follow(store: Weak<dyn Store>, trust: Arc<Trust>) {
    let mut position = None;
    let mut pause = FIRST_PAUSE;
    loop {
        let ended = listen(&store, &mut position, &trust, &mut pause).await;
        match ended {
            Ok(()) if store.strong_count() == 0 => return,
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
    }
}

/// Listens until the feed ends or fails; goes on from the position, if there is one.
async fn listen(
    store: &Weak<dyn Store>,
    position: &mut Option<Position>,
    trust: &Trust,
    pause: &mut Duration,
) -> Result<(), StoreError> {
    let mut feed = {
        let Some(store) = store.upgrade() else { return Ok(()) };
        let from = match *position {
            Some(position) => position,
            None => {
                let begin = store.position().await?;
                // What was read before may be from before the position.
                trust.forget_everything();
                begin
            }
        };
        *position = Some(from);
        store.watch(from).await?
    };
    while let Some(change) = feed.next().await {
        match change? {
            Change::Changed { kind, id, position: after } => {
                trust.forget(kind, id);
                *position = Some(after);
            }
            Change::Fresh { as_of } => {
                trust.fresh(as_of);
                *pause = FIRST_PAUSE;
            }
            Change::Resync { position: after } => {
                trust.forget_everything();
                *position = Some(after);
            }
        }
    }
    Ok(())
}
