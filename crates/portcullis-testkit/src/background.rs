//! Tasks beside the one that a rule looks at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;

/// Tasks that do the same again and again, until they are stopped.
#[derive(Default)]
pub(crate) struct Background {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Background {
    /// Starts a task that awaits one future after the other.
    pub(crate) fn start<U>(&mut self, mut next: impl FnMut() -> U + Send + 'static)
    where
        U: Future<Output = ()> + Send,
    {
        let stop = Arc::clone(&self.stop);
        self.tasks.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                next().await;
                // Stores that never wait would keep the thread to themselves.
                tokio::task::yield_now().await;
            }
        }));
    }

    /// Ends all tasks; what one of them panicked with is the test's panic.
    pub(crate) async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            if let Err(error) = task.await {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }
}
