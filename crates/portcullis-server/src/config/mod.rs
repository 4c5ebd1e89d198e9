//! The configuration file: options of `serve` as keys, below the command line and the environment.
//!
//! A key of the file becomes the option that it names, unless the command line or the environment has
//! that option. Then the whole is parsed as a command line: values, bounds and combinations of options
//! are checked by the same rules wherever they come from.

mod file;
mod keys;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use crate::table::escape;

pub(crate) use keys::{Key, keys};

use file::Entry;

/// The id of the option that names the file.
const CONFIG: &str = "config";

/// The options that name another place of records than a store: with one of these, a command needs no
/// store.
const INSTEAD_OF_STORE: [&str; 2] = ["url", "profile"];

/// The exit status of wrong usage.
const WRONG_USAGE: u8 = 2;

/// Why a command line is refused, or `--help`, or a file that is refused.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The command line, with the options that come from a file.
    Usage(clap::Error, Vec<String>),
    /// The file: a line for each problem.
    File(Vec<String>),
}

impl From<clap::Error> for Refused {
    fn from(error: clap::Error) -> Self {
        Self::Usage(error, Vec::new())
    }
}

impl Refused {
    /// Writes the reason to standard error, or help to standard output.
    pub(crate) fn report(self) -> ExitCode {
        // There is no other place to report an error.
        match self {
            Self::Usage(error, notes) => {
                let _ = error.print();
                let mut stderr = io::stderr().lock();
                for note in notes {
                    let _ = writeln!(stderr, "note: {}", escape(&note));
                }
                u8::try_from(error.exit_code()).unwrap_or(WRONG_USAGE).into()
            }
            Self::File(problems) => {
                let mut stderr = io::stderr().lock();
                for problem in problems {
                    let _ = writeln!(stderr, "error: {}", escape(&problem));
                }
                WRONG_USAGE.into()
            }
        }
    }
}

/// A command line with the options of the file.
pub(crate) struct Merged {
    /// The arguments, the name of the program first.
    pub(crate) arguments: Vec<OsString>,
    /// The file, if there is one.
    pub(crate) file: Option<PathBuf>,
    /// The keys of the file that were added to the arguments.
    pub(crate) added: Vec<Entry>,
}

impl Merged {
    /// Adds the options of the file that the arguments or the environment name.
    ///
    /// `command` returns the whole command line. Arguments that are refused are returned without the
    /// file, so that parsing them reports the reason.
    ///
    /// # Errors
    ///
    /// [`Refused::File`] when the file cannot be read, and for keys that do not exist.
    pub(crate) fn new(
        command: impl Fn() -> Command,
        arguments: Vec<OsString>,
    ) -> Result<Self, Refused> {
        let unchanged = |arguments| Self { arguments, file: None, added: Vec::new() };
        // Options may need others that only the file has, so nothing is refused here.
        let partial = command().ignore_errors(true).try_get_matches_from(&arguments);
        // `--help` and `--version` are errors for clap.
        let Ok(partial) = partial else { return Ok(unchanged(arguments)) };
        let given = innermost(&partial);
        let Some(path) = given.get_one::<PathBuf>(CONFIG).cloned() else {
            return Ok(unchanged(arguments));
        };
        let is_serve = match partial.subcommand_name() {
            // They read the file themselves, or need no store.
            None | Some("config" | "completions" | "man") => return Ok(unchanged(arguments)),
            Some(name) => name == "serve",
        };
        let mut merged = unchanged(arguments);
        let keys = keys(&command());
        for entry in file::read(&path, &keys).map_err(Refused::File)? {
            let wanted = is_serve || entry.key.is_shared();
            let is_given = |id: &str| {
                let is_option = given.try_contains_id(id).is_ok();
                let source = is_option.then(|| given.value_source(id)).flatten();
                matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
            };
            let elsewhere =
                entry.key.name == "store" && INSTEAD_OF_STORE.iter().any(|id| is_given(id));
            if wanted && !elsewhere && !is_given(&entry.key.id) {
                merged.add(entry);
            }
        }
        merged.file = Some(path);
        Ok(merged)
    }

    fn add(&mut self, entry: Entry) {
        let options = entry.arguments();
        match entry.key.is_shared() {
            // Behind the name of the program, where the options that all commands share may be.
            true => drop(self.arguments.splice(1..1, options)),
            false => self.arguments.extend(options),
        }
        self.added.push(entry);
    }

    /// Parses the arguments. An error names the places of the options that come from the file.
    pub(crate) fn matches(&self, command: Command) -> Result<ArgMatches, Refused> {
        command.try_get_matches_from(&self.arguments).map_err(|error| self.refused(error))
    }

    /// Adds the places of options that come from the file to an error.
    pub(crate) fn refused(&self, error: clap::Error) -> Refused {
        let Some(file) = &self.file else { return error.into() };
        let concerned: Vec<String> = options_of(&error);
        let mut notes: Vec<String> = self
            .added
            .iter()
            .filter(|entry| concerned.iter().any(|option| entry.key.is_option(option)))
            .map(|entry| format!("--{} is from {}", entry.key.name, Place(file, entry.line)))
            .collect();
        if notes.is_empty() && error.use_stderr() && !self.added.is_empty() {
            notes.push(format!("other options are from {}", file.display()));
        }
        Refused::Usage(error, notes)
    }

    /// Returns the line of the file from which the option comes, if it comes from there.
    pub(crate) fn place(&self, key: &Key) -> Option<String> {
        let file = self.file.as_ref()?;
        let entry = self.added.iter().find(|entry| entry.key.id == key.id)?;
        Some(Place(file, entry.line).to_string())
    }
}

/// A line of a file.
struct Place<'a>(&'a Path, usize);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0.display(), self.1)
    }
}

/// Returns what was given to the command, with the options that all commands share.
pub(crate) fn innermost(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, matches)| innermost(matches))
}

/// Returns the options that an error is about, such as `--listen <ADDR>`.
fn options_of(error: &clap::Error) -> Vec<String> {
    let mut options = Vec::new();
    for (kind, value) in error.context() {
        if !matches!(kind, ContextKind::InvalidArg | ContextKind::PriorArg) {
            continue;
        }
        match value {
            ContextValue::String(option) => options.push(option.clone()),
            ContextValue::Strings(several) => options.extend_from_slice(several),
            _ => {}
        }
    }
    options
}
