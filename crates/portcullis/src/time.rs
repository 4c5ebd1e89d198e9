//! Timestamps, and the sources of time and random bytes.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::from_text::from_text;

/// A point in time with nanoseconds. It parses from RFC 3339 with any offset and displays in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(jiff::Timestamp);

impl Timestamp {
    /// Midnight of 1 January 1970, UTC.
    pub const UNIX_EPOCH: Self = Self(jiff::Timestamp::UNIX_EPOCH);

    /// Reads the clock of this machine. A time outside the years -9999 to 9999 becomes the nearest
    /// within.
    pub fn now() -> Self {
        Self::of_clock(SystemTime::now())
    }

    fn of_clock(clock: SystemTime) -> Self {
        let nearest = if clock < SystemTime::UNIX_EPOCH {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        };
        Self(jiff::Timestamp::try_from(clock).unwrap_or(nearest))
    }

    /// Takes milliseconds since 1970; `None` outside the years -9999 to 9999.
    pub fn from_unix_millis(millis: i64) -> Option<Self> {
        jiff::Timestamp::from_millisecond(millis).ok().map(Self)
    }

    /// Returns seconds since 1970 and the nanoseconds after them, both negative before 1970.
    pub(crate) fn parts(self) -> (i64, i32) {
        (self.0.as_second(), self.0.subsec_nanosecond())
    }

    /// Takes the result of [`parts`](Self::parts).
    pub(crate) fn from_parts(seconds: i64, nanoseconds: i32) -> Option<Self> {
        jiff::Timestamp::new(seconds, nanoseconds).ok().map(Self)
    }

    /// Returns the time after the duration; the last time that there is, if it would be later.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.checked_add(duration).unwrap_or(jiff::Timestamp::MAX))
    }

    /// Returns milliseconds since 1970, negative before 1970.
    pub fn as_unix_millis(self) -> i64 {
        self.0.as_millisecond()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The error for a text that is not a time in RFC 3339 form.
#[derive(Clone, Debug, Error)]
#[error("`{text}` is not a time such as `2026-01-31T23:59:59Z` (RFC 3339)")]
pub struct ParseTimestampError {
    text: String,
}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, ParseTimestampError> {
        text.parse()
            .map(Self)
            .map_err(|_| ParseTimestampError { text: text.chars().take(64).collect() })
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, str::parse)
    }
}

/// A source of time. Tests use one that they advance themselves.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Returns the time of day, for `createdAt`, `updatedAt` and new ids.
    fn now(&self) -> Timestamp;

    /// Returns monotonic time, for deadlines and timeouts.
    fn instant(&self) -> Instant;
}

/// The clock of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// A source of random bytes for ids, revisions, salts and API tokens.
///
/// A source that is not cryptographically strong makes tokens and salts predictable: use another
/// one than [`SystemRandom`] in tests only.
pub trait Random: fmt::Debug + Send + Sync + 'static {
    /// Fills the buffer.
    ///
    /// # Errors
    ///
    /// [`RandomUnavailable`] when the source fails; nothing may be derived from the buffer then.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomUnavailable>;
}

/// The error when the operating system's source of random bytes fails.
#[derive(Clone, Copy, Debug, Error)]
#[error("the operating system's random source failed")]
pub struct RandomUnavailable;

/// The operating system's random source.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomUnavailable> {
        getrandom::fill(buffer).map_err(|_| RandomUnavailable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_any_offset_and_prints_utc() {
        let time: Timestamp = "2024-01-01T02:00:00.123456789+02:00".parse().unwrap();
        assert_eq!(time.to_string(), "2024-01-01T00:00:00.123456789Z");
    }

    #[test]
    fn a_clock_that_is_set_to_any_time_is_read() {
        let seconds = Duration::from_secs;
        for (clock, expected) in [
            (SystemTime::UNIX_EPOCH.checked_sub(seconds(1)), "1969-12-31T23:59:59Z"),
            (SystemTime::UNIX_EPOCH.checked_add(seconds(253_370_764_800)), "9999-01-01T00:00:00Z"),
            (
                SystemTime::UNIX_EPOCH.checked_add(seconds(253_402_300_800)),
                "9999-12-30T22:00:00.999999999Z",
            ),
            (
                SystemTime::UNIX_EPOCH.checked_add(seconds(1 << 62)),
                "9999-12-30T22:00:00.999999999Z",
            ),
            (SystemTime::UNIX_EPOCH.checked_sub(seconds(1 << 62)), "-009999-01-02T01:59:59Z"),
        ] {
            assert_eq!(Timestamp::of_clock(clock.unwrap()).to_string(), expected);
        }
    }

    #[test]
    fn reads_the_year_one() {
        let time: Timestamp = "0001-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(time.to_string(), "0001-01-01T00:00:00Z");
    }

    #[test]
    fn refuses_what_is_not_a_time() {
        for text in ["", "yesterday", "2024-13-01T00:00:00Z", "2024-01-01"] {
            assert!(text.parse::<Timestamp>().is_err(), "{text:?}");
        }
    }
}
