//! The command line: every command, and the options that all of them share.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use portcullis::{Org, User};

use crate::commands::{
    auth, backup, bucket, check, dbrp, export, import, migrate, setup, tenant, token, verify,
};
use crate::context::Context;
use crate::failure::{self, Outcome};
use crate::output::Output;
use crate::{command_audit, logging, serve};

/// The heading of the options that all commands share.
const GLOBAL: &str = "Global options";

/// Manages and serves v1-compatible credentials: usernames, passwords and permissions.
#[derive(Parser)]
#[command(
    name = "portcullis",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "\
Environment:
  PORTCULLIS_STORE     the same as --store
  PORTCULLIS_AUDIT_LOG the same as --audit-log
  PORTCULLIS_LISTEN    the same as --listen of `serve`
  PORTCULLIS_LOG       a filter for the log on standard error, such as `debug` or `info,hyper=warn`
  PORTCULLIS_PASSWORD  the password for `auth create`, `auth set-password` and `check`
  PGPASSWORD           the password for PostgreSQL; or in a file, PGPASSFILE or ~/.pgpass

Exit status: 0 done, 1 not done, 2 wrong usage. `check`: 0 allowed, 1 denied, 2 not decided;
`verify`: 0 sound, 1 damaged, 2 not determined.

Examples:
  portcullis serve
  portcullis bucket create --org default telemetry
  portcullis auth create telegraf --org default --user admin --write-bucket telemetry
  portcullis check telegraf --write-bucket telemetry
  portcullis export > snapshot.jsonl"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,

    /// The store: sqlite:PATH, redb:PATH, sled:PATH, postgres://USER@HOST/DATABASE, or for `serve` also memory:
    #[arg(
        long,
        global = true,
        help_heading = GLOBAL,
        env = "PORTCULLIS_STORE",
        hide_env_values = true,
        value_name = "URL",
        default_value = "sqlite:portcullis.db"
    )]
    store: String,

    /// Append a line of JSON to this file for every change, and in `serve` for refusals and logins
    /// without their repetitions. Commands and a server may share the file, and it may be rotated at any
    /// time. A command that cannot write it changes nothing
    #[arg(
        long,
        global = true,
        help_heading = GLOBAL,
        env = "PORTCULLIS_AUDIT_LOG",
        value_name = "PATH"
    )]
    audit_log: Option<PathBuf>,

    /// Print JSON: one document, for lists an array
    #[arg(long, global = true, help_heading = GLOBAL)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the management API over HTTP
    Serve(Box<serve::Args>),
    /// Create the first org, user, buckets and operator token of a new store
    Setup(setup::Args),
    /// Create, list, enable, disable and delete orgs
    #[command(subcommand)]
    Org(tenant::Command<Org>),
    /// Create, list, enable, disable and delete users
    #[command(subcommand)]
    User(tenant::Command<User>),
    /// Create, list and delete buckets
    #[command(subcommand)]
    Bucket(bucket::Command),
    /// Map databases and retention policies of v1 clients to buckets
    #[command(subcommand)]
    Dbrp(dbrp::Command),
    /// Create, list and revoke API tokens for the management API
    #[command(subcommand)]
    Token(token::Command),
    /// Create and manage authorizations: the credentials of v1 clients
    #[command(subcommand)]
    Auth(auth::Command),
    /// Check whether a credential has a permission, and why or why not
    Check(check::Args),
    /// Write every record to standard output, as a snapshot
    Export(export::Args),
    /// Import the records of a snapshot: all of them or none
    Import(import::Args),
    /// Verify every record, unique key and index entry, and repair them
    Verify(verify::Args),
    /// Write a consistent backup of the store
    Backup(backup::Args),
    /// Create a store from a backup
    Restore(migrate::RestoreArgs),
    /// Copy a store to one of another kind
    Migrate(migrate::MigrateArgs),
}

impl Cli {
    /// Refuses combinations of options that clap cannot.
    pub(crate) fn validate(self) -> Result<Self, clap::Error> {
        if self.json && matches!(self.command, Command::Serve(_)) {
            let message = "`serve` has no --json: it prints the two lines that scripts wait for";
            return Err(Self::command().error(ErrorKind::ArgumentConflict, message));
        }
        Ok(self)
    }

    pub(crate) fn run(self) -> ExitCode {
        let default_log = match self.command {
            Command::Serve(_) => "info",
            _ => "warn",
        };
        let on_failure = match self.command {
            Command::Check(_) | Command::Verify(_) => Outcome::NotDecided,
            _ => Outcome::NotDone,
        };
        let mut audit_log = self.audit_log;
        if !matches!(self.command, Command::Serve(_))
            && let Some(path) = audit_log.take()
        {
            command_audit::begin(path);
        }
        let context = Context { store: self.store, output: Output::new(self.json) };
        let result = logging::start(default_log).and_then(|()| match self.command {
            Command::Serve(args) => serve::run(*args, &context.store, audit_log),
            Command::Setup(args) => setup::run(args, context),
            Command::Org(command) => tenant::run(command, context),
            Command::User(command) => tenant::run(command, context),
            Command::Bucket(command) => bucket::run(command, context),
            Command::Dbrp(command) => dbrp::run(command, context),
            Command::Token(command) => token::run(command, context),
            Command::Auth(command) => auth::run(command, context),
            Command::Check(args) => check::run(args, context),
            Command::Export(args) => export::run(args, context),
            Command::Import(args) => import::run(args, context),
            Command::Verify(args) => verify::run(args, context),
            Command::Backup(args) => backup::run(args, context),
            Command::Restore(args) => migrate::restore(args, context),
            Command::Migrate(args) => migrate::run(args, context),
        });
        let result = match command_audit::end() {
            Ok(()) => result,
            Err(error) => result.and(Err(error)),
        };
        match result {
            Ok(outcome) => outcome.into(),
            Err(error) => {
                failure::report(&error);
                on_failure.into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Every user of the machine can read arguments, in the list of processes.
    /// [CLI-5]
    #[test]
    fn no_option_takes_a_secret() {
        fn check(command: &clap::Command) {
            for argument in command.get_arguments() {
                let takes_value = argument.get_action().takes_values();
                let name = argument.get_long().unwrap_or_default();
                let is_secret = name.contains("password") || name == "token" || name == "secret";
                let is_file = name.ends_with("-file");
                assert!(!takes_value || !is_secret || is_file, "{}: --{name}", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
