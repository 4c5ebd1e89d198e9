//! The configuration of forward-auth.

use http::HeaderName;
use portcullis::OrgId;

use crate::v1::buckets::UpstreamSemantics;
use crate::v1::influxdb_version::InfluxdbVersion;

/// The configuration of forward-auth: how it and the proxy work together.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct ForwardAuthConfig {
    pub(super) uri_header: HeaderName,
    pub(super) method_header: HeaderName,
    pub(super) preflight: bool,
    pub(super) org: Option<OrgId>,
    pub(super) upstream: UpstreamSemantics,
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

impl Default for ForwardAuthConfig {
    fn default() -> Self {
        Self::new()
    }
}
