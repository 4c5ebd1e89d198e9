//! Failures, and the [`StoreError`] for each.

use std::sync::Arc;

use portcullis::store::{Position, StoreError};
use rusqlite::ErrorCode;
use thiserror::Error;

/// A failure of SQLite or of the file. Cloned for every batch that it affects.
#[derive(Clone, Debug, Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Sqlite(Arc<rusqlite::Error>),
    #[error(
        "the file has format {found} and this version of Portcullis writes {supported}: \
         upgrade, and restart this process"
    )]
    Upgraded { found: i64, supported: i64 },
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(Arc::new(error))
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match &failure {
            Failure::Upgraded { .. } => Self::unavailable(failure),
            Failure::Sqlite(error) => match error.sqlite_error_code() {
                // A lock, a full disk, or one that cannot be written: a retry may succeed.
                Some(
                    ErrorCode::CannotOpen
                    | ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::DiskFull
                    | ErrorCode::PermissionDenied
                    | ErrorCode::ReadOnly,
                ) => Self::unavailable(failure),
                Some(ErrorCode::SystemIoFailure) if is_write_error(error) => {
                    Self::unavailable(failure)
                }
                _ => Self::backend(failure),
            },
        }
    }
}

/// Why a group of batches, or a batch of it, was not committed.
#[derive(Debug)]
pub(crate) enum CommitError {
    /// The store does not meet a precondition of an operation. Nothing was changed.
    Refused(StoreError),
    /// SQLite failed. Nothing was changed.
    Failed(Failure),
    /// While a batch was applied, SQLite undid the whole transaction, or failed where only the whole
    /// transaction can be undone. Nothing was changed.
    TransactionAborted(Failure),
    /// `COMMIT` failed. It may take effect after a crash.
    Ambiguous(Vec<Result<Position, StoreError>>, Failure),
}

impl From<StoreError> for CommitError {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<rusqlite::Error> for CommitError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<CommitError> for StoreError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Refused(error) => error,
            CommitError::Failed(failure)
            | CommitError::TransactionAborted(failure)
            | CommitError::Ambiguous(_, failure) => failure.into(),
        }
    }
}

/// Tells whether the disk failed to write, rather than to read.
fn is_write_error(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi;

    let code = error.sqlite_extended_error_code();
    !matches!(
        code,
        None | Some(
            ffi::SQLITE_IOERR
                | ffi::SQLITE_IOERR_CORRUPTFS
                | ffi::SQLITE_IOERR_DATA
                | ffi::SQLITE_IOERR_READ
                | ffi::SQLITE_IOERR_SHORT_READ
        )
    )
}

/// Tells whether another process has a lock: a retry may succeed.
pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}
