//! Audit events of Portcullis as lines of JSON in a file, which may be rotated at any time.
//!
//! ```
//! use portcullis_audit::AuditLog;
//!
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("audit.jsonl");
//! let log = AuditLog::open(&path)?;
//! // `Engine::builder(store).audit(log.clone())` writes to it from now on.
//! # let _: &dyn portcullis::AuditSink = &log;
//! assert_eq!(log.close(std::time::Duration::from_secs(5)), 0);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Guarantees
//!
//! - **A line for each change and each login**, the JSON object that [`AuditEvent`] serializes to, in the
//!   order in which the engine has reported them.
//! - **Clients cannot fill the disk.** Refusals and failed logins that differ in nothing but the time
//!   become one line and, every 10 seconds, another one with `"since":"…","repeated":N`. At most 20
//!   different ones a second, in bursts of 200, get a line; beyond that they are counted by source in
//!   a line `{"at":"…","since":"…","source":"…","refusedNotListed":N}`. They fill at most half of
//!   the queue.
//! - **An engine never waits for the disk.** Events are queued in memory, up to a bound, and one
//!   thread writes them.
//! - **Gaps are marked.** If the queue is full because the disk is slow or fails, a line
//!   `{"at":"…","lost":N}` stands in place of the N missing events as soon as it can be written. They
//!   are also counted by [`AuditLog::lost`] and in the metric `portcullis_audit_events_lost_total`.
//! - **Rotation loses nothing.** Before each line is written, a file that was renamed or removed is
//!   replaced by a new one at the path. A program that truncates the file after it has copied it
//!   (`copytruncate` of logrotate) loses the lines between the two.
//! - **A failure of the disk** is logged once, and once more when writing works again. Meanwhile events
//!   are queued and writing is retried every second. A partly written line is completed.
//! - **Several processes** may append to one file, such as a server and commands: a line is one
//!   write. A file that is not regular is refused.
//! - The file is created with mode 0600, because it holds names and addresses. An existing file
//!   keeps its mode.
//!
//! Events that are queued when the process is killed are lost, and lines that were written shortly before
//! a power failure may be: lines are synced when the log is closed and before a rotated file is closed.

mod file;
mod line;
mod queue;
mod repeats;
mod writer;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use portcullis::{AuditAction, AuditEvent, AuditOutcome, AuditSink};

use file::LogFile;
use line::Line;
use queue::Queue;
use writer::Writer;

/// How long dropping the last handle waits for queued events.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Writes audit events to a file.
///
/// Cheap to clone; all clones are the same log.
#[derive(Clone)]
pub struct AuditLog(Arc<Inner>);

struct Inner {
    path: PathBuf,
    queue: Arc<Queue>,
    required: bool,
}

impl AuditLog {
    /// Opens the file at the path to append to it, and creates it if it does not exist.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened, or no thread can be started.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::options().open(path)
    }

    /// Returns the settings to open a log with.
    pub fn options() -> AuditLogOptions {
        AuditLogOptions::default()
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Reopens the file before the next line, or at once if writing has failed. A rotation does not
    /// need it, as it is detected.
    pub fn reopen(&self) {
        self.0.queue.reopen();
    }

    /// Returns the number of lost events.
    pub fn lost(&self) -> u64 {
        self.0.queue.lost()
    }

    /// Writes the queued events and closes the log; returns the number of events that could not be
    /// written within `within`. Later events are lost.
    ///
    /// This blocks for up to `within`.
    pub fn close(&self, within: Duration) -> u64 {
        self.0.queue.close(within)
    }
}

impl AuditSink for AuditLog {
    fn record(&self, event: &AuditEvent<'_>) {
        match Line::of(event) {
            Ok(line) if may_be_repeated(event) => self.0.queue.push_refusal(line, event.source),
            Ok(line) => self.0.queue.push(line.into_bytes()),
            Err(error) => {
                tracing::error!(%error, "an audit event cannot be written as JSON");
                self.0.queue.count_dropped();
            }
        }
    }

    fn allows_changes(&self) -> bool {
        !self.0.required || self.0.queue.is_healthy()
    }
}

/// Returns whether a client can cause as many such events as it likes.
fn may_be_repeated(event: &AuditEvent<'_>) -> bool {
    match event.outcome {
        AuditOutcome::Refused(_) => true,
        AuditOutcome::Failed(_) => event.action == AuditAction::Login,
        _ => false,
    }
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLog").field("path", &self.0.path).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.close(LAST_WAIT);
    }
}

/// Settings of an [`AuditLog`]; every one has a default.
#[derive(Clone, Copy, Debug)]
pub struct AuditLogOptions {
    queue_bytes: usize,
    required: bool,
    retry: Duration,
    regular: bool,
}

impl Default for AuditLogOptions {
    fn default() -> Self {
        Self {
            queue_bytes: 4 * 1024 * 1024,
            required: false,
            retry: Duration::from_secs(1),
            regular: true,
        }
    }
}

impl AuditLogOptions {
    /// Sets the capacity of the queue, in bytes. Default: 4 MiB, more than 10,000 events.
    #[must_use]
    pub fn queue_bytes(self, queue_bytes: usize) -> Self {
        Self { queue_bytes, ..self }
    }

    /// Sets whether an engine refuses changes, as unavailable, while the log cannot be written
    /// ([`AuditSink::allows_changes`]). Logins are not affected. The change whose event is the first that
    /// cannot be written succeeds, and its event stays queued. Default: no.
    #[must_use]
    pub fn required(self, required: bool) -> Self {
        Self { required, ..self }
    }

    /// Accepts pipes and devices too.
    #[cfg(test)]
    pub(crate) fn special_files(self) -> Self {
        Self { regular: false, ..self }
    }

    /// Sets the interval of retries after a failed write. Default: 1 second.
    #[must_use]
    pub fn retry(self, retry: Duration) -> Self {
        Self { retry, ..self }
    }

    /// Opens the log; see [`AuditLog::open`].
    ///
    /// # Errors
    ///
    /// If the file cannot be opened, or no thread can be started.
    pub fn open(self, path: impl AsRef<Path>) -> io::Result<AuditLog> {
        let path = std::path::absolute(path)?;
        let file = LogFile::open(&path, self.regular)?;
        let queue = Arc::new(Queue::new(self.queue_bytes));
        let writer = Writer::new(Arc::clone(&queue), file, self.retry);
        thread::Builder::new().name("portcullis-audit".to_owned()).spawn(|| writer.run())?;
        Ok(AuditLog(Arc::new(Inner { path, queue, required: self.required })))
    }
}

/// The Rust in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
