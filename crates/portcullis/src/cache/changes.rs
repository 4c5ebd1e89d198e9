//! Whether the store takes changes, as far as the last one tells.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::store::{Position, StoreError};

/// What became of the last change. Each turn is logged once.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    failing: AtomicBool,
}

impl Changes {
    /// Takes note of what became of a commit. One that was refused for what is there tells nothing.
    pub(crate) fn note(&self, outcome: &Result<Position, StoreError>) {
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

    pub(crate) fn are_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }
}
