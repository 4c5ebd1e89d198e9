//! How a command ends: its exit status, and what is said when it fails.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::table::escape;

/// The exit status of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It did what it was asked, or `check` found that it is allowed.
    Done,
    /// It did not do it.
    NotDone,
    /// `check` found that it is not allowed.
    Denied,
    /// `check` could not find out.
    NotDecided,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::NotDone | Outcome::Denied => Self::FAILURE,
            Outcome::NotDecided => Self::from(2),
        }
    }
}

/// Says on standard error what went wrong: the error and its causes.
///
/// A reader that went away is no news to anybody: nothing is said then, the status says enough.
pub(crate) fn report(error: &anyhow::Error) {
    if is_broken_pipe(error) {
        return;
    }
    // Nobody is left to be told when this fails.
    let _ = writeln!(io::stderr().lock(), "error: {}", describe(error));
}

/// Tells whether the reader of what was written is gone.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The error and its causes, without those that only repeat what was said.
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
    // Names and paths may hold anything; lines are ours.
    text.lines().map(escape).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn causes_are_named_once_and_control_characters_are_shown() {
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
