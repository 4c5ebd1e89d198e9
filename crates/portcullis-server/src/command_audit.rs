//! The audit log of commands: a line for each change, in the same form as a server's, with the user of
//! the operating system who ran the command.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, bail};
use portcullis::{Actor, AuditAction, AuditEvent, AuditOutcome, AuditSink, Timestamp};
use portcullis_audit::AuditLog;

/// The longest time that lines which are not yet written delay the end of a command.
const EXIT_WAIT: Duration = Duration::from_secs(5);

/// The file of `--audit-log`, for a command.
#[derive(Clone, Debug)]
pub(crate) struct CommandAudit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    os_user: String,
    /// Opened at the first change: a command that only reads needs no access to the file.
    log: OnceLock<Option<AuditLog>>,
}

impl CommandAudit {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(Arc::new(Inner { path, os_user: os_user(), log: OnceLock::new() }))
    }

    fn log(&self) -> Option<&AuditLog> {
        let open = || match AuditLog::options().required(true).open(&self.0.path) {
            Ok(log) => Some(log),
            Err(error) => {
                let path = self.0.path.display();
                tracing::error!(%error, "--audit-log: cannot open `{path}`, so nothing is changed");
                None
            }
        };
        self.0.log.get_or_init(open).as_ref()
    }

    fn close(&self) -> anyhow::Result<()> {
        let Some(Some(log)) = self.0.log.get() else { return Ok(()) };
        match log.close(EXIT_WAIT) {
            0 => Ok(()),
            left => bail!(
                "the command is done, but {left} lines could not be written to `{}`",
                self.0.path.display()
            ),
        }
    }
}

impl AuditSink for CommandAudit {
    fn record(&self, event: &AuditEvent<'_>) {
        let Some(Some(log)) = self.0.log.get() else { return };
        let mut event = event.clone();
        if let Actor::Host = event.actor {
            event.actor = Actor::Command { os_user: &self.0.os_user };
        }
        log.record(&event);
    }

    fn allows_changes(&self) -> bool {
        self.log().is_some_and(AuditSink::allows_changes)
    }
}

/// The audit log of this process, if it runs a command with one.
static OF_THIS_PROCESS: OnceLock<CommandAudit> = OnceLock::new();

/// Records the changes of this process in the file.
pub(crate) fn begin(path: PathBuf) {
    let _ = OF_THIS_PROCESS.set(CommandAudit::new(path));
}

/// Returns the audit log of this process.
pub(crate) fn of_this_process() -> Option<CommandAudit> {
    OF_THIS_PROCESS.get().cloned()
}

/// Changes a store without an engine, and records that.
pub(crate) fn audited<T>(
    action: AuditAction,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let Some(audit) = OF_THIS_PROCESS.get() else { return work() };
    if !audit.allows_changes() {
        bail!("the audit log cannot be written now, so nothing was changed");
    }
    let done = work();
    let why = done.as_ref().err().map(ToString::to_string).unwrap_or_default();
    let outcome = match &done {
        Ok(_) => AuditOutcome::Done,
        Err(_) => AuditOutcome::Failed(&why),
    };
    audit.record(&AuditEvent::new(Timestamp::now(), Actor::Host, action, outcome));
    done
}

/// Writes the remaining lines.
pub(crate) fn end() -> anyhow::Result<()> {
    OF_THIS_PROCESS.get().map_or(Ok(()), CommandAudit::close).context("the audit log")
}

/// Returns the number of the user who runs the command, which the environment cannot change.
#[cfg(unix)]
fn os_user() -> String {
    rustix::process::getuid().as_raw().to_string()
}

#[cfg(not(unix))]
fn os_user() -> String {
    std::env::var("USERNAME").unwrap_or_default()
}
