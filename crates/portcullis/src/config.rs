//! Bounds of settings, the error that names a setting outside of them, and durations in configuration
//! files.

use std::fmt::Debug;
use std::time::Duration;

use jiff::SignedDuration;
use serde::Deserializer;
use thiserror::Error;

use crate::from_text::from_text;

/// A setting is out of bounds. The message names the setting, its value and its bounds.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{field} must be between {min} and {max}, not {value}")]
pub struct InvalidConfig {
    field: &'static str,
    value: String,
    min: String,
    max: String,
}

impl InvalidConfig {
    /// Returns the name of the setting, such as `CacheConfig::max_staleness`.
    pub const fn field(&self) -> &'static str {
        self.field
    }
}

/// Checks that the value of a setting is within its bounds, which are included.
///
/// # Errors
///
/// [`InvalidConfig`] when it is not.
pub(crate) fn check_bounds<T: PartialOrd + Debug>(
    field: &'static str,
    value: T,
    min: T,
    max: T,
) -> Result<(), InvalidConfig> {
    if (&min..=&max).contains(&&value) {
        return Ok(());
    }
    let text = |value: &T| format!("{value:?}");
    Err(InvalidConfig { field, value: text(&value), min: text(&min), max: text(&max) })
}

/// Deserializes a duration from text with units, such as `2s`, `1h 30m` or `PT90S`.
pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    from_text(deserializer, |text| text.parse::<SignedDuration>().and_then(Duration::try_from))
}

/// The same for a setting that may be missing.
pub(crate) fn optional_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}
