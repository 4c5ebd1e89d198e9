//! Whether what is remembered is used, for whoever watches.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::Trust;
use crate::Clock;

/// Whether an [`Engine`](crate::Engine) answers logins from memory, and why (not).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrustState {
    /// The store's feed of changes is good: who is known is let in from memory.
    Fresh,
    /// The feed is older than `max_staleness`: credentials are read from the store again.
    Stale,
    /// The store does not answer either, and the operator has said for how long who is known is
    /// let in without it ([`CacheConfig::stale_if_error`](crate::CacheConfig::stale_if_error)).
    Grace,
    /// The store does not answer: logins are refused as unavailable.
    Unavailable,
}

impl TrustState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Fresh, Self::Stale, Self::Grace, Self::Unavailable];

    /// Returns the word for it: `fresh`, `stale`, `grace` or `unavailable`.
    ///
    /// ```
    /// use portcullis::TrustState;
    ///
    /// assert_eq!(TrustState::ALL.map(TrustState::as_str), ["fresh", "stale", "grace", "unavailable"]);
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Grace => "grace",
            Self::Unavailable => "unavailable",
        }
    }
}

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(250);

/// A task that logs every change of the state, for as long as this is kept. Not those who log in do
/// so: there are many of them, and none when nobody logs in.
#[derive(Debug)]
pub(crate) struct Observer(JoinHandle<()>);

impl Observer {
    pub(crate) fn start(trust: Arc<Trust>, clock: Arc<dyn Clock>) -> Self {
        Self(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut told = TrustState::Fresh;
            loop {
                ticks.tick().await;
                let now = trust.moment(clock.instant());
                let state = trust.state(now);
                if state != told {
                    tell(state, trust.feed_age(now), trust.grace_left(now));
                    told = state;
                }
            }
        }))
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One line for the change to the state.
fn tell(state: TrustState, feed_age: Option<Duration>, grace_left: Option<Duration>) {
    let feed_age = tracing::field::debug(feed_age.unwrap_or_default());
    match state {
        TrustState::Fresh => {
            tracing::info!(
                "the store's changes are known again: who is known is let in from memory"
            );
        }
        TrustState::Stale => {
            tracing::warn!(
                feed_age,
                "the store's changes are not known: credentials are read from the store again"
            );
        }
        TrustState::Grace => {
            let left = tracing::field::debug(grace_left.unwrap_or_default());
            tracing::warn!(
                feed_age,
                left,
                "the store does not answer: who is known is let in without it, as --stale-if-error \
                 or the program says"
            );
        }
        TrustState::Unavailable => {
            tracing::error!(
                feed_age,
                "the store does not answer: logins are refused as unavailable"
            );
        }
    }
}
