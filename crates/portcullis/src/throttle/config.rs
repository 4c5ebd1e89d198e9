//! Settings of the throttle.

use std::time::Duration;

use serde::Deserialize;

use crate::config::{InvalidConfig, check_bounds, duration};

/// How logins that fail are slowed down.
///
/// In a configuration file the settings have the names of the setters; durations are text such as
/// `1s` or `15m`. Missing settings have their defaults, and unknown ones are an error. Bounds are
/// checked when the engine is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ThrottleConfig {
    pub(super) username_failures: u32,
    pub(super) source_failures: u32,
    #[serde(deserialize_with = "duration")]
    pub(super) first_delay: Duration,
    #[serde(deserialize_with = "duration")]
    pub(super) longest_delay: Duration,
    #[serde(deserialize_with = "duration")]
    pub(super) half_life: Duration,
}

impl Default for ThrottleConfig {
    fn default() -> Self {
        Self {
            username_failures: 10,
            source_failures: 100,
            first_delay: Duration::from_secs(1),
            longest_delay: Duration::from_secs(5 * 60),
            half_life: Duration::from_secs(15 * 60),
        }
    }
}

impl ThrottleConfig {
    /// Sets how many failures a username has before logins with it must wait. Default: 10. From 1
    /// to 1,000.
    #[must_use]
    pub fn username_failures(self, username_failures: u32) -> Self {
        Self { username_failures, ..self }
    }

    /// Sets how many failures a source has before logins from it must wait: an IPv4 address, or a
    /// /64 of IPv6. Default: 100. From 1 to 100,000.
    #[must_use]
    pub fn source_failures(self, source_failures: u32) -> Self {
        Self { source_failures, ..self }
    }

    /// Sets the wait after the first failure too many. Each further failure doubles it, and
    /// multiplies it by four for a source that fails again with the same username. Default: 1
    /// second. From 100 milliseconds to one minute.
    #[must_use]
    pub fn first_delay(self, first_delay: Duration) -> Self {
        Self { first_delay, ..self }
    }

    /// Sets the longest wait. Default: 5 minutes. At least `first_delay`, at most one day.
    #[must_use]
    pub fn longest_delay(self, longest_delay: Duration) -> Self {
        Self { longest_delay, ..self }
    }

    /// Sets the time in which half of the counted failures expire. Default: 15 minutes. From one
    /// second to one day.
    #[must_use]
    pub fn half_life(self, half_life: Duration) -> Self {
        Self { half_life, ..self }
    }

    pub(super) fn validate(&self) -> Result<(), InvalidConfig> {
        let day = Duration::from_secs(24 * 60 * 60);
        check_bounds("ThrottleConfig::username_failures", self.username_failures, 1, 1_000)?;
        check_bounds("ThrottleConfig::source_failures", self.source_failures, 1, 100_000)?;
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(60));
        check_bounds("ThrottleConfig::first_delay", self.first_delay, min, max)?;
        let name = "ThrottleConfig::longest_delay";
        check_bounds(name, self.longest_delay, self.first_delay, day)?;
        check_bounds("ThrottleConfig::half_life", self.half_life, Duration::from_secs(1), day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_bounds() {
        let bad = |config: ThrottleConfig| config.validate().unwrap_err();
        let default = ThrottleConfig::default();
        assert_eq!(default.validate(), Ok(()));
        assert_eq!(
            bad(default.username_failures(0)).to_string(),
            "ThrottleConfig::username_failures must be between 1 and 1000, not 0"
        );
        let second = Duration::from_secs(1);
        assert_eq!(
            bad(default.source_failures(100_001)).field(),
            "ThrottleConfig::source_failures"
        );
        assert_eq!(bad(default.half_life(Duration::ZERO)).field(), "ThrottleConfig::half_life");
        let delay = default.longest_delay(second);
        assert_eq!(bad(delay.first_delay(Duration::ZERO)).field(), "ThrottleConfig::first_delay");
        assert_eq!(bad(delay.first_delay(2 * second)).field(), "ThrottleConfig::longest_delay");
    }
}
