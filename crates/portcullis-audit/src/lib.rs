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
//! # What it promises
//!
//! - **A line for each change and each login**, the JSON object that [`AuditEvent`] serializes to, in the
//!   order in which the engine has reported them.
//! - **Nothing a stranger does fills the disk.** Refusals, and logins that fail, which repeat each other
//!   in all but the time, become one line and, every 10 seconds, another one with
//!   `"since":"…","repeated":N`. At most 20 new ones a second, and 200 at once, get a line; those of a
//!   source beyond that are counted in a line `{"at":"…","since":"…","source":"…","refusedNotListed":N}`.
//!   They fill at most half of the queue.
//! - **Whoever reports does not wait for the disk.** Events are queued in memory, up to a bound,
//!   and one thread writes them.
//! - **What is lost is told.** Where the queue was full, for the disk is slow or fails, there is a
//!   line `{"at":"…","lost":N}` in place of the N events that are missing, as soon as one can be written.
//!   They are also counted
//!   by [`AuditLog::lost`] and in the metric `portcullis_audit_events_lost_total`.
//! - **Rotation loses nothing.** A file that was renamed or removed is noticed before the next
//!   line is written, and a new one is begun at the path. A program that truncates the file
//!   after it has copied it (`copytruncate` of logrotate) loses what comes between the two.
//! - **A disk that fails** is logged once, and once more when it works again. Meanwhile events
//!   are queued and writing is tried again every second. The line that was begun is finished.
//! - **Several processes** may append to one file, such as a server and the commands beside it: a line is
//!   one write. What is no regular file is refused.
//! - The file is created with mode 0600: it holds names and addresses. One that is there keeps
//!   the mode it has.
//!
//! What was queued when the process is killed is lost, and what was written when the power is
//! cut may be: lines are synced when the log is closed and before a rotated file is let go.

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

/// How long the last handle waits for what is queued when it is dropped.
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
    /// Opens the file at the path to append to it, and creates it if there is none.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, or no thread can be started.
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

    /// Opens the file anew before the next line, or at once if writing has failed. This is not
    /// needed after a rotation, which is noticed.
    pub fn reopen(&self) {
        self.0.queue.reopen();
    }

    /// Returns how many events could not be kept so far.
    pub fn lost(&self) -> u64 {
        self.0.queue.lost()
    }

    /// Writes what is queued and ends, and returns how many events could not be written within
    /// that time. Whatever is reported from now on is lost.
    ///
    /// This blocks.
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
                self.0.queue.lose_one();
            }
        }
    }

    fn allows_changes(&self) -> bool {
        !self.0.required || self.0.queue.is_well()
    }
}

/// Tells whether a client can cause as many such events as it likes.
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
    /// Sets how many bytes of events may wait to be written. Default: 4 MiB, which is more than
    /// 10,000 events.
    #[must_use]
    pub fn queue_bytes(self, queue_bytes: usize) -> Self {
        Self { queue_bytes, ..self }
    }

    /// Sets whether an engine refuses changes, as unavailable, while the log cannot be written
    /// ([`AuditSink::allows_changes`]). Logins go on. The change during which the failure is found out
    /// is made, and waits to be written. Default: no.
    #[must_use]
    pub fn required(self, required: bool) -> Self {
        Self { required, ..self }
    }

    /// Takes a pipe or a device as well.
    #[cfg(test)]
    pub(crate) fn special_files(self) -> Self {
        Self { regular: false, ..self }
    }

    /// Sets after how long writing is tried again when it has failed. Default: 1 second.
    #[must_use]
    pub fn retry(self, retry: Duration) -> Self {
        Self { retry, ..self }
    }

    /// Opens the log; see [`AuditLog::open`].
    ///
    /// # Errors
    ///
    /// When the file cannot be opened, or no thread can be started.
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
