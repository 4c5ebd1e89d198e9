//! How a command ends: its exit status, and the report of its error.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::table::escape;

/// The exit status of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The command is done; for `check`, the permission is held.
    Done,
    /// The command is not done.
    NotDone,
    /// `check` found that the permission is not held.
    Denied,
    /// `check` or `verify` has no result.
    NotDecided,
    /// `apply --diff` found that something would change.
    Differs,
    /// A configuration file is refused, as `serve` refuses it.
    WrongUsage,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::NotDone | Outcome::Denied => Self::FAILURE,
            Outcome::Differs | Outcome::NotDecided | Outcome::WrongUsage => Self::from(2),
        }
    }
}

/// Reports an error and its causes on standard error.
///
/// A reader of standard output that has gone away is not reported: the exit status is enough.
pub(crate) fn report(error: &anyhow::Error) {
    if is_broken_pipe(error) {
        return;
    }
    // There is no other place to report an error.
    let _ = writeln!(io::stderr().lock(), "error: {}", describe(error));
}

/// Returns whether the reader of the output has gone away.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Returns the text of an error and its causes, without causes whose text is already there.
pub(crate) fn describe(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.contains(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    // Names and paths may hold any character. Line ends are the message's own.
    text.lines().map(escape).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn causes_are_named_once_and_control_characters_are_escaped() {
        let error = anyhow!("no such file").context("cannot read `a\u{1b}b`\nat all");
        assert_eq!(describe(&error), "cannot read `a\\u{1b}b`\nat all: no such file");
        let error = anyhow!("inner").context("outer: inner");
        assert_eq!(describe(&error), "outer: inner");
    }

    #[test]
    fn a_broken_pipe_is_recognized_below_other_errors() {
        let error = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(is_broken_pipe(&error.context("could not write")));
        assert!(!is_broken_pipe(&anyhow!("broken pipe")));
    }
}
