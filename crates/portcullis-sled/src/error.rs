//! Failures, and the [`StoreError`] for each.

use std::io;

use portcullis::store::StoreError;
use portcullis::toolkit::EnginePanic;
use thiserror::Error;

/// A failure of sled or of the files.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Panicked(#[from] EnginePanic),
    #[error(transparent)]
    Sled(#[from] sled::Error),
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        Self::backend(failure)
    }
}
