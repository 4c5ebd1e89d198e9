//! Failures, and the [`StoreError`] for each.

use std::io;
use std::sync::Arc;

use portcullis::Id;
use portcullis::store::{Kind, StoreError};
use thiserror::Error;

/// A failure of sled or of the files. Cloned for every batch that it affects.
#[derive(Clone, Debug, Error)]
pub(crate) enum Failure {
    #[error("sled failed before and could not be opened again: {0}")]
    Broken(Arc<str>),
    #[error(transparent)]
    Io(Arc<io::Error>),
    #[error("sled gave up: {0}")]
    Panicked(Arc<str>),
    #[error(transparent)]
    Sled(sled::Error),
    #[error("this version keeps no records of kind {kind}")]
    UnknownKind { kind: Kind },
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl From<sled::Error> for Failure {
    fn from(error: sled::Error) -> Self {
        Self::Sled(error)
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Broken(_) => Self::unavailable(failure),
            _ => Self::backend(failure),
        }
    }
}

#[derive(Debug, Error)]
#[error("its value is not one that this version writes")]
struct BadValue;

/// Makes the error for a record whose value cannot be read.
pub(crate) fn unreadable(kind: Kind, id: Id) -> StoreError {
    StoreError::Corrupt { kind, id, source: BadValue.into() }
}

/// Runs what calls sled, which panics where it finds itself inconsistent.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    // After a panic the database is closed and opened again, so no broken state is used.
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
        Ok(done) => done,
        Err(panic) => Err(Failure::Panicked(describe(&*panic).into())),
    }
}

fn describe(panic: &(dyn std::any::Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "no reason given",
    }
}
