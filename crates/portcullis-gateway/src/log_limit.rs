//! The limit of log lines that every request causes while something is wrong.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const INTERVAL: Duration = Duration::from_secs(5);

/// One line each five seconds; the number of suppressed ones is logged with the next.
#[derive(Debug, Default)]
pub(crate) struct LogLimit(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    suppressed: u64,
}

impl LogLimit {
    /// Returns the number of lines that were suppressed since the last one, if a line may be written.
    pub(crate) fn take(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if state.last.is_some_and(|last| now.saturating_duration_since(last) < INTERVAL) {
            state.suppressed += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_line_in_five_seconds_has_the_number_of_those_before() {
        let limit = LogLimit::default();
        assert_eq!(limit.take(), Some(0));
        assert_eq!((limit.take(), limit.take()), (None, None));
        tokio::time::advance(INTERVAL).await;
        assert_eq!(limit.take(), Some(2));
    }
}
