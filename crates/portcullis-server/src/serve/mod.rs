//! `portcullis serve`: the engine over HTTP, until a signal ends it.

mod connections;
mod first_start;
mod signals;
mod timed;
mod tls;
mod waiting;

use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use portcullis::store::Store;
use tokio::net::TcpListener;
use tokio::runtime;

use crate::failure::{Outcome, describe};
use crate::local_store::{IfMissing, in_memory};
use crate::session::{PolicyArgs, build_engine};
use crate::store_url::StoreUrl;

use connections::Limits;
use first_start::TokenPlace;
use signals::{Hangups, Signals};
use tls::{Reloader, TlsArgs};

/// How long what is left at the very end, such as a read that hangs, may hold up the exit.
const LAST_WAIT: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
#[command(after_help = "\
Standard output gets `listening on http://ADDR`, or https, once connections are accepted, and nothing else but
the operator token of a new store: a store that nobody has set up yet is set up with the org
`default`, the user `admin` and the bucket `default`. Its operator token is shown if standard output
is a terminal, else it is written to the file `operator-token` beside the store (for memory: in the
current directory), readable only by its owner. Logs go to standard error.

SIGTERM and SIGINT end it: requests in flight have 10 seconds to finish. The second one ends it at
once. SIGHUP has it read the certificate and its key again.

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
    #[arg(long, conflicts_with = "tls_cert")]
    allow_plaintext: bool,

    #[command(flatten)]
    tls: TlsArgs,

    /// How many connections there may be, 1 to 65536. Each needs an open file, of which the
    /// system allows 1024 if it was not told otherwise. When all are taken, the one that has waited
    /// longest for a request makes room
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 512,
        value_parser = clap::value_parser!(u32).range(1..=65_536)
    )]
    max_connections: u32,

    /// Whether to slow down those who guess passwords. This version never does; `off` says that
    /// this is meant
    #[arg(long, value_parser = ["off"])]
    throttle: Option<String>,

    #[command(flatten)]
    policy: PolicyArgs,
}

impl Args {
    /// Tells whether other machines may be let in.
    fn may_be_reached(&self) -> bool {
        self.allow_plaintext || self.tls.is_given()
    }

    fn limits(&self) -> Limits {
        // No machine that this runs on has fewer than 32 bits.
        Limits::new(usize::try_from(self.max_connections).unwrap_or(usize::MAX))
    }
}

pub(crate) fn run(args: Args, store: &str) -> anyhow::Result<Outcome> {
    let url = StoreUrl::parse(store)?;
    let addresses = addresses(&args.listen, args.may_be_reached())?;
    let runtime = runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")?;
    let result = runtime.block_on(serve(&args, &url, &addresses));
    runtime.shutdown_timeout(LAST_WAIT);
    result.map(|()| Outcome::Done)
}

/// Finds the addresses to listen on, and refuses those that only TLS makes safe.
fn addresses(listen: &str, may_be_reached: bool) -> anyhow::Result<Vec<SocketAddr>> {
    let addresses: Vec<_> = listen
        .to_socket_addrs()
        .with_context(|| format!("--listen {listen} is not an address such as 127.0.0.1:8087"))?
        .collect();
    let is_loopback = |address: &SocketAddr| address.ip().to_canonical().is_loopback();
    if !may_be_reached && !addresses.iter().all(is_loopback) {
        bail!(
            "--listen {listen} can be reached from other machines, and passwords would go over \
             the network in the clear: give a certificate with --tls-cert and --tls-key, listen on \
             127.0.0.1 with a proxy that speaks TLS in front, or allow it with --allow-plaintext"
        );
    }
    Ok(addresses)
}

async fn serve(args: &Args, url: &StoreUrl, addresses: &[SocketAddr]) -> anyhow::Result<()> {
    // First what can fail without leaving anything behind.
    let signals = Signals::listen().context("cannot listen for signals")?;
    let hangups = Hangups::listen().context("cannot listen for signals")?;
    let (tls, reloader) = args.tls.load()?.unzip();
    let listener = TcpListener::bind(addresses)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let address = listener.local_addr().context("cannot tell the address")?;

    let store = open(url)?;
    let result = async {
        let engine = build_engine(Arc::clone(&store), args.policy).await?;
        first_start::set_up_if_new(&engine, &token_place(url)?, &mut io::stdout()).await?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        announce(&mut io::stdout(), &format!("listening on {scheme}://{address}"));
        tracing::info!(%address, store = %url, "serving");
        let router = portcullis_http::server_router(engine);
        let reading_again = tokio::spawn(read_again(hangups, reloader));
        connections::serve(listener, tls, router, args.limits(), signals.wait()).await;
        reading_again.abort();
        Ok(())
    }
    .await;
    let closed = store.close().await.context("could not close the store");
    if result.is_ok() && closed.is_ok() {
        tracing::info!("ended");
    }
    result.and(closed)
}

/// Reads again what may have been replaced, at every SIGHUP.
async fn read_again(mut hangups: Hangups, reloader: Option<Reloader>) {
    loop {
        hangups.next().await;
        if let Some(reloader) = &reloader {
            match reloader.reload() {
                Ok(()) => tracing::info!("the certificate was read again"),
                Err(error) => tracing::error!(
                    "the certificate could not be read again, and the one from before stays: {}",
                    describe(&error)
                ),
            }
        }
    }
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
            assert!(error.contains("--tls-cert") && error.contains("--allow-plaintext"), "{error}");
            assert!(addresses(listen, true).is_ok(), "{listen}");
        }
        for listen in ["", "127.0.0.1", ":8087x", "127.0.0.1:70000"] {
            assert!(addresses(listen, false).is_err(), "{listen}");
        }
    }
}
