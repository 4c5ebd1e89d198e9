//! The version of the database that v1 clients are shown.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use thiserror::Error;

const VERSION: HeaderName = HeaderName::from_static("x-influxdb-version");
const BUILD: HeaderName = HeaderName::from_static("x-influxdb-build");

/// The version of the database in responses to v1 clients: `X-Influxdb-Version` and
/// `X-Influxdb-Build`.
///
/// Without them clients show `unknown`. Some choose by the version what they send.
///
/// In a configuration file it has the settings `version` and, optionally, `build`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "VersionText")]
pub struct InfluxdbVersion {
    version: HeaderValue,
    build: Option<HeaderValue>,
}

/// [`InfluxdbVersion`] as a configuration file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VersionText {
    version: String,
    build: Option<String>,
}

impl TryFrom<VersionText> for InfluxdbVersion {
    type Error = InvalidInfluxdbVersion;

    fn try_from(text: VersionText) -> Result<Self, InvalidInfluxdbVersion> {
        let version = Self::new(&text.version)?;
        match text.build {
            Some(build) => version.with_build(&build),
            None => Ok(version),
        }
    }
}

/// The error for a text that cannot be the value of a header.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is not visible ASCII, which the value of a header must be")]
pub struct InvalidInfluxdbVersion(String);

impl InfluxdbVersion {
    /// Takes a version such as `1.8.10`.
    ///
    /// # Errors
    ///
    /// [`InvalidInfluxdbVersion`] if it is empty or holds anything but visible ASCII.
    pub fn new(version: &str) -> Result<Self, InvalidInfluxdbVersion> {
        Ok(Self { version: value(version)?, build: None })
    }

    /// Adds a build such as `OSS`.
    ///
    /// # Errors
    ///
    /// As [`InfluxdbVersion::new`].
    pub fn with_build(self, build: &str) -> Result<Self, InvalidInfluxdbVersion> {
        Ok(Self { build: Some(value(build)?), ..self })
    }

    pub(crate) fn apply_to(&self, headers: &mut HeaderMap) {
        headers.insert(VERSION, self.version.clone());
        if let Some(build) = &self.build {
            headers.insert(BUILD, build.clone());
        }
    }
}

fn value(text: &str) -> Result<HeaderValue, InvalidInfluxdbVersion> {
    let invalid = || InvalidInfluxdbVersion(text.to_owned());
    let is_visible = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let value = is_visible.then(|| HeaderValue::from_str(text).ok()).flatten();
    value.ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_header_or_an_error() {
        for text in ["", "1.8 10", "1.8\n", "ä", "1\u{7f}"] {
            assert!(InfluxdbVersion::new(text).is_err(), "{text:?}");
        }
        let version = InfluxdbVersion::new("1.8.10").unwrap().with_build("OSS").unwrap();
        let mut headers = HeaderMap::new();
        version.apply_to(&mut headers);
        assert_eq!(headers["x-influxdb-version"], "1.8.10");
        assert_eq!(headers["x-influxdb-build"], "OSS");
    }
}
