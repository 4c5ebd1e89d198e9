//! The log on standard error: events of the engine, the stores and the HTTP adapter.

use std::env;
use std::io::{self, IsTerminal};

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

use crate::progress::stderr_for_log;

const VARIABLE: &str = "PORTCULLIS_LOG";

/// Starts the log, with this filter unless the environment has one.
pub(crate) fn start(default: &str) -> anyhow::Result<()> {
    let filter = env::var(VARIABLE).ok().filter(|filter| !filter.is_empty());
    let filter = EnvFilter::try_new(filter.as_deref().unwrap_or(default))
        .with_context(|| format!("{VARIABLE} is not a log filter such as `info`"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr_for_log)
        .with_ansi(io::stderr().is_terminal())
        // It would panic if standard error cannot be written.
        .log_internal_errors(false)
        .init();
    Ok(())
}
