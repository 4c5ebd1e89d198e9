//! How much the cache keeps, and how long an entry is valid.

use std::time::Duration;

use serde::Deserialize;

use crate::config::{InvalidConfig, check_bounds, duration};

/// How much memory an engine's cache of logins takes, and how long an entry is valid.
///
/// Whatever is set, a change made through this engine takes effect before the call that makes it
/// returns.
///
/// In a configuration file the settings have the names of the setters; durations are text such as
/// `2s` or `1h 30m`. Missing settings have their defaults, and unknown ones are an error. Bounds are
/// checked when the engine is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    pub(super) max_bytes: usize,
    #[serde(deserialize_with = "duration")]
    pub(super) max_staleness: Duration,
    #[serde(deserialize_with = "duration")]
    pub(super) time_to_live: Duration,
    #[serde(deserialize_with = "duration")]
    pub(super) stale_if_error: Duration,
}

impl CacheConfig {
    /// The bounds of [`Self::max_staleness`], [`Self::time_to_live`] and [`Self::stale_if_error`].
    const MAX_STALENESS: Duration = Duration::from_secs(60);
    const MAX_TIME_TO_LIVE: Duration = Duration::from_secs(24 * 60 * 60);
    const MAX_STALE_IF_ERROR: Duration = Duration::from_secs(24 * 60 * 60);

    /// A cache of no size: every login reads the store and computes a hash.
    pub fn off() -> Self {
        Self::default().max_bytes(0)
    }

    /// Sets how many bytes of memory all entries may take together. Default: 64 MiB, enough for
    /// about 100,000 credentials with a few permissions each. 0 keeps nothing.
    #[must_use]
    pub fn max_bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }

    /// Sets for how long an entry is valid without an event of the store's change feed that
    /// confirms it: a password revoked by another process works here no longer than this. Default:
    /// 2 seconds. At most one minute.
    #[must_use]
    pub fn max_staleness(self, max_staleness: Duration) -> Self {
        Self { max_staleness, ..self }
    }

    /// Sets after how long a credential is read again although the change feed reports no change.
    /// It bounds the effect of a change in a [`Directory`](crate::Directory) of the host's own for
    /// which the host did not call [`Engine::invalidate_user`](crate::Engine::invalidate_user).
    /// Default: 60 seconds. At least `max_staleness`, at most one day.
    #[must_use]
    pub fn time_to_live(self, time_to_live: Duration) -> Self {
        Self { time_to_live, ..self }
    }

    /// Sets for how long beyond `max_staleness` cached logins are accepted while the store cannot be
    /// read (`stale-if-error` of RFC 5861). Default: zero, which accepts none. At most one day.
    ///
    /// The price: a password that another process changes or revokes may work here for that long
    /// while the store is unreachable. The time is counted from the last time at which the change
    /// feed was complete. It applies only to reads that fail because the store does not respond.
    #[must_use]
    pub fn stale_if_error(self, stale_if_error: Duration) -> Self {
        Self { stale_if_error, ..self }
    }

    pub(crate) fn validate(&self) -> Result<(), InvalidConfig> {
        let zero = Duration::ZERO;
        let Self { max_bytes: _, max_staleness, time_to_live, stale_if_error } = *self;
        check_bounds("CacheConfig::max_staleness", max_staleness, zero, Self::MAX_STALENESS)?;
        let name = "CacheConfig::time_to_live";
        check_bounds(name, time_to_live, max_staleness, Self::MAX_TIME_TO_LIVE)?;
        let name = "CacheConfig::stale_if_error";
        check_bounds(name, stale_if_error, zero, Self::MAX_STALE_IF_ERROR)
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            max_bytes: 64 * 1024 * 1024,
            max_staleness: Duration::from_secs(2),
            time_to_live: Duration::from_secs(60),
            stale_if_error: Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_bounds() {
        let seconds = Duration::from_secs;
        let default = CacheConfig::default();
        assert_eq!(default.validate(), Ok(()));
        assert_eq!(CacheConfig::off().validate(), Ok(()));
        assert_eq!(
            default.max_staleness(seconds(61)).validate().unwrap_err().to_string(),
            "CacheConfig::max_staleness must be between 0ns and 60s, not 61s"
        );
        for ttl in [seconds(1), seconds(86_401)] {
            assert!(default.time_to_live(ttl).validate().is_err(), "{ttl:?}");
        }
        assert_eq!(
            default.stale_if_error(seconds(86_401)).validate().unwrap_err().to_string(),
            "CacheConfig::stale_if_error must be between 0ns and 86400s, not 86401s"
        );
        assert_eq!(default.stale_if_error(seconds(86_400)).validate(), Ok(()));
        let exact = default.max_staleness(seconds(0)).time_to_live(seconds(0));
        assert_eq!(exact.validate(), Ok(()));
    }
}
