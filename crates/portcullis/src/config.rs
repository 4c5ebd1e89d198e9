//! Bounds of settings, and the error that names a setting outside of them.

use std::fmt::Debug;

use thiserror::Error;

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
