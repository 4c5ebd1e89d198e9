//! Tasks that run beside the test of a rule.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;

/// Tasks that repeat their work until they are stopped.
#[derive(Default)]
pub(crate) struct Background {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Background {
    /// Starts a task that awaits one future after another.
    pub(crate) fn start<U>(&mut self, mut next: impl FnMut() -> U + Send + 'static)
    where
        U: Future<Output = ()> + Send,
    {
        let stop = Arc::clone(&self.stop);
        self.tasks.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                next().await;
                // A store that never waits would keep the thread otherwise.
                tokio::task::yield_now().await;
            }
        }));
    }

    /// Ends all tasks. A panic of a task becomes that of the test.
    pub(crate) async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            if let Err(error) = task.await {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }
}
