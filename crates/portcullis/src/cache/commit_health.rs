//! Whether the last commit succeeded.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::store::{Position, StoreError};

/// Whether commits fail. Each change between success and failure is logged once.
#[derive(Debug, Default)]
pub(crate) struct CommitHealth {
    failing: AtomicBool,
}

impl CommitHealth {
    /// Records the outcome of a commit. A failed precondition says nothing about the store.
    pub(crate) fn record(&self, outcome: &Result<Position, StoreError>) {
        match outcome {
            Ok(_) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the store takes changes again");
                }
            }
            Err(
                error @ (StoreError::Backend { .. }
                | StoreError::Indeterminate { .. }
                | StoreError::Unavailable { .. }),
            ) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    let cause = std::error::Error::source(error).map(ToString::to_string);
                    tracing::error!(cause, "the store takes no changes: {error}");
                }
            }
            Err(_) => {}
        }
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }
}
