//! The limits of a credential.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// What each credential may do, an authorization or an API token: the same for every credential, and counted for
/// each by itself. By default nothing is limited.
///
/// ```
/// use portcullis_http::{CredentialLimiter, CredentialLimits, RequestRate};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limits = CredentialLimits::none().rate("100/s".parse::<RequestRate>()?);
/// let limiter = CredentialLimiter::new(limits);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct CredentialLimits {
    rate: Option<RequestRate>,
    burst: Option<NonZeroU32>,
    in_flight: Option<NonZeroU32>,
}

impl CredentialLimits {
    /// No limits.
    pub const fn none() -> Self {
        Self { rate: None, burst: None, in_flight: None }
    }

    /// Sets the most requests in a time, on average. Default: no limit.
    pub fn rate(self, rate: impl Into<Option<RequestRate>>) -> Self {
        Self { rate: rate.into(), ..self }
    }

    /// Sets the most requests at once after a pause, with a [rate](CredentialLimits::rate). Default: those of one
    /// second, and at least one.
    pub fn burst(self, burst: impl Into<Option<NonZeroU32>>) -> Self {
        Self { burst: burst.into(), ..self }
    }

    /// Sets the most requests in flight: from the login to the end of the response. Default: no limit.
    pub fn in_flight(self, in_flight: impl Into<Option<NonZeroU32>>) -> Self {
        Self { in_flight: in_flight.into(), ..self }
    }

    /// Tells whether nothing is limited.
    pub const fn is_none(&self) -> bool {
        self.rate.is_none() && self.in_flight.is_none()
    }

    pub(super) fn max_in_flight(&self) -> Option<NonZeroU32> {
        self.in_flight
    }

    /// Returns the time between two requests, and how much earlier than that one may come.
    pub(super) fn pace(&self) -> Option<Pace> {
        let rate = self.rate?;
        let interval = rate.period() / rate.requests.get();
        let of_a_second = u128::from(rate.requests.get()) * 1_000 / rate.period().as_millis();
        let of_a_second = u32::try_from(of_a_second).unwrap_or(u32::MAX).max(1);
        let burst = self.burst.map_or(of_a_second, NonZeroU32::get);
        Some(Pace { interval, tolerance: interval.saturating_mul(burst - 1) })
    }
}

/// How often requests may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    /// Between two requests.
    pub(super) interval: Duration,
    /// How much too early a request may be.
    pub(super) tolerance: Duration,
}

/// A number of requests in a second, a minute or an hour. Its text is `100/s`, `600/m` or `1000/h`, with a number
/// from 1 to 1,000,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRate {
    requests: NonZeroU32,
    unit: RateUnit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RateUnit {
    Second,
    Minute,
    Hour,
}

impl RequestRate {
    const MAX: u32 = 1_000_000;

    fn period(self) -> Duration {
        Duration::from_secs(match self.unit {
            RateUnit::Second => 1,
            RateUnit::Minute => 60,
            RateUnit::Hour => 3_600,
        })
    }
}

/// A text is no [`RequestRate`].
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "a rate is a number of requests from 1 to 1000000 in a second, minute or hour, such as 100/s, 600/m or 1000/h"
)]
pub struct InvalidRequestRate;

impl FromStr for RequestRate {
    type Err = InvalidRequestRate;

    fn from_str(text: &str) -> Result<Self, InvalidRequestRate> {
        let (requests, unit) = text.split_once('/').ok_or(InvalidRequestRate)?;
        let unit = match unit {
            "s" => RateUnit::Second,
            "m" => RateUnit::Minute,
            "h" => RateUnit::Hour,
            _ => return Err(InvalidRequestRate),
        };
        let is_number = requests.bytes().all(|byte| byte.is_ascii_digit());
        let requests = requests.parse().ok().filter(|_| is_number);
        let requests = requests.filter(|requests: &NonZeroU32| requests.get() <= Self::MAX);
        Ok(Self { requests: requests.ok_or(InvalidRequestRate)?, unit })
    }
}

impl fmt::Display for RequestRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            RateUnit::Second => 's',
            RateUnit::Minute => 'm',
            RateUnit::Hour => 'h',
        };
        write!(f, "{}/{unit}", self.requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [LIMIT-1]
    #[test]
    fn a_rate_is_read_as_it_is_written() {
        for text in ["1/s", "100/s", "600/m", "1000000/h"] {
            assert_eq!(text.parse::<RequestRate>().unwrap().to_string(), text);
        }
        for text in ["", "1", "0/s", "-1/s", "+1/s", "1/d", "1 /s", "1/sec", "1000001/s", "1.5/s"] {
            assert_eq!(text.parse::<RequestRate>(), Err(InvalidRequestRate), "{text}");
        }
    }

    /// [LIMIT-1]
    #[test]
    fn a_burst_is_what_a_second_allows_unless_it_is_set() {
        let pace = |rate: &str, burst: Option<u32>| {
            let burst = burst.map(|burst| NonZeroU32::new(burst).unwrap());
            let limits = CredentialLimits::none().rate(rate.parse::<RequestRate>().unwrap());
            let pace = limits.burst(burst).pace().unwrap();
            (pace.interval.as_micros(), pace.tolerance.as_micros())
        };
        assert_eq!(pace("100/s", None), (10_000, 990_000));
        assert_eq!(pace("600/m", None), (100_000, 900_000));
        assert_eq!(pace("10/m", None), (6_000_000, 0));
        assert_eq!(pace("10/m", Some(3)), (6_000_000, 12_000_000));
        assert_eq!(pace("1000000/s", Some(1)), (1, 0));
        assert!(CredentialLimits::none().is_none());
    }
}
