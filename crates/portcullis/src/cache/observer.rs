//! Logs changes of the trust state.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::Freshness;
use crate::Clock;
use crate::trust_state::TrustState;

/// How often the state is checked.
const INTERVAL: Duration = Duration::from_millis(250);

/// A task that logs every change of the state, until this is dropped. Logins do not log it: there may
/// be many of them, or none.
#[derive(Debug)]
pub(crate) struct StateObserver(JoinHandle<()>);

impl StateObserver {
    pub(crate) fn start(freshness: Arc<Freshness>, clock: Arc<dyn Clock>) -> Self {
        Self(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut logged = TrustState::Fresh;
            loop {
                ticks.tick().await;
                let now = freshness.moment(clock.instant());
                let state = freshness.state(now);
                if state != logged {
                    log_state(
                        state,
                        freshness.change_feed_lag(now),
                        freshness.stale_time_left(now),
                    );
                    logged = state;
                }
            }
        }))
    }
}

impl Drop for StateObserver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Logs one line for the change to the state.
fn log_state(state: TrustState, feed_lag: Option<Duration>, stale_time_left: Option<Duration>) {
    let feed_lag = tracing::field::debug(feed_lag.unwrap_or_default());
    match state {
        TrustState::Fresh => {
            tracing::info!("the change feed is complete again: logins are answered from the cache");
        }
        TrustState::Stale => {
            tracing::warn!(
                feed_lag,
                "the change feed lags: credentials are read from the store again"
            );
        }
        TrustState::StaleIfError => {
            let left = tracing::field::debug(stale_time_left.unwrap_or_default());
            tracing::warn!(
                feed_lag,
                left,
                "the store does not respond: cached logins are admitted without it (stale-if-error)"
            );
        }
        TrustState::Unavailable => {
            tracing::error!(
                feed_lag,
                "the store does not respond: logins are refused as unavailable"
            );
        }
    }
}
