//! The `portcullis` binary: a server, and commands for its operators.
//!
//! It connects the engine to a store, to HTTP and to a command line. The core decides what is valid,
//! allowed or refused; this crate decides none of that.

mod cli;
mod command_audit;
mod commands;
mod config;
mod confirm;
mod context;
mod duration;
mod failure;
mod generated_password;
mod logging;
mod nearest;
mod output;
mod passwords;
mod permissions;
mod profiles;
mod progress;
mod record_views;
mod remote;
mod resolve;
mod restrictions;
mod runtime;
mod serve;
mod server_args;
mod session;
mod stores;
mod table;
mod upstream;

use std::process::ExitCode;

use crate::cli::Cli;

fn main() -> ExitCode {
    match Cli::read(std::env::args_os()) {
        Ok(cli) => cli.run(),
        Err(refused) => refused.report(),
    }
}
