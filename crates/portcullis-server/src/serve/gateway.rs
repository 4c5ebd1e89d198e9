//! The options of `serve` for the gateway: a reverse proxy before a database.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use clap::value_parser;
use portcullis::Engine;
use portcullis_gateway::{Gateway, GatewayService, Upstream};
use portcullis_http::{ClientAddressLayer, CredentialLimiter, TrustedProxy};
use tower_layer::Layer as _;

use super::byte_size::ByteSize;
use super::forward_auth::{ForwardAuthArgs, find_org};
use super::tls::warn_if_open_to_others;
use crate::passwords::{Secret, read_secret};

#[derive(Clone, clap::Args)]
#[command(next_help_heading = "Gateway")]
pub(super) struct GatewayArgs {
    /// Serve a gateway before the database at this URL: a reverse proxy for /write, /query,
    /// /api/v2/write and /api/v1/prom, which decides every write and every statement. The database must
    /// be reachable for nothing else
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,

    /// The address at which the gateway listens. TLS and --allow-plaintext apply to it as well
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8086", requires = "upstream")]
    gateway_listen: String,

    /// The username with which the gateway logs in to the database: of an admin, if the database
    /// authenticates
    #[arg(
        long,
        value_name = "NAME",
        requires_all = ["upstream", "upstream_password_file"],
        conflicts_with = "upstream_token_file"
    )]
    upstream_username: Option<String>,

    /// The file with the password for it, as its only line
    #[arg(long, value_name = "FILE", requires = "upstream_username")]
    upstream_password_file: Option<PathBuf>,

    /// The file with a token in place of username and password, as its only line
    #[arg(long, value_name = "FILE", requires = "upstream")]
    upstream_token_file: Option<PathBuf>,

    /// The org of the database, which InfluxDB 2.x needs for /api/v2/write. The client's is never passed
    /// on
    #[arg(long, value_name = "ORG", requires = "upstream")]
    upstream_org: Option<String>,

    /// The certificates that are trusted for the database: a PEM file. By default those that the system
    /// trusts
    #[arg(long, value_name = "FILE", requires = "upstream")]
    upstream_ca: Option<PathBuf>,

    /// The longest time that connecting to the database may take, 1 to 60 seconds
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 2,
        requires = "upstream",
        value_parser = value_parser!(u32).range(1..=60)
    )]
    upstream_connect_timeout: u32,

    /// The longest time in which the database may send nothing of a response, 1 to 86400 seconds. A query
    /// that takes longer until its first result is 503
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 60,
        requires = "upstream",
        value_parser = value_parser!(u32).range(1..=86_400)
    )]
    upstream_timeout: u32,

    /// Allow only credentials of this org, by name or id. Otherwise two orgs with a bucket of the same
    /// name share the database of that name
    #[arg(long, value_name = "ORG", requires = "upstream")]
    gateway_org: Option<String>,

    /// Pass CORS preflights on to the database without credentials: OPTIONS with Origin and
    /// Access-Control-Request-Method, which browsers send without any
    #[arg(long, requires = "upstream")]
    gateway_preflight: bool,

    /// The largest body of a write, such as 25MiB; a plain number is in MiB. A larger one is 413
    #[arg(
        long,
        value_name = "SIZE",
        default_value_t = ByteSize::mebibytes(25),
        requires = "upstream",
        value_parser = |text: &str| ByteSize::parse_up_to(text, ByteSize::mebibytes(65_536))
    )]
    gateway_max_body: ByteSize,

    /// The longest time in which a client may send nothing of a body, 1 to 3600 seconds
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 30,
        requires = "upstream",
        value_parser = value_parser!(u32).range(1..=3_600)
    )]
    gateway_client_timeout: u32,

    /// Show the literals of denied statements in the log and the audit log. They may be passwords
    #[arg(long, requires = "upstream")]
    gateway_show_literals: bool,
}

impl GatewayArgs {
    /// Returns the address to listen at, if there is a gateway.
    pub(super) fn listen(&self) -> Option<&str> {
        self.upstream.as_ref().map(|_| self.gateway_listen.as_str())
    }

    /// Reads the files, if there is a gateway.
    pub(super) fn upstream(&self) -> anyhow::Result<Option<Upstream>> {
        let Some(url) = &self.upstream else { return Ok(None) };
        // The error quotes nothing: the URL may hold a password where it must not.
        let mut upstream = Upstream::new(url).context("--upstream")?;
        if let (Some(username), Some(path)) =
            (&self.upstream_username, &self.upstream_password_file)
        {
            let password = secret("--upstream-password-file", path)?;
            let password = std::str::from_utf8(&password)
                .context("--upstream-password-file: the password is not UTF-8")?;
            upstream = upstream.password(username, password).context("--upstream-username")?;
        }
        if let Some(path) = &self.upstream_token_file {
            let token = secret("--upstream-token-file", path)?;
            let token = std::str::from_utf8(&token)
                .context("--upstream-token-file: the token is not UTF-8")?;
            upstream = upstream.token(token).context("--upstream-token-file")?;
        }
        if let Some(path) = &self.upstream_ca {
            let pem = fs::read(path)
                .with_context(|| format!("--upstream-ca: cannot read `{}`", path.display()))?;
            upstream = upstream
                .certificates(&pem)
                .with_context(|| format!("--upstream-ca: `{}`", path.display()))?;
        }
        Ok(Some(
            upstream
                .org(self.upstream_org.clone())
                .connect_timeout(seconds(self.upstream_connect_timeout))
                .timeout(seconds(self.upstream_timeout)),
        ))
    }

    /// Returns the gateway before the upstream.
    pub(super) async fn service(
        &self,
        engine: &Engine,
        upstream: Upstream,
        clients: &ForwardAuthArgs,
        limiter: Option<CredentialLimiter>,
    ) -> anyhow::Result<GatewayService> {
        let org = match &self.gateway_org {
            Some(org) => Some(find_org("--gateway-org", engine, org).await?),
            None => None,
        };
        let max_bytes = u64::try_from(self.gateway_max_body.bytes()).unwrap_or(u64::MAX);
        Gateway::new(engine.clone(), upstream)
            .org(org)
            .semantics(clients.semantics())
            .influxdb_version(clients.version()?)
            .preflight(self.gateway_preflight)
            .show_literals(self.gateway_show_literals)
            .max_body_bytes(max_bytes)
            .client_timeout(seconds(self.gateway_client_timeout))
            .limiter(limiter)
            .into_service()
            .context("--upstream")
    }
}

/// Reads the files with the gateway's credentials again.
pub(super) struct GatewayReloader {
    pub(super) args: GatewayArgs,
    pub(super) service: GatewayService,
}

impl GatewayReloader {
    /// Reads the files for further requests. If that fails, what was read before stays in use.
    pub(super) fn reload(&self) -> anyhow::Result<()> {
        if let Some(upstream) = self.args.upstream()? {
            self.service.renew_credentials(&upstream);
        }
        Ok(())
    }
}

/// Returns the routes of the gateway.
pub(super) fn router(service: GatewayService, trusted_proxies: &[TrustedProxy]) -> Router {
    let addresses = ClientAddressLayer::new(trusted_proxies.iter().copied());
    Router::new().fallback_service(addresses.layer(service))
}

fn secret(option: &str, path: &std::path::Path) -> anyhow::Result<Secret> {
    let secret = read_secret(path).context(option.to_owned())?;
    if secret.is_empty() {
        bail!("{option}: `{}` is empty", path.display());
    }
    warn_if_open_to_others(path);
    Ok(secret)
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}
