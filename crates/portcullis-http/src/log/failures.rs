//! The log of failures: requests without a decision, each kind at most once a second.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use portcullis::{Error, ErrorKind, Refusal};

/// The interval in which each kind is logged once.
const INTERVAL: Duration = Duration::from_secs(1);

/// The limits of the kinds, each on its own.
struct Lines {
    internal: Limit,
    throttled: Limit,
    unavailable: Limit,
}

static LINES: LazyLock<Lines> = LazyLock::new(|| Lines {
    internal: Limit::default(),
    throttled: Limit::default(),
    unavailable: Limit::default(),
});

/// Logs for the operator what the response does not show. The first failure of a kind in an interval
/// is logged; the next line has the number of those that were not, as `others`.
pub(crate) fn log_failure(error: &Error) {
    match error.kind() {
        ErrorKind::Unavailable => {
            if let Some(others) = LINES.unavailable.admit(Instant::now()) {
                tracing::warn!(others, cause = %Causes(error), "503: {error}");
            }
        }
        ErrorKind::TooManyRequests => {
            if let Some(others) = LINES.throttled.admit(Instant::now()) {
                tracing::info!(others, "429: {error}");
            }
        }
        _ => {
            if let Some(others) = LINES.internal.admit(Instant::now()) {
                tracing::error!(others, cause = %Causes(error), "{error}");
            }
        }
    }
}

/// Admits one line in each interval, and counts the others.
#[derive(Default)]
struct Limit {
    last: Mutex<Option<Instant>>,
    others: AtomicU64,
}

impl Limit {
    /// Returns the number of lines that were not admitted since the last one, if this one is.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| now.saturating_duration_since(last) < INTERVAL) {
            self.others.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        *last = Some(now);
        Some(self.others.swap(0, Ordering::Relaxed))
    }
}

/// The sources of an error, joined by colons.
struct Causes<'a>(&'a Error);

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cause = std::error::Error::source(self.0);
        let mut separator = "";
        while let Some(error) = cause {
            // The reason of a refusal is in the line about the refusal.
            if !error.is::<Refusal>() {
                write!(f, "{separator}{error}")?;
                separator = ": ";
            }
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_a_second_is_logged_and_the_others_are_counted() {
        let limit = Limit::default();
        let start = Instant::now();
        let admit = |millis| limit.admit(start + Duration::from_millis(millis));
        assert_eq!(admit(0), Some(0));
        assert_eq!([1, 500, 999].map(admit), [None; 3]);
        assert_eq!(admit(1_000), Some(3));
        assert_eq!(admit(5_000), Some(0));
    }
}
