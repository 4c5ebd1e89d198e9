//! Settings of last uses.

use std::time::Duration;

use serde::Deserialize;

use crate::config::{InvalidConfig, check_bounds, duration};

/// How the last use of each credential is recorded.
///
/// In a configuration file the settings have the names of the setters; durations are text such as
/// `10s` or `1h`. Missing settings have their defaults, and unknown ones are an error. Bounds are
/// checked when the engine is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LastUseConfig {
    #[serde(deserialize_with = "duration")]
    pub(super) interval: Duration,
    #[serde(deserialize_with = "duration")]
    pub(super) flush_every: Duration,
    pub(super) max_pending: usize,
}

impl Default for LastUseConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(60 * 60),
            flush_every: Duration::from_secs(10),
            max_pending: 65_536,
        }
    }
}

impl LastUseConfig {
    /// Sets the time in which the use of a credential is written at most once, by all engines of the
    /// store together. Default: 1 hour. From one second to 31 days.
    #[must_use]
    pub fn interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// Sets how often noted uses are written, all together. Default: 10 seconds. From 100
    /// milliseconds to one hour.
    #[must_use]
    pub fn flush_every(self, flush_every: Duration) -> Self {
        Self { flush_every, ..self }
    }

    /// Sets how many credentials may wait to be written, about 100 bytes each. A use that finds no
    /// room is not written; the next one of its credential is noted again. Default: 65,536. From 1 to
    /// 10,000,000.
    #[must_use]
    pub fn max_pending(self, max_pending: usize) -> Self {
        Self { max_pending, ..self }
    }

    pub(in crate::engine) fn validate(&self) -> Result<(), InvalidConfig> {
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(60 * 60));
        check_bounds("LastUseConfig::interval", self.interval, second, 31 * 24 * hour)?;
        let min = Duration::from_millis(100);
        check_bounds("LastUseConfig::flush_every", self.flush_every, min, hour)?;
        check_bounds("LastUseConfig::max_pending", self.max_pending, 1, 10_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_bounds() {
        let default = LastUseConfig::default();
        assert_eq!(default.validate(), Ok(()));
        for (config, field) in [
            (default.interval(Duration::from_millis(999)), "LastUseConfig::interval"),
            (default.flush_every(Duration::ZERO), "LastUseConfig::flush_every"),
            (default.max_pending(0), "LastUseConfig::max_pending"),
        ] {
            assert_eq!(config.validate().unwrap_err().field(), field);
        }
    }
}
