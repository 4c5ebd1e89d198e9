//! The `portcullis` binary: a server, and commands for those who run it.
//!
//! It wires the engine to a store, to HTTP and to a command line. What is valid, allowed or refused
//! is decided in the core; nothing of that is decided here.

mod cli;
mod command_audit;
mod commands;
mod context;
mod failure;
mod logging;
mod names;
mod output;
mod passwords;
mod permissions;
mod record_views;
mod runtime;
mod serve;
mod session;
mod stores;
mod table;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;

fn main() -> ExitCode {
    match Cli::try_parse().and_then(Cli::validate) {
        Ok(cli) => cli.run(),
        // Also the way of `--help` and `--version`.
        Err(error) => error.exit(),
    }
}
