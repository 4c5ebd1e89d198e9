//! What goes wrong inside, and what the [`Store`](portcullis::store::Store) says of it.

use std::sync::Arc;

use portcullis::store::StoreError;
use rusqlite::ErrorCode;
use thiserror::Error;

/// A failure that is not the fault of a batch. Cloned for every batch that it concerns.
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
                // Others are in the way, or the disk is full or cannot be written: it may pass.
                Some(
                    ErrorCode::CannotOpen
                    | ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::DiskFull
                    | ErrorCode::PermissionDenied
                    | ErrorCode::ReadOnly,
                ) => Self::unavailable(failure),
                Some(ErrorCode::SystemIoFailure) if is_of_writing(error) => {
                    Self::unavailable(failure)
                }
                _ => Self::backend(failure),
            },
        }
    }
}

/// Tells whether the disk took something wrong, rather than gave it.
fn is_of_writing(error: &rusqlite::Error) -> bool {
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

/// Tells whether another process is in the way, which passes.
pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}
