//! The thread that writes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use portcullis::Timestamp;
use serde::Serialize;

use crate::file::LogFile;
use crate::queue::{Item, Queue, Task};

/// Writes what is queued, until the queue is closed.
pub(crate) struct Writer {
    queue: Arc<Queue>,
    file: LogFile,
    retry: Duration,
    fails: bool,
}

#[derive(Serialize)]
struct Lost {
    at: Timestamp,
    lost: u64,
}

impl Writer {
    pub(crate) fn new(queue: Arc<Queue>, file: LogFile, retry: Duration) -> Self {
        Self { queue, file, retry, fails: false }
    }

    pub(crate) fn run(mut self) {
        // Also if this thread panics: nobody is to wait for it in vain.
        let _end = End(Arc::clone(&self.queue));
        loop {
            let done = match self.queue.next() {
                Task::Write(item) => match line(item) {
                    Ok(line) => self.persist(|file| {
                        file.follow()?;
                        file.write_line(&line)
                    }),
                    // It is JSON already, or a number.
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

    /// Tries until it succeeds. Returns false when it does not and the log is closed.
    fn persist(&mut self, mut work: impl FnMut(&mut LogFile) -> io::Result<()>) -> bool {
        let mut closed = false;
        loop {
            let Err(error) = work(&mut self.file) else {
                self.note_success();
                return true;
            };
            self.note_failure(&error);
            if closed {
                return false;
            }
            closed = self.queue.pause(self.retry);
        }
    }

    fn note_failure(&mut self, error: &io::Error) {
        metrics::counter!("portcullis_audit_write_failures_total").increment(1);
        self.queue.set_failing(true);
        if !self.fails {
            self.fails = true;
            let path = self.file.path().display();
            tracing::error!(%error, "audit events cannot be written to `{path}`: they wait in memory");
        }
    }

    fn note_success(&mut self) {
        if self.fails {
            self.fails = false;
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

struct End(Arc<Queue>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests;
