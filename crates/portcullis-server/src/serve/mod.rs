//! `portcullis serve`: the engine over HTTP, until a signal ends it.

mod connections;
mod first_start;
mod signals;

use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::http::HeaderName;
use portcullis::store::Store;
use portcullis_http::{ServerConfig, TrustedProxy};
use tokio::net::TcpListener;
use tokio::runtime;

use crate::failure::Outcome;
use crate::local_store::{IfMissing, in_memory};
use crate::session::{PolicyArgs, build_engine};
use crate::store_url::StoreUrl;

use first_start::TokenPlace;
use signals::Signals;

/// How long requests in flight may take once the end was asked for.
const GRACE: Duration = Duration::from_secs(10);

/// How long what is left at the very end, such as a read that hangs, may hold up the exit.
const LAST_WAIT: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
#[command(after_help = "\
Standard output gets `listening on http://ADDR` once connections are accepted, and nothing else but
the operator token of a new store: a store that nobody has set up yet is set up with the org
`default`, the user `admin` and the bucket `default`. Its operator token is shown if standard output
is a terminal, else it is written to the file `operator-token` beside the store (for memory: in the
current directory), readable only by its owner. Logs go to standard error.

SIGTERM and SIGINT end it: requests in flight have 10 seconds to finish. The second one ends it at
once.

Examples:
  portcullis serve
  portcullis serve --store sqlite:/var/lib/portcullis/portcullis.db --listen 127.0.0.1:0")]
pub(crate) struct Args {
    /// Where to listen: IP address or host name, colon, port; port 0 is any free one
    #[arg(
        long,
        env = "PORTCULLIS_LISTEN",
        hide_env_values = true,
        value_name = "ADDR",
        default_value = "127.0.0.1:8087"
    )]
    listen: String,

    /// Listen on an address that other machines can reach, although everything, passwords
    /// included, goes over the network in the clear. For networks that are trusted, or with a
    /// proxy in front that speaks TLS
    #[arg(long)]
    allow_plaintext: bool,

    /// A proxy, or a network of proxies such as 10.0.0.0/8, that tells the client's address in
    /// `X-Forwarded-For`; may be given several times. Nobody else is believed
    #[arg(long, value_name = "CIDR")]
    trusted_proxy: Vec<TrustedProxy>,

    /// The header in which a reverse proxy tells `/forward-auth` the URI of the original request
    #[arg(long, value_name = "NAME", default_value = "X-Original-URI")]
    forward_auth_uri_header: HeaderName,

    /// Whether to slow down those who guess passwords. This version never does; `off` says that
    /// this is meant
    #[arg(long, value_parser = ["off"])]
    throttle: Option<String>,

    #[command(flatten)]
    policy: PolicyArgs,
}

impl Args {
    fn http(&self) -> ServerConfig {
        let mut config = ServerConfig::default();
        config.forward_auth.uri_header = self.forward_auth_uri_header.clone();
        config.trusted_proxies.clone_from(&self.trusted_proxy);
        config
    }
}

pub(crate) fn run(args: Args, store: &str) -> anyhow::Result<Outcome> {
    let url = StoreUrl::parse(store)?;
    let addresses = addresses(&args.listen, args.allow_plaintext)?;
    let runtime = runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")?;
    let result = runtime.block_on(serve(&args, &url, &addresses));
    runtime.shutdown_timeout(LAST_WAIT);
    result.map(|()| Outcome::Done)
}

/// Finds the addresses to listen on, and refuses those that only TLS makes safe.
fn addresses(listen: &str, allow_plaintext: bool) -> anyhow::Result<Vec<SocketAddr>> {
    let addresses: Vec<_> = listen
        .to_socket_addrs()
        .with_context(|| format!("--listen {listen} is not an address such as 127.0.0.1:8087"))?
        .collect();
    let is_loopback = |address: &SocketAddr| address.ip().to_canonical().is_loopback();
    if !allow_plaintext && !addresses.iter().all(is_loopback) {
        bail!(
            "--listen {listen} can be reached from other machines, and passwords would go over \
             the network in the clear: listen on 127.0.0.1 with a proxy that speaks TLS in front, \
             or allow it with --allow-plaintext"
        );
    }
    Ok(addresses)
}

async fn serve(args: &Args, url: &StoreUrl, addresses: &[SocketAddr]) -> anyhow::Result<()> {
    // First what can fail without leaving anything behind.
    let signals = Signals::listen().context("cannot listen for signals")?;
    let listener = TcpListener::bind(addresses)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let address = listener.local_addr().context("cannot tell the address")?;

    let store = open(url)?;
    let result = async {
        let engine = build_engine(Arc::clone(&store), args.policy).await?;
        first_start::set_up_if_new(&engine, &token_place(url)?, &mut io::stdout()).await?;
        announce(&mut io::stdout(), &format!("listening on http://{address}"));
        tracing::info!(%address, store = %url, "serving");
        let router = portcullis_http::server_router_with(engine, args.http());
        connections::serve(listener, router, signals.wait(), GRACE).await;
        Ok(())
    }
    .await;
    let closed = store.close().await.context("could not close the store");
    if result.is_ok() && closed.is_ok() {
        tracing::info!("ended");
    }
    result.and(closed)
}

/// Opens the store. This blocks, which harms nobody: nothing is served yet.
fn open(url: &StoreUrl) -> anyhow::Result<Arc<dyn Store>> {
    match url {
        StoreUrl::Memory => in_memory(),
        StoreUrl::Local(store) => Ok(store.open(IfMissing::Create)?),
    }
}

/// Where the operator token of a new store goes.
fn token_place(url: &StoreUrl) -> anyhow::Result<TokenPlace> {
    if io::IsTerminal::is_terminal(&io::stdout()) {
        return Ok(TokenPlace::Terminal);
    }
    let beside = match url {
        StoreUrl::Memory => PathBuf::new(),
        StoreUrl::Local(store) => store.path().to_owned(),
    };
    let path = beside.with_file_name("operator-token");
    let path = std::path::absolute(path).context("cannot tell the current directory")?;
    Ok(TokenPlace::File(path))
}

/// Prints a line for whoever started the server. That they no longer listen is no reason not to
/// serve.
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
    fn other_machines_reach_only_what_was_allowed() {
        for listen in ["127.0.0.1:0", "127.8.9.1:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
            assert!(addresses(listen, false).is_ok(), "{listen}");
        }
        for listen in ["0.0.0.0:0", "[::]:80", "192.0.2.1:80", "[::ffff:192.0.2.1]:80"] {
            let error = addresses(listen, false).unwrap_err().to_string();
            assert!(error.contains("--allow-plaintext"), "{error}");
            assert!(addresses(listen, true).is_ok(), "{listen}");
        }
        for listen in ["", "127.0.0.1", ":8087x", "127.0.0.1:70000"] {
            assert!(addresses(listen, false).is_err(), "{listen}");
        }
    }
}
