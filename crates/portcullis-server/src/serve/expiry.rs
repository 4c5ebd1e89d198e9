//! The scan for credentials that expire soon, or have expired.

use std::time::Duration;

use portcullis::Engine;
use tokio::time::{Instant, MissedTickBehavior};

/// The first scan is not while the server starts and its clients log in.
const FIRST: Duration = Duration::from_secs(60);

const INTERVAL: Duration = Duration::from_secs(10 * 60);

/// Scans at intervals, as long as the future is polled. A scan that fails is tried again at the next one.
pub(super) async fn scan_regularly(engine: Engine) {
    let mut ticks = tokio::time::interval_at(Instant::now() + FIRST, INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = engine.scan_expiry().await {
            tracing::warn!("credentials could not be scanned for their ends: {error}");
        }
    }
}
