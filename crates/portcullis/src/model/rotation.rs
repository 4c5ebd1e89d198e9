//! How long a password that is replaced still works.

use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// How long the previous password still works beside the new one
/// ([`Engine::rotate_password`](crate::Engine::rotate_password)).
///
/// ```
/// use std::time::Duration;
/// use portcullis::KeepPrevious;
///
/// let keep: KeepPrevious = "24h".parse()?;
/// assert_eq!(keep, KeepPrevious::during(Duration::from_secs(24 * 60 * 60))?);
/// assert!("100d".parse::<KeepPrevious>().is_err());
/// # Ok::<(), portcullis::InvalidKeepPrevious>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepPrevious {
    time: Duration,
    ends_when_new_is_used: bool,
}

impl KeepPrevious {
    /// The shortest time: a second.
    pub const MIN: Duration = Duration::from_secs(1);

    /// The longest time: 90 days.
    pub const MAX: Duration = Duration::from_secs(90 * 24 * 60 * 60);

    /// Makes one from a time. The previous password works until the time is over, whether the new one is
    /// used or not: several agents may share a credential.
    ///
    /// # Errors
    ///
    /// [`InvalidKeepPrevious`] for less than [`KeepPrevious::MIN`] or more than [`KeepPrevious::MAX`].
    pub fn during(time: Duration) -> Result<Self, InvalidKeepPrevious> {
        if (Self::MIN..=Self::MAX).contains(&time) {
            Ok(Self { time, ends_when_new_is_used: false })
        } else {
            Err(InvalidKeepPrevious { text: format!("{} s", time.as_secs()) })
        }
    }

    /// Lets the previous password end at the first login with the new one, if the time is not over before:
    /// for a credential that one agent uses.
    #[must_use]
    pub const fn until_new_is_used(self) -> Self {
        Self { ends_when_new_is_used: true, ..self }
    }

    /// Returns the time.
    pub const fn time(self) -> Duration {
        self.time
    }

    /// Tells whether the previous password ends at the first login with the new one.
    pub const fn ends_when_new_is_used(self) -> bool {
        self.ends_when_new_is_used
    }
}

/// The text is not a time that a previous password may be kept.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{text}` is not a time from 1 second to 90 days, such as 30m, 24h or 7d")]
pub struct InvalidKeepPrevious {
    text: String,
}

impl FromStr for KeepPrevious {
    type Err = InvalidKeepPrevious;

    /// Parses a whole number and a unit: `s`, `m`, `h` or `d`.
    fn from_str(text: &str) -> Result<Self, InvalidKeepPrevious> {
        let invalid = || InvalidKeepPrevious { text: text.chars().take(40).collect() };
        let unit = text.chars().next_back().ok_or_else(invalid)?;
        let seconds: u64 = match unit {
            's' => 1,
            'm' => 60,
            'h' => 60 * 60,
            'd' => 24 * 60 * 60,
            _ => return Err(invalid()),
        };
        let digits = text.strip_suffix(unit).filter(|it| it.bytes().all(|it| it.is_ascii_digit()));
        let number: u64 = digits.and_then(|digits| digits.parse().ok()).ok_or_else(invalid)?;
        let time = number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(invalid)?;
        Self::during(time).map_err(|_| invalid())
    }
}

impl From<InvalidKeepPrevious> for crate::Error {
    fn from(error: InvalidKeepPrevious) -> Self {
        Self::invalid(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [ROTATE-1]
    #[test]
    fn a_time_is_a_whole_number_with_a_unit_from_a_second_to_90_days() {
        for (text, seconds) in [("1s", 1), ("30m", 1_800), ("024h", 86_400), ("90d", 7_776_000)] {
            let keep: KeepPrevious = text.parse().unwrap();
            assert_eq!((keep.time().as_secs(), keep.ends_when_new_is_used()), (seconds, false));
        }
        let huge = format!("{}d", "9".repeat(60));
        for text in
            ["", "s", "0s", "91d", "24", "24 h", "-1h", "+1h", "1.5h", "1h30m", "1w", "1µ", &huge]
        {
            let error = text.parse::<KeepPrevious>().unwrap_err().to_string();
            assert!(error.contains("from 1 second to 90 days") && error.len() < 120, "{error}");
        }
    }
}
