//! `portcullis config`.

use std::ffi::OsString;
use std::path::Path;

use anyhow::bail;
use clap::CommandFactory as _;
use clap::parser::ValueSource;
use portcullis_gateway::Upstream;
use serde::Serialize;

use crate::cli::Cli;
use crate::config::{Key, Merged, Refused, innermost, keys};
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::{Record, Shown};
use crate::serve;
use crate::stores::StoreUrl;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Check a configuration file, and the files that it names, as `serve` does before it starts
    #[command(after_help = "\
Exit status: that of `serve` with the file. 0: it could start; 1: a file that is named cannot be
used; 2: the file is refused.

Example:
  portcullis config check --config /etc/portcullis/portcullis.toml")]
    Check,
    /// Show every option of `serve` with its value and where the value comes from
    #[command(after_help = "\
An option of the command line comes first, then the environment, then the file, then the
default. Secrets are not shown.

Example:
  portcullis config show --config /etc/portcullis/portcullis.toml")]
    Show,
}

#[derive(Serialize)]
struct Document {
    file: String,
    options: usize,
}

/// An option of `serve`.
#[derive(Serialize)]
struct OptionView {
    option: String,
    value: Option<String>,
    from: String,
}

impl Record for OptionView {
    const COLUMNS: &'static [&'static str] = &["option", "value", "from"];

    fn cells(&self) -> Vec<String> {
        vec![self.option.clone(), self.value.clone().unwrap_or_default(), self.from.clone()]
    }
}

/// Runs the command. `arguments` are those of this process.
pub(crate) fn run(
    command: Command,
    arguments: Vec<OsString>,
    context: Context,
) -> anyhow::Result<Outcome> {
    let result = match command {
        Command::Check => check(arguments),
        Command::Show => show(arguments).map(Ok),
    };
    match result {
        Ok(shown) => match shown? {
            Report::Checked(document) => {
                let Document { file, options } = &document;
                let text = format!("{file}: {options} options, no mistake\n");
                context.output.document(&document, &text)?;
            }
            Report::Options(options) => context.output.records(&Shown::Many(options))?,
        },
        Err(refused) => {
            refused.report();
            return Ok(Outcome::WrongUsage);
        }
    }
    Ok(Outcome::Done)
}

enum Report {
    Checked(Document),
    Options(Vec<OptionView>),
}

fn check(arguments: Vec<OsString>) -> Result<anyhow::Result<Report>, Refused> {
    let merged = of_serve(arguments)?;
    let cli = Cli::of(&merged)?;
    Ok(check_start(cli, &merged))
}

fn check_start(cli: Cli, merged: &Merged) -> anyhow::Result<Report> {
    let Some(file) = &merged.file else {
        bail!("there is no file to check: give --config FILE, or set PORTCULLIS_CONFIG");
    };
    if let Some((args, store, audit_log)) = cli.into_serve() {
        serve::check(&args, &store, audit_log.as_deref())?;
    }
    let file = Path::new(file).display().to_string();
    Ok(Report::Checked(Document { file, options: merged.added.len() }))
}

fn show(arguments: Vec<OsString>) -> Result<Report, Refused> {
    let merged = of_serve(arguments)?;
    let command = Cli::command();
    let matches = merged.matches(command.clone())?;
    let given = innermost(&matches);
    let option = |key: Key| {
        let values = given.get_raw(&key.id).map(|values| {
            let values: Vec<_> =
                values.map(|value| shown(&key.name, &value.to_string_lossy())).collect();
            values.join(", ")
        });
        let from = match (merged.place(&key), given.value_source(&key.id), &key.variable) {
            (Some(place), ..) => place,
            (None, Some(ValueSource::EnvVariable), Some(variable)) => variable.clone(),
            (None, Some(ValueSource::CommandLine), _) => "option".to_owned(),
            _ => "default".to_owned(),
        };
        OptionView { option: key.path(), value: values, from }
    };
    Ok(Report::Options(keys(&command).into_iter().map(option).collect()))
}

/// Returns the command line `serve` with the options of this one that both have.
fn of_serve(arguments: Vec<OsString>) -> Result<Merged, Refused> {
    let matches = Cli::command().try_get_matches_from(arguments)?;
    let given = innermost(&matches);
    let mut serve = vec![OsString::from("portcullis")];
    for (id, name) in [("config", "config"), ("store", "store"), ("audit_log", "audit-log")] {
        if given.value_source(id) != Some(ValueSource::CommandLine) {
            continue;
        }
        for value in given.get_raw(id).into_iter().flatten() {
            let mut option = OsString::from(format!("--{name}="));
            option.push(value);
            serve.push(option);
        }
    }
    serve.push("serve".into());
    Merged::new(Cli::command, serve)
}

/// Returns the text of a value without what may be a secret: passwords in URLs.
fn shown(name: &str, value: &str) -> String {
    const HIDDEN: &str = "(not shown)";
    match name {
        "store" => StoreUrl::parse(value).map_or(HIDDEN.to_owned(), |url| url.to_string()),
        "upstream" => Upstream::new(value).map_or(HIDDEN.to_owned(), |upstream| upstream.url()),
        _ => value.to_owned(),
    }
}
