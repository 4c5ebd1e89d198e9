//! `portcullis serve`: the engine over HTTP, until a signal ends it.

mod byte_size;
mod connections;
mod expiry;

mod first_start;
mod forward_auth;
mod gateway;
mod login_args;
mod login_history;
mod metrics;
mod signals;
mod tls;

use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use portcullis::store::Store;
use portcullis::{Engine, EngineBuilder};
use portcullis_audit::AuditLog;
use portcullis_http::{CredentialLimiter, ServerApi, TrustedProxy};
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::failure::{Outcome, describe};
use crate::stores::{OpenMode, PersistentStore, StoreUrl, in_memory};

use connections::{Limits, Listener};
use first_start::TokenPlace;
use forward_auth::ForwardAuthArgs;
use gateway::{GatewayArgs, GatewayReloader};
use login_args::LoginArgs;
use login_history::HistoryFile;
use metrics::Metrics;
use signals::{Hangups, Signals};
use tls::{Reloader, TlsArgs};

/// The longest time that unfinished work, such as a read that hangs, delays the exit.
const EXIT_WAIT: Duration = Duration::from_secs(1);

/// The longest time that last uses of credentials which are not yet written delay the exit.
const LAST_USE_WAIT: Duration = Duration::from_secs(2);

/// The longest time that audit events which are not yet written delay the exit.
const AUDIT_WAIT: Duration = Duration::from_secs(5);

/// The most connections to the metrics at a time.
const METRICS_CONNECTIONS: usize = 16;

#[derive(clap::Args)]
#[command(after_help = "\
A new store is created and set up with the org `default`, the user `admin` and the bucket
`default`. Its operator token is shown if standard output is a terminal; otherwise it is
written to the file `operator-token` beside the store (for memory: in the current directory),
readable only by its owner. A store in PostgreSQL is neither created nor set up: `portcullis
setup` does that.

Standard output gets at most three lines: where the operator token of a new store is,
`listening on http://ADDR` (or https) once connections are accepted, and with --upstream
`gateway on http://ADDR`. Logs go to standard error.

SIGTERM and SIGINT end the server: requests in flight have 10 seconds to finish. A second
signal ends it at once. SIGHUP reloads the certificate, its key and the gateway's
credentials, and reopens the audit log. Nothing else is read again: for changes in the
configuration file (--config), start it again.

Examples:
  portcullis serve
  portcullis serve --store sqlite:/var/lib/portcullis/portcullis.db --listen 127.0.0.1:0
  portcullis serve --store postgres://portcullis@db1,db2/portcullis
  portcullis serve --upstream http://127.0.0.1:8186 --gateway-listen 127.0.0.1:8086")]
pub(crate) struct Args {
    /// The address to listen on: IP address or host name, colon, port. Port 0 takes any free port
    #[arg(
        long,
        env = "PORTCULLIS_LISTEN",
        hide_env_values = true,
        value_name = "ADDR",
        default_value = "127.0.0.1:8087"
    )]
    listen: String,

    /// Listen without TLS on an address that other machines can reach. Everything, passwords
    /// included, then goes over the network in the clear. For trusted networks, or behind a proxy that
    /// speaks TLS
    #[arg(long, conflicts_with = "tls_cert")]
    allow_plaintext: bool,

    /// A proxy, or a network of proxies such as 10.0.0.0/8, whose `X-Forwarded-For` is trusted to name
    /// the client's address (can be repeated). The header is ignored from any other address
    #[arg(long, value_name = "CIDR")]
    trusted_proxy: Vec<TrustedProxy>,

    /// The most connections at a time, 1 to 65536. Each needs an open file, of which systems usually
    /// allow 1024. At the limit, an idle connection is evicted for a new one: unauthenticated ones
    /// first, and of these, those of a source with many connections
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 512,
        value_parser = clap::value_parser!(u32).range(1..=65_536)
    )]
    max_connections: u32,

    /// Serve metrics for Prometheus at this address, under /metrics, without authentication. TLS and
    /// --allow-plaintext apply to it as well. The log names the address
    #[arg(long, value_name = "ADDR")]
    metrics_listen: Option<String>,

    /// Refuse every change, with 503, while the audit log cannot be written. Logins go on. Needs
    /// --audit-log
    #[arg(long)]
    audit_required: bool,

    /// Refuse every change, with 503, while the store is copied with `portcullis migrate`. Logins go
    /// on. The store must have been set up
    #[arg(long)]
    read_only: bool,

    // The options above have no heading: that of a group would go on after it.
    #[command(flatten)]
    forward_auth: ForwardAuthArgs,

    #[command(flatten)]
    gateway: GatewayArgs,

    #[command(flatten)]
    tls: TlsArgs,

    #[command(flatten)]
    logins: LoginArgs,
}

impl Args {
    async fn http(
        &self,
        engine: &Engine,
        limiter: Option<CredentialLimiter>,
    ) -> anyhow::Result<ServerApi> {
        Ok(ServerApi::new(engine.clone())
            .limiter(limiter)
            .forward_auth(self.forward_auth.config(engine).await?)
            .trusted_proxies(self.trusted_proxy.iter().copied()))
    }

    fn engine(&self, store: Arc<dyn Store>, audit: Option<AuditLog>) -> EngineBuilder {
        let builder = self.logins.configure(Engine::builder(store)).read_only(self.read_only);
        match audit {
            Some(audit) => builder.audit(audit),
            None => builder,
        }
    }

    /// Returns whether the server may listen on addresses that other machines can reach.
    fn may_be_reached(&self) -> bool {
        self.allow_plaintext || self.tls.is_given()
    }

    fn limits(&self) -> Limits {
        // `usize` has at least 32 bits on every machine that this runs on.
        Limits::new(usize::try_from(self.max_connections).unwrap_or(usize::MAX))
    }
}

pub(crate) fn run(args: Args, store: &str, audit_log: Option<PathBuf>) -> anyhow::Result<Outcome> {
    keep_memory_private();
    let places = Places::new(&args, store, audit_log.as_deref())?;
    let runtime = runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")?;
    let work = serve(&args, &places, audit_log.as_deref());
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(EXIT_WAIT);
    result.map(|()| Outcome::Done)
}

/// Checks what the server checks before it opens or creates anything: the options, and the files with
/// certificates and secrets.
pub(crate) fn check(args: &Args, store: &str, audit_log: Option<&Path>) -> anyhow::Result<()> {
    Places::new(args, store, audit_log)?;
    args.tls.load()?;
    args.gateway.upstream()?;
    args.forward_auth.version()?;
    Ok(())
}

/// Keeps passwords and tokens out of core dumps, and out of reach of other processes of this user.
fn keep_memory_private() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, Resource, Rlimit};
        use rustix::process::{set_dumpable_behavior, setrlimit};

        let none = Rlimit { current: Some(0), maximum: Some(0) };
        let done = setrlimit(Resource::Core, none)
            .and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable));
        if let Err(error) = done {
            tracing::warn!(%error, "memory may be written to core dumps");
        }
    }
}

/// Returns the addresses to listen on, and refuses those that only TLS makes safe.
fn addresses(option: &str, listen: &str, may_be_reached: bool) -> anyhow::Result<Vec<SocketAddr>> {
    let addresses: Vec<_> = listen
        .to_socket_addrs()
        .with_context(|| format!("{option} {listen} is not an address such as 127.0.0.1:8087"))?
        .collect();
    let is_loopback = |address: &SocketAddr| address.ip().to_canonical().is_loopback();
    if !may_be_reached && !addresses.iter().all(is_loopback) {
        bail!(
            "{option} {listen} can be reached from other machines, and everything would go over \
             the network in the clear: give a certificate with --tls-cert and --tls-key, listen on \
             127.0.0.1 with a proxy that speaks TLS in front, or allow it with --allow-plaintext"
        );
    }
    Ok(addresses)
}

fn bind(addresses: &[SocketAddr], listen: &str) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let sockets = addresses.iter().map(|address| connections::listen_at(*address));
    let socket = sockets
        .reduce(Result::or)
        .unwrap_or_else(|| Err(io::ErrorKind::AddrNotAvailable.into()))
        .with_context(|| format!("cannot listen on {listen}"))?;
    let address = socket.local_addr().context("cannot determine the address")?;
    Ok((socket, address))
}

/// What options name: the store, and of each listener the addresses of its host.
struct Places {
    store: StoreUrl,
    api: Vec<SocketAddr>,
    gateway: Option<Vec<SocketAddr>>,
    metrics: Option<Vec<SocketAddr>>,
}

impl Places {
    fn new(args: &Args, store: &str, audit_log: Option<&Path>) -> anyhow::Result<Self> {
        if args.audit_required && audit_log.is_none() {
            bail!("--audit-required needs the file to be written: give --audit-log PATH");
        }
        let may_be_reached = args.may_be_reached();
        let optional = |option: &str, listen: Option<&str>| match listen {
            Some(listen) => addresses(option, listen, may_be_reached).map(Some),
            None => Ok(None),
        };
        Ok(Self {
            store: StoreUrl::parse(store)?,
            api: addresses("--listen", &args.listen, may_be_reached)?,
            metrics: optional("--metrics-listen", args.metrics_listen.as_deref())?,
            gateway: optional("--gateway-listen", args.gateway.listen())?,
        })
    }
}

async fn serve(args: &Args, places: &Places, audit_log: Option<&Path>) -> anyhow::Result<()> {
    let url = &places.store;
    // First, everything that can fail before anything is created.
    let signals = Signals::listen().context("cannot listen for signals")?;
    let hangups = Hangups::listen().context("cannot listen for signals")?;
    let (tls, reloader) = args.tls.load()?.unzip();
    let upstream = args.gateway.upstream()?;
    let (socket, address) = bind(&places.api, &args.listen)?;
    let gateway = match (&places.gateway, args.gateway.listen(), upstream) {
        (Some(addresses), Some(listen), Some(upstream)) => {
            Some((bind(addresses, listen)?, upstream))
        }
        _ => None,
    };
    let metrics = match (&places.metrics, &args.metrics_listen) {
        (Some(addresses), Some(listen)) => Some((bind(addresses, listen)?, Metrics::install()?)),
        _ => None,
    };
    let audit = match audit_log {
        Some(path) => Some(
            AuditLog::options()
                .required(args.audit_required)
                .open(path)
                .with_context(|| format!("--audit-log: cannot open `{}`", path.display()))?,
        ),
        None => None,
    };

    let creates = if args.read_only { OpenMode::MustExist } else { OpenMode::Create };
    let store = open(url, creates).await?;
    let result = async {
        let history = args.logins.history_file(url);
        let mut builder = args.engine(Arc::clone(&store), audit.clone());
        if let Some(loaded) = history.as_ref().map(HistoryFile::load).transpose()?.flatten() {
            builder = builder.login_history(loaded);
        }
        let engine = builder.build().await?;
        match token_place(url)?.filter(|_| !args.read_only) {
            Some(place) => {
                first_start::set_up_if_new(&engine, &place, &mut io::stdout()).await?;
            }
            // Of several servers that start on a new database, no particular one could set it up. A
            // read-only server never does.
            None if !engine.is_set_up().await? => bail!(
                "the store in {url} is not set up: use `portcullis setup`, `import` or `migrate`"
            ),
            None => {}
        }
        let limiter = args.logins.limiter();
        let http = args.http(&engine, limiter.clone()).await?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let metrics = metrics.map(|((socket, address), metrics)| {
            tracing::info!("metrics on {scheme}://{address}/metrics");
            tokio::spawn(metrics.keep_up());
            let router = metrics.router(engine.clone(), limiter.clone());
            Listener { name: "metrics", socket, tls: tls.clone(), router }
        });
        let gateway = match gateway {
            Some(((socket, address), upstream)) => {
                let url = upstream.url();
                let clients = &args.forward_auth;
                let service = args.gateway.service(&engine, upstream, clients, limiter).await?;
                let router = gateway::router(service.clone(), &args.trusted_proxy);
                let reloader = GatewayReloader { args: args.gateway.clone(), service };
                let listener = Listener { name: "gateway", socket, tls: tls.clone(), router };
                Some((listener, address, url, reloader))
            }
            None => None,
        };
        let mut reloaded = Reloaded { certificate: reloader, gateway: None, audit: audit.clone() };
        announce(&mut io::stdout(), &format!("listening on {scheme}://{address}"));
        let gateway = gateway.map(|(listener, address, upstream, reloader)| {
            announce(&mut io::stdout(), &format!("gateway on {scheme}://{address}"));
            tracing::info!(%address, upstream, "serving the gateway");
            reloaded.gateway = Some(reloader);
            listener
        });
        tracing::info!(%address, store = %url, "serving");
        for proxy in args.trusted_proxy.iter().filter(|proxy| proxy.is_too_wide()) {
            tracing::warn!(
                "--trusted-proxy {proxy} trusts clients as well, which can then choose any address and \
                 evade the throttling of failed logins: name only your proxies"
            );
        }
        if args.read_only {
            tracing::warn!("read-only: every change is refused");
        }
        tokio::spawn(reload_on_hangup(hangups, reloaded));
        let saving = history.clone().map(|file| tokio::spawn(file.save_regularly(engine.clone())));
        let scanning = tokio::spawn(expiry::scan_regularly(engine.clone()));
        let router = metrics::measured(http.into_router());
        let api = Listener { name: "api", socket, tls, router };
        let listeners = [Some(api), gateway].into_iter().flatten();
        serve_all(listeners, metrics, args.limits(), signals.wait()).await;
        scanning.abort();
        if timeout(LAST_USE_WAIT, engine.flush_last_uses()).await.is_err() {
            tracing::warn!("last uses of credentials could not be written in time");
        }
        if let (Some(file), Some(saving)) = (history, saving) {
            saving.abort();
            file.save(&engine);
        }
        Ok(())
    }
    .await;
    let closed = store.close().await.context("could not close the store");
    if let Some(audit) = audit {
        let left = audit.close(AUDIT_WAIT);
        if left > 0 {
            tracing::error!("{left} audit events could not be written");
        }
    }
    if result.is_ok() && closed.is_ok() {
        tracing::info!("ended");
    }
    result.and(closed)
}

/// Serves the listeners until `end`, and metrics until the last request of these is finished.
async fn serve_all(
    listeners: impl IntoIterator<Item = Listener>,
    metrics: Option<Listener>,
    limits: Limits,
    end: impl Future<Output = ()>,
) {
    let end = end.shared();
    let (served, ended) = oneshot::channel::<()>();
    let serve = |listener| connections::serve(listener, limits, end.clone());
    let all = join_all(listeners.into_iter().map(serve));
    let serve_listeners = async {
        all.await;
        drop(served);
    };
    let serve_metrics = async {
        if let Some(metrics) = metrics {
            let limits = Limits { shutdown: EXIT_WAIT, ..Limits::new(METRICS_CONNECTIONS) };
            let end = async {
                let _ = ended.await;
            };
            connections::serve(metrics, limits, end).await;
        }
    };
    tokio::join!(serve_listeners, serve_metrics);
}

/// What is read again at a SIGHUP.
struct Reloaded {
    certificate: Option<Reloader>,
    gateway: Option<GatewayReloader>,
    audit: Option<AuditLog>,
}

/// Reloads the certificate and the gateway's credentials and reopens the audit log, at every SIGHUP.
async fn reload_on_hangup(mut hangups: Hangups, reloaded: Reloaded) {
    loop {
        hangups.next().await;
        if let Some(audit) = &reloaded.audit {
            audit.reopen();
        }
        if let Some(certificate) = &reloaded.certificate {
            log_reload("the certificate", certificate.reload());
        }
        if let Some(gateway) = &reloaded.gateway {
            log_reload("the gateway's credentials", gateway.reload());
        }
    }
}

fn log_reload(what: &str, result: anyhow::Result<()>) {
    match result {
        Ok(()) => tracing::info!("reloaded {what}"),
        Err(error) => tracing::error!(
            "cannot reload {what}, and what was loaded before stays in use: {}",
            describe(&error)
        ),
    }
}

/// Opens the store. Opening files blocks the thread, before any request is served.
async fn open(url: &StoreUrl, mode: OpenMode) -> anyhow::Result<Arc<dyn Store>> {
    match url {
        StoreUrl::Memory => in_memory(),
        StoreUrl::Persistent(PersistentStore::File(store)) => {
            let opened = store.open(mode)?;
            store.warn_if_open_to_others();
            Ok(opened)
        }
        StoreUrl::Persistent(PersistentStore::Postgres(url)) => {
            Ok(url.open(OpenMode::MustExist).await?)
        }
    }
}

/// Returns where the operator token of a new store goes, `None` for a store that is not set up here.
fn token_place(url: &StoreUrl) -> anyhow::Result<Option<TokenPlace>> {
    let beside = match url {
        StoreUrl::Memory => PathBuf::new(),
        StoreUrl::Persistent(PersistentStore::File(store)) => store.path().to_owned(),
        StoreUrl::Persistent(PersistentStore::Postgres(_)) => return Ok(None),
    };
    if io::IsTerminal::is_terminal(&io::stdout()) {
        return Ok(Some(TokenPlace::Terminal));
    }
    let path = beside.with_file_name("operator-token");
    let path = std::path::absolute(path).context("cannot determine the current directory")?;
    Ok(Some(TokenPlace::File(path)))
}

/// Prints a line on standard output. The server goes on if that fails.
fn announce(stdout: &mut impl Write, line: &str) {
    if let Err(error) = write_line(stdout, line) {
        tracing::warn!(%error, "cannot write to standard output: {line}");
    }
}

fn write_line(stdout: &mut impl Write, line: &str) -> io::Result<()> {
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_other_machines_can_reach_need_tls_or_permission() {
        for listen in ["127.0.0.1:0", "127.8.9.1:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
            assert!(addresses("--listen", listen, false).is_ok(), "{listen}");
        }
        for listen in ["0.0.0.0:0", "[::]:80", "192.0.2.1:80", "[::ffff:192.0.2.1]:80"] {
            let error = addresses("--listen", listen, false).unwrap_err().to_string();
            assert!(error.contains("--tls-cert") && error.contains("--allow-plaintext"), "{error}");
            assert!(addresses("--listen", listen, true).is_ok(), "{listen}");
        }
        for listen in ["", "127.0.0.1", ":8087x", "127.0.0.1:70000"] {
            assert!(addresses("--listen", listen, false).is_err(), "{listen}");
        }
    }
}
