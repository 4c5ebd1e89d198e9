//! A timeout that can start again and again.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// A timeout for each wait of a stream. It costs nothing while nothing is waited for.
pub(crate) struct Deadline {
    after: Duration,
    is_running: bool,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    pub(crate) const fn new(after: Duration) -> Self {
        Self { after, is_running: false, sleep: None }
    }

    /// Returns how long a wait may take.
    pub(crate) const fn after(&self) -> Duration {
        self.after
    }

    /// Ends the wait.
    pub(crate) fn stop(&mut self) {
        self.is_running = false;
    }

    /// Begins the wait, or continues it. Ready when it has taken too long; otherwise the task is woken
    /// then.
    pub(crate) fn poll_elapsed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let after = self.after;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(after)));
        if !self.is_running {
            self.is_running = true;
            sleep.as_mut().reset(Instant::now() + after);
        }
        ready!(sleep.as_mut().poll(cx));
        Poll::Ready(())
    }
}
