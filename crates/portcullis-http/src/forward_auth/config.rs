//! The configuration of forward-auth.

use http::HeaderName;
use portcullis::OrgId;
use serde::{Deserialize, Deserializer, de};

use crate::v1::buckets::UpstreamSemantics;
use crate::v1::influxdb_version::InfluxdbVersion;

/// The configuration of forward-auth: how it and the proxy work together.
///
/// In a configuration file the settings have the names of the setters; headers and the org's id are
/// text, `upstream` is `v1` or `v2`, and `influxdb_version` has `version` and `build`. Missing settings
/// have their defaults, and unknown ones are an error.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct ForwardAuthConfig {
    #[serde(deserialize_with = "header_name")]
    pub(super) uri_header: HeaderName,
    #[serde(deserialize_with = "header_name")]
    pub(super) method_header: HeaderName,
    pub(super) preflight: bool,
    pub(super) org: Option<OrgId>,
    pub(super) upstream: UpstreamSemantics,
    #[serde(rename = "influxdb_version")]
    pub(crate) influxdb: Option<InfluxdbVersion>,
}

impl ForwardAuthConfig {
    /// The defaults, as the setters document them.
    pub fn new() -> Self {
        Self {
            uri_header: HeaderName::from_static("x-original-uri"),
            method_header: HeaderName::from_static("x-original-method"),
            preflight: false,
            org: None,
            upstream: UpstreamSemantics::default(),
            influxdb: None,
        }
    }

    /// Sets the header in which the proxy sends path and query of the original request. No other
    /// header is read for it, and the proxy must not pass on the client's own. Default:
    /// `X-Original-URI`.
    pub fn uri_header(self, uri_header: HeaderName) -> Self {
        Self { uri_header, ..self }
    }

    /// Sets the header in which the proxy sends the method of the original request. It is read for
    /// preflights alone. Default: `X-Original-Method`.
    pub fn method_header(self, method_header: HeaderName) -> Self {
        Self { method_header, ..self }
    }

    /// Sets whether a CORS preflight is allowed without credentials, which browsers never send with
    /// one: an `OPTIONS` of `/write` or `/api/v2/write` with `Origin` and
    /// `Access-Control-Request-Method`. Default: no.
    pub fn preflight(self, preflight: bool) -> Self {
        Self { preflight, ..self }
    }

    /// Sets the only org whose credentials are allowed; those of other orgs are denied with 403.
    /// Without it, two orgs with a bucket of the same name share the database of that name.
    /// Default: any org.
    pub fn org(self, org: impl Into<Option<OrgId>>) -> Self {
        Self { org: org.into(), ..self }
    }

    /// Sets what a retention policy means to the database. Default: [`UpstreamSemantics::V1`].
    pub fn upstream(self, upstream: UpstreamSemantics) -> Self {
        Self { upstream, ..self }
    }

    /// Sets the version of the database that v1 clients are shown, on `/ping` and on refusals.
    /// Default: none.
    pub fn influxdb_version(self, version: impl Into<Option<InfluxdbVersion>>) -> Self {
        Self { influxdb: version.into(), ..self }
    }
}

fn header_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HeaderName, D::Error> {
    let name = String::deserialize(deserializer)?;
    name.parse().map_err(|_| de::Error::custom(format_args!("`{name}` is no name of a header")))
}

impl Default for ForwardAuthConfig {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_read_from_a_configuration_file() {
        let read: ForwardAuthConfig = toml::from_str(
            r#"
            uri_header = "X-Forwarded-Uri"
            method_header = "X-Forwarded-Method"
            preflight = true
            org = "02d83b1c5b7b4000"
            upstream = "v2"
            influxdb_version = { version = "1.8.10", build = "OSS" }
            "#,
        )
        .unwrap();
        let version = InfluxdbVersion::new("1.8.10").unwrap().with_build("OSS").unwrap();
        let expected = ForwardAuthConfig::new()
            .uri_header(HeaderName::from_static("x-forwarded-uri"))
            .method_header(HeaderName::from_static("x-forwarded-method"))
            .preflight(true)
            .org("02d83b1c5b7b4000".parse::<OrgId>().unwrap())
            .upstream(UpstreamSemantics::V2)
            .influxdb_version(version);
        assert_eq!(read, expected);
        assert_eq!(toml::from_str(""), Ok(ForwardAuthConfig::new()));
    }

    #[test]
    fn a_setting_that_cannot_be_read_is_an_error_with_its_name() {
        for (text, part) in [
            ("uri_header = 'X Original'", "`X Original` is no name of a header"),
            ("upstream = 'v3'", "expected `v1` or `v2`"),
            ("org = 'acme'", "org = 'acme'"),
            ("influxdb_version = { version = '' }", "visible ASCII"),
            ("influxdb_version = { release = '1.8' }", "unknown field `release`"),
            ("uri = 'X-Original-URI'", "unknown field `uri`"),
        ] {
            let error = toml::from_str::<ForwardAuthConfig>(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
