//! The thread that writes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use portcullis::Timestamp;
use serde::Serialize;

use crate::file::LogFile;
use crate::queue::{Item, Queue, Task};

/// Writes the queued lines, until the queue is closed.
pub(crate) struct Writer {
    queue: Arc<Queue>,
    file: LogFile,
    retry: Duration,
    failing: bool,
}

#[derive(Serialize)]
struct Lost {
    at: Timestamp,
    lost: u64,
}

impl Writer {
    pub(crate) fn new(queue: Arc<Queue>, file: LogFile, retry: Duration) -> Self {
        Self { queue, file, retry, failing: false }
    }

    pub(crate) fn run(mut self) {
        // Also if this thread panics: `close` must not wait for a writer that is gone.
        let _end = EndOnDrop(Arc::clone(&self.queue));
        loop {
            let done = match self.queue.next() {
                Task::Write(item) => match line(item) {
                    Ok(line) => self.persist(|file| {
                        file.follow()?;
                        file.write_line(&line)
                    }),
                    // Unreachable: an event is JSON already, and the marker holds a number.
                    Err(_) => true,
                },
                Task::Reopen => {
                    if !self.persist(LogFile::reopen) {
                        return;
                    }
                    continue;
                }
                Task::End => {
                    self.persist(|file| file.sync());
                    return;
                }
            };
            if !done {
                return;
            }
            self.queue.done();
        }
    }

    /// Retries until the work succeeds. Returns false if it fails and the log is closed.
    fn persist(&mut self, mut work: impl FnMut(&mut LogFile) -> io::Result<()>) -> bool {
        let mut closed = false;
        loop {
            let Err(error) = work(&mut self.file) else {
                self.report_success();
                return true;
            };
            self.report_failure(&error);
            if closed {
                return false;
            }
            closed = self.queue.pause(self.retry);
        }
    }

    fn report_failure(&mut self, error: &io::Error) {
        metrics::counter!("portcullis_audit_write_failures_total").increment(1);
        self.queue.set_failing(true);
        if !self.failing {
            self.failing = true;
            let path = self.file.path().display();
            tracing::error!(%error, "audit events cannot be written to `{path}`: they are queued in memory");
        }
    }

    fn report_success(&mut self) {
        if self.failing {
            self.failing = false;
            self.queue.set_failing(false);
            let path = self.file.path().display();
            tracing::info!(lost = self.queue.lost(), "audit events are written to `{path}` again");
        }
    }
}

fn line(item: Item) -> serde_json::Result<Vec<u8>> {
    let mut line = match item {
        Item::Event(json) => json,
        Item::Lost(lost) => serde_json::to_vec(&Lost { at: Timestamp::now(), lost })?,
    };
    line.push(b'\n');
    Ok(line)
}

struct EndOnDrop(Arc<Queue>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests;
