//! How much is kept, and how long it may be believed.

use std::time::Duration;

use thiserror::Error;

/// How much an engine keeps in memory of those who have logged in, and how long it believes it.
///
/// Whatever is set, a change made through this engine counts from the moment at which it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheConfig {
    /// How many bytes of memory what is kept may take. Default: 64 MiB, which is about 100,000
    /// credentials with a few permissions each. 0 keeps nothing: every login reads the store and
    /// computes a hash.
    pub max_bytes: usize,
    /// How old the knowledge may be that an answer rests on, where something else than this engine
    /// has changed the store: a password revoked there works here no longer than this. Default: 2
    /// seconds. At most one minute.
    pub max_staleness: Duration,
    /// How long it may be at the most until a credential is read again although nothing has
    /// changed: the bound for what a host with a [`Directory`](crate::Directory) of its own forgot
    /// to tell ([`Engine::invalidate_user`](crate::Engine::invalidate_user)). Default: 60 seconds. At
    /// least `max_staleness`, at most one day.
    pub time_to_live: Duration,
    /// For how long beyond `max_staleness` those who are known are let in from memory while the
    /// store cannot be read. What is given up for it: a password that was changed or revoked by
    /// another process may work here for that long while the store is unreachable. It is counted
    /// from when the feed of changes told everything the last time, and only for reads that failed
    /// because the store did not answer. Default: zero, which lets nobody in. At most one day.
    pub outage_grace: Duration,
}

impl CacheConfig {
    /// Bounds of `max_staleness`, and of `time_to_live` and `outage_grace`.
    const MAX_STALENESS: Duration = Duration::from_secs(60);
    const MAX_TIME_TO_LIVE: Duration = Duration::from_secs(24 * 60 * 60);
    const MAX_OUTAGE_GRACE: Duration = Duration::from_secs(24 * 60 * 60);

    /// Keeps nothing.
    pub fn off() -> Self {
        Self { max_bytes: 0, ..Self::default() }
    }

    /// Sets [`CacheConfig::max_bytes`].
    #[must_use]
    pub fn max_bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }

    /// Sets [`CacheConfig::max_staleness`].
    #[must_use]
    pub fn max_staleness(self, max_staleness: Duration) -> Self {
        Self { max_staleness, ..self }
    }

    /// Sets [`CacheConfig::time_to_live`].
    #[must_use]
    pub fn time_to_live(self, time_to_live: Duration) -> Self {
        Self { time_to_live, ..self }
    }

    /// Sets [`CacheConfig::outage_grace`].
    #[must_use]
    pub fn outage_grace(self, outage_grace: Duration) -> Self {
        Self { outage_grace, ..self }
    }

    pub(crate) fn validate(&self) -> Result<(), InvalidCacheConfig> {
        if self.max_staleness > Self::MAX_STALENESS {
            return Err(InvalidCacheConfig::MaxStaleness { value: self.max_staleness });
        }
        let ttl = self.time_to_live;
        if ttl < self.max_staleness || ttl > Self::MAX_TIME_TO_LIVE {
            let least = self.max_staleness;
            return Err(InvalidCacheConfig::TimeToLive { value: ttl, least });
        }
        if self.outage_grace > Self::MAX_OUTAGE_GRACE {
            return Err(InvalidCacheConfig::OutageGrace { value: self.outage_grace });
        }
        Ok(())
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            max_bytes: 64 * 1024 * 1024,
            max_staleness: Duration::from_secs(2),
            time_to_live: Duration::from_secs(60),
            outage_grace: Duration::ZERO,
        }
    }
}

/// Says which setting of a [`CacheConfig`] is out of bounds.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidCacheConfig {
    /// [`CacheConfig::max_staleness`].
    #[error("max_staleness must be at most {:?}, not {value:?}", CacheConfig::MAX_STALENESS)]
    MaxStaleness {
        /// What was given.
        value: Duration,
    },
    /// [`CacheConfig::outage_grace`].
    #[error("outage_grace must be at most {:?}, not {value:?}", CacheConfig::MAX_OUTAGE_GRACE)]
    OutageGrace {
        /// What was given.
        value: Duration,
    },
    /// [`CacheConfig::time_to_live`].
    #[error(
        "time_to_live must be between max_staleness, {least:?}, and {:?}, not {value:?}",
        CacheConfig::MAX_TIME_TO_LIVE
    )]
    TimeToLive {
        /// What was given.
        value: Duration,
        /// The least that it may be.
        least: Duration,
    },
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
            "max_staleness must be at most 60s, not 61s"
        );
        for ttl in [seconds(1), seconds(86_401)] {
            assert!(default.time_to_live(ttl).validate().is_err(), "{ttl:?}");
        }
        assert_eq!(
            default.outage_grace(seconds(86_401)).validate().unwrap_err().to_string(),
            "outage_grace must be at most 86400s, not 86401s"
        );
        assert_eq!(default.outage_grace(seconds(86_400)).validate(), Ok(()));
        let exact = default.max_staleness(seconds(0)).time_to_live(seconds(0));
        assert_eq!(exact.validate(), Ok(()));
    }
}
