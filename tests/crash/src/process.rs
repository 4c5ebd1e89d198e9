//! Starting the child, reading its report, and killing it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;

/// How long a child may be silent before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(15);

/// A directory in memory if there is one: no test here needs a durable disk.
pub(crate) fn fast_directory() -> anyhow::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    let directory = tempfile::Builder::new().prefix("portcullis-crash-").tempdir_in(memory);
    directory.or_else(|_| tempfile::tempdir()).context("a temporary directory")
}

/// A child and its report.
#[derive(Debug)]
pub(crate) struct ReportingChild {
    child: Child,
    lines: Receiver<String>,
}

/// The next event of a child.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ChildOutput {
    Line(String),
    /// It has ended, or has closed its output.
    End,
    /// It has reported nothing for too long.
    Hangs,
}

impl ReportingChild {
    /// Starts this program with the arguments, under the command line `before` if there is one.
    pub(crate) fn start(before: &[String], arguments: &[String]) -> anyhow::Result<Self> {
        let this: PathBuf = std::env::current_exe()?;
        let mut command = match before.split_first() {
            None => Command::new(this),
            Some((program, rest)) => {
                let mut command = Command::new(program);
                command.args(rest).arg(this);
                command
            }
        };
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        if !before.is_empty() {
            // Faults make some stores panic inside, which they catch: backtraces would fill the log.
            command.stderr(Stdio::null());
        }
        let mut child = command.spawn().context("cannot start the child")?;
        let output = child.stdout.take().context("no output")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || forward(output, &sender));
        Ok(Self { child, lines })
    }

    pub(crate) fn next(&self) -> ChildOutput {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => ChildOutput::Line(line),
            Err(RecvTimeoutError::Disconnected) => ChildOutput::End,
            Err(RecvTimeoutError::Timeout) => ChildOutput::Hangs,
        }
    }

    /// Kills the child with SIGKILL, and returns all lines that were not read.
    pub(crate) fn kill(mut self) -> anyhow::Result<Vec<String>> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(self.lines.iter().collect())
    }

    /// Waits until the child has ended, which must be imminent.
    pub(crate) fn wait(mut self) -> anyhow::Result<ExitStatus> {
        drop(self.child.stdin.take());
        Ok(self.child.wait()?)
    }
}

fn forward(output: ChildStdout, lines: &mpsc::Sender<String>) {
    let mut output = BufReader::new(output);
    let mut line = String::new();
    while output.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        // The last line may have been cut off by the kill.
        if let Some(whole) = line.strip_suffix('\n')
            && lines.send(whole.to_owned()).is_err()
        {
            return;
        }
        line.clear();
    }
}
