//! The `portcullis` binary: a server, and commands for its operators.
//!
//! It connects the engine to a store, to HTTP and to a command line. The core decides what is valid,
//! allowed or refused; this crate decides none of that.

mod cli;
mod command_audit;
mod commands;
mod context;
mod failure;
mod logging;
mod output;
mod passwords;
mod permissions;
mod record_views;
mod resolve;
mod runtime;
mod serve;
mod session;
mod stores;
mod table;
mod upstream;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;

fn main() -> ExitCode {
    match Cli::try_parse().and_then(Cli::validate) {
        Ok(cli) => cli.run(),
        // `--help` and `--version` are errors for clap, too.
        Err(error) => error.exit(),
    }
}
