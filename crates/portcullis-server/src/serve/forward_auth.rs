//! The options of `serve` for forward-auth and for v1 clients.

use crate::upstream::Semantics;
use anyhow::{Context as _, bail};
use axum::http::HeaderName;
use portcullis::{Engine, OrgId};
use portcullis_http::{ForwardAuthConfig, InfluxdbVersion, UpstreamSemantics};

#[derive(clap::Args)]
#[command(next_help_heading = "Reverse proxies and v1 clients")]
pub(super) struct ForwardAuthArgs {
    /// The header in which a reverse proxy sends `/forward-auth` the URI of the original request
    #[arg(long, value_name = "NAME", default_value = "X-Original-URI")]
    forward_auth_uri_header: HeaderName,

    /// The header in which it sends the method of the original request, for --forward-auth-preflight
    #[arg(long, value_name = "NAME", default_value = "X-Original-Method")]
    forward_auth_method_header: HeaderName,

    /// Allow CORS preflights without credentials: OPTIONS with Origin and
    /// Access-Control-Request-Method, which browsers send without any
    #[arg(long)]
    forward_auth_preflight: bool,

    /// Allow only credentials of this org, by name or id. Otherwise two orgs with a bucket of the same
    /// name share the database of that name
    #[arg(long, value_name = "ORG")]
    forward_auth_org: Option<String>,

    /// How the database reads `db=DB&rp=RP` if there is no bucket `DB/RP`: as a part of the database,
    /// which write on the bucket `DB` covers (v1), or as a bucket of its own, which is refused (v2)
    #[arg(long, value_name = "VERSION", value_enum, default_value_t = Semantics::V1)]
    upstream_semantics: Semantics,

    /// The version of InfluxDB, such as 1.8.10, in responses to v1 clients: of /ping, and with a
    /// refusal. By default none
    #[arg(long, value_name = "VERSION")]
    influxdb_version: Option<String>,

    /// The build of InfluxDB, such as OSS, in responses to v1 clients
    #[arg(long, value_name = "BUILD", requires = "influxdb_version")]
    influxdb_build: Option<String>,
}

impl ForwardAuthArgs {
    pub(super) async fn config(&self, engine: &Engine) -> anyhow::Result<ForwardAuthConfig> {
        let org = match &self.forward_auth_org {
            Some(org) => Some(find_org("--forward-auth-org", engine, org).await?),
            None => None,
        };
        Ok(ForwardAuthConfig::new()
            .uri_header(self.forward_auth_uri_header.clone())
            .method_header(self.forward_auth_method_header.clone())
            .preflight(self.forward_auth_preflight)
            .org(org)
            .upstream(self.semantics())
            .influxdb_version(self.version()?))
    }

    /// Returns what a retention policy means to the database.
    pub(super) fn semantics(&self) -> UpstreamSemantics {
        self.upstream_semantics.into()
    }

    /// Returns the version that v1 clients are shown.
    pub(super) fn version(&self) -> anyhow::Result<Option<InfluxdbVersion>> {
        let Some(version) = &self.influxdb_version else { return Ok(None) };
        let version = InfluxdbVersion::new(version).context("--influxdb-version")?;
        match &self.influxdb_build {
            Some(build) => Ok(Some(version.with_build(build).context("--influxdb-build")?)),
            None => Ok(Some(version)),
        }
    }
}

/// Finds the org of an option by name or id.
///
/// # Errors
///
/// Where there is none, and where the text is the id of one and the name of another.
pub(super) async fn find_org(option: &str, engine: &Engine, org: &str) -> anyhow::Result<OrgId> {
    let directory = engine.directory();
    let by_name = directory.org_by_name(org).await?;
    let by_id = match org.parse::<OrgId>() {
        Ok(id) => directory.org(id).await?,
        Err(_) => None,
    };
    match (by_name, by_id) {
        (Some(found), None) | (None, Some(found)) => Ok(found.id),
        (Some(by_name), Some(by_id)) if by_name.id == by_id.id => Ok(by_id.id),
        (Some(by_name), Some(_)) => bail!(
            "{option}: {org:?} is the id of one org and the name of another, {}: rename \
             that one",
            by_name.id
        ),
        (None, None) => {
            bail!("{option}: there is no org {org:?}: `portcullis org list` shows them")
        }
    }
}
