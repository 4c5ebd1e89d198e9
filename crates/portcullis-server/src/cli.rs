//! The command line: every command, and the options that all of them share.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use portcullis::{Org, User};

use crate::commands::{
    apply, auth, backup, bucket, check, completions, config, dbrp, export, import, login, man,
    migrate, setup, tenant, token, verify,
};
use crate::config::{Merged, Refused};
use crate::context::{Context, Server};
use crate::failure::{self, Outcome};
use crate::output::{Format, Output};
use crate::progress::ProgressMode;
use crate::server_args::{ServerArgs, Source, Sources, Target};
use crate::{command_audit, logging, serve};

/// The heading of the options that all commands share.
pub(crate) const GLOBAL: &str = "Global options";

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
  PORTCULLIS_URL       the same as --url
  PORTCULLIS_TOKEN     the API token for it
  PORTCULLIS_PROFILE   the same as --profile
  PORTCULLIS_AUDIT_LOG the same as --audit-log
  PORTCULLIS_CONFIG    the same as --config
  PORTCULLIS_LISTEN    the same as --listen of `serve`
  PORTCULLIS_LOG       a filter for the log on standard error, such as `debug` or `info,hyper=warn`
  PORTCULLIS_PASSWORD  the password for `auth create`, `auth set-password` and `check`
  PGPASSWORD           the password for PostgreSQL; or in a file, PGPASSFILE or ~/.pgpass

Exit status: 0 done, 1 not done, 2 wrong usage. `check`: 0 allowed, 1 denied, 2 not decided;
`verify`: 0 sound, 1 damaged, 2 not determined. `apply --diff`: 0 the same, 1 failed, 2 different.

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

    /// Read options of `serve` from this file, such as portcullis.toml; other commands read --store and
    /// --audit-log from it. The command line comes first, then the environment, then the file
    #[arg(
        long,
        global = true,
        help_heading = GLOBAL,
        env = "PORTCULLIS_CONFIG",
        hide_env_values = true,
        value_name = "FILE"
    )]
    // `Merged` adds its options to the arguments before they are parsed.
    config: Option<PathBuf>,

    /// The form of the output
    #[arg(
        long,
        global = true,
        help_heading = GLOBAL,
        value_enum,
        value_name = "FORM",
        default_value_t = Format::Table,
        conflicts_with = "json"
    )]
    output: Format,

    /// Print JSON: one document, for lists an array. The same as --output json
    #[arg(long, global = true, help_heading = GLOBAL)]
    json: bool,

    /// Show the progress of what takes longer than a second on standard error, also where that is no
    /// terminal: a line every ten seconds
    #[arg(long, global = true, help_heading = GLOBAL)]
    progress: bool,

    #[command(flatten)]
    server: ServerArgs,

    /// What the options say: the store or a server.
    #[arg(skip = Target::Store)]
    target: Target,
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
    /// Make orgs, users, buckets, mappings and credentials what a file says
    Apply(apply::Args),
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
    /// Store the URL of a server and an API token as a profile
    Login(login::LoginArgs),
    /// Remove a profile
    Logout(login::LogoutArgs),
    /// List the profiles, without their API tokens
    Profiles(login::ProfilesArgs),
    /// Check a configuration file, or show the effective options of `serve`
    #[command(subcommand)]
    Config(config::Command),
    /// Write a script that completes commands and options in a shell
    Completions(completions::Args),
    /// Write manual pages
    Man(man::Args),
}

impl Command {
    /// Returns whether the command shows records, which can be written as CSV.
    fn shows_records(&self) -> bool {
        match self {
            Self::Org(_)
            | Self::User(_)
            | Self::Bucket(_)
            | Self::Dbrp(_)
            | Self::Token(_)
            | Self::Auth(_)
            | Self::Login(_)
            | Self::Logout(_)
            | Self::Profiles(_)
            | Self::Config(config::Command::Show) => true,
            Self::Serve(_)
            | Self::Setup(_)
            | Self::Apply(_)
            | Self::Check(_)
            | Self::Export(_)
            | Self::Import(_)
            | Self::Verify(_)
            | Self::Backup(_)
            | Self::Restore(_)
            | Self::Migrate(_)
            | Self::Config(config::Command::Check)
            | Self::Completions(_)
            | Self::Man(_) => false,
        }
    }

    /// Returns how the command treats a server that is given in place of a store.
    fn server_use(&self) -> ServerUse {
        match self {
            Self::Org(_)
            | Self::User(_)
            | Self::Bucket(_)
            | Self::Dbrp(_)
            | Self::Token(_)
            | Self::Auth(_)
            | Self::Apply(_)
            | Self::Check(_) => ServerUse::Works,
            Self::Login(_) | Self::Logout(_) | Self::Profiles(_) => ServerUse::Profiles,
            Self::Serve(_) => ServerUse::Ignored("serve"),
            Self::Config(_) => ServerUse::Ignored("config"),
            Self::Completions(_) => ServerUse::Ignored("completions"),
            Self::Man(_) => ServerUse::Ignored("man"),
            Self::Setup(_) => ServerUse::None("setup"),
            Self::Export(_) => ServerUse::None("export"),
            Self::Import(_) => ServerUse::None("import"),
            Self::Verify(_) => ServerUse::None("verify"),
            Self::Backup(_) => ServerUse::None("backup"),
            Self::Restore(_) => ServerUse::None("restore"),
            Self::Migrate(_) => ServerUse::None("migrate"),
        }
    }
}

/// How a command treats a server that is given in place of a store.
enum ServerUse {
    /// It works on the server.
    Works,
    /// It works on profiles, without a store.
    Profiles,
    /// It needs no server; one in the environment is for other commands.
    Ignored(&'static str),
    /// It works only on a store: what it needs, such as hashes, no server shows.
    None(&'static str),
}

impl Cli {
    /// Parses the arguments of this process, with the configuration file that they name.
    pub(crate) fn read(arguments: impl Iterator<Item = OsString>) -> Result<Self, Refused> {
        Self::of(&Merged::new(Self::command, arguments.collect())?)
    }

    /// Parses a command line with the options of a configuration file.
    pub(crate) fn of(merged: &Merged) -> Result<Self, Refused> {
        let matches = merged.matches(Self::command())?;
        let parsed = Self::from_arg_matches(&matches)
            .map_err(|error| error.format(&mut Self::command()))
            .and_then(Self::validate)
            .and_then(|cli| cli.choose(Sources::of(&matches)));
        parsed.map_err(|error| merged.refused(error))
    }

    /// Chooses between the store and a server.
    fn choose(mut self, sources: Sources) -> Result<Self, clap::Error> {
        let refuse =
            |message: String| Err(Self::command().error(ErrorKind::ArgumentConflict, message));
        let without_server = |command: &str| {
            format!("`{command}` does not work on a server: leave --url and --profile out")
        };
        let is_given = sources.url.max(sources.profile) == Source::CommandLine;
        match self.command.server_use() {
            ServerUse::Works => match sources.choose() {
                Ok(target) => self.target = target,
                Err(message) => return refuse(message),
            },
            ServerUse::Profiles => return Ok(self),
            ServerUse::Ignored(command) if is_given => return refuse(without_server(command)),
            ServerUse::Ignored(_) => {}
            ServerUse::None(command) => match sources.choose() {
                Ok(Target::Store) => {}
                Ok(Target::Url | Target::Profile) => return refuse(without_server(command)),
                Err(message) => return refuse(message),
            },
        }
        if self.target == Target::Store
            && let Some(option) = self.server.without_server()
        {
            return refuse(format!("{option} is about a server: give --url or --profile as well"));
        }
        Ok(self)
    }

    /// Refuses combinations of options that clap cannot.
    fn validate(self) -> Result<Self, clap::Error> {
        let refuse = |message| Err(Self::command().error(ErrorKind::ArgumentConflict, message));
        let format = self.format();
        if format != Format::Table && matches!(self.command, Command::Serve(_)) {
            return refuse(
                "`serve` has neither --json nor --output: it prints the lines that scripts wait for",
            );
        }
        if format == Format::Csv && !self.command.shows_records() {
            return refuse("only commands that show records have --output csv: use json");
        }
        Ok(self)
    }

    fn format(&self) -> Format {
        if self.json { Format::Json } else { self.output }
    }

    /// Returns the options of `serve` with the store and the audit log, if this is its command line.
    pub(crate) fn into_serve(self) -> Option<(Box<serve::Args>, String, Option<PathBuf>)> {
        match self.command {
            Command::Serve(args) => Some((args, self.store, self.audit_log)),
            _ => None,
        }
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
        let output = Output::new(self.format());
        let mut audit_log = self.audit_log;
        if !matches!(self.command, Command::Serve(_))
            && let Some(path) = audit_log.take()
        {
            command_audit::begin(path);
        }
        let progress = ProgressMode::of_stderr(self.progress);
        let server = match self.target {
            Target::Store => None,
            target => Some(Server { args: self.server.clone(), target }),
        };
        let context = Context { store: self.store, server, output, progress };
        let result = logging::start(default_log).and_then(|()| match self.command {
            Command::Serve(args) => serve::run(*args, &context.store, audit_log),
            Command::Setup(args) => setup::run(args, context),
            Command::Org(command) => tenant::run(command, context),
            Command::User(command) => tenant::run(command, context),
            Command::Bucket(command) => bucket::run(command, context),
            Command::Dbrp(command) => dbrp::run(command, context),
            Command::Token(command) => token::run(command, context),
            Command::Auth(command) => auth::run(command, context),
            Command::Apply(args) => apply::run(args, context),
            Command::Check(args) => check::run(args, context),
            Command::Export(args) => export::run(args, context),
            Command::Import(args) => import::run(args, context),
            Command::Verify(args) => verify::run(args, context),
            Command::Backup(args) => backup::run(args, context),
            Command::Restore(args) => migrate::restore(args, context),
            Command::Migrate(args) => migrate::run(args, context),
            Command::Login(login::LoginArgs {}) => login::login(&self.server, context),
            Command::Logout(login::LogoutArgs {}) => login::logout(&self.server, context),
            Command::Profiles(login::ProfilesArgs {}) => login::profiles(context),
            Command::Config(command) => {
                config::run(command, std::env::args_os().collect(), context)
            }
            Command::Completions(args) => completions::run(args, context),
            Command::Man(args) => man::run(args, context),
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
                // A rule or a time, which its type refuses to be anything else, or the path of a file.
                let is_rule = [
                    "password-expires",
                    "password-policy",
                    "password-block-list",
                    "password-max-age",
                    "password-history",
                ]
                .contains(&name);
                let is_harmless = !takes_value || !is_secret || is_file || is_rule;
                assert!(is_harmless, "{}: --{name}", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
