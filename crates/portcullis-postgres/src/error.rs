//! What goes wrong inside, and what the [`Store`](portcullis::store::Store) says of it.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use portcullis::store::StoreError;
use thiserror::Error;
use tokio_postgres::error::{DbError, SqlState};

/// A failure that is not the fault of a batch.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error("none of the {size} connections became free within {waited:?}")]
    Busy { size: usize, waited: Duration },
    #[error("cannot connect to {host}")]
    Connect {
        host: String,
        #[source]
        cause: Box<Self>,
    },
    #[error("the database says: {message} ({code})")]
    Database { code: String, message: String },
    #[error("the connection failed: {0}")]
    Lost(String),
    #[error("the database is read-only: `default_transaction_read_only` is on")]
    ReadOnly,
    #[error("no answer within {0:?}")]
    Silent(Duration),
    #[error("{0}")]
    Unusable(&'static str),
    #[error("the database keeps undoing it for the sake of others, {tries} times by now")]
    Undone {
        tries: u32,
        #[source]
        cause: Box<Self>,
    },
}

/// What may be done about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// The transaction was undone for the sake of others: begin it anew.
    Again,
    /// Another connection may do better, perhaps to another host.
    Elsewhere,
    /// Nothing: it would fail again.
    None,
}

impl Failure {
    /// Tells what may be done, unless it was a commit that failed.
    pub(crate) fn remedy(&self) -> Remedy {
        match self {
            Self::Database { code, .. } => match SqlState::from_code(code) {
                SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => {
                    Remedy::Again
                }
                // A server that stops, starts, or has become a standby; a statement that was
                // prepared for a table that has changed since.
                SqlState::ADMIN_SHUTDOWN
                | SqlState::CRASH_SHUTDOWN
                | SqlState::CANNOT_CONNECT_NOW
                | SqlState::READ_ONLY_SQL_TRANSACTION
                | SqlState::FEATURE_NOT_SUPPORTED
                | SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => Remedy::Elsewhere,
                _ => Remedy::None,
            },
            Self::Lost(_) => Remedy::Elsewhere,
            Self::Busy { .. }
            | Self::Connect { .. }
            | Self::ReadOnly
            | Self::Silent(_)
            | Self::Unusable(_)
            | Self::Undone { .. } => Remedy::None,
        }
    }

    /// Tells whether the connection that it happened on is of no use any more.
    pub(crate) fn ends_connection(&self) -> bool {
        match self {
            Self::Database { .. } => self.remedy() == Remedy::Elsewhere,
            Self::ReadOnly => false,
            _ => true,
        }
    }

    /// Tells whether the store cannot be reached now, rather than being broken.
    fn passes(&self) -> bool {
        let Self::Database { code, .. } = self else { return true };
        // Classes: connection, transaction rollback, resources, operator's intervention, system.
        let passes = ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class));
        passes
            || [SqlState::LOCK_NOT_AVAILABLE, SqlState::READ_ONLY_SQL_TRANSACTION]
                .iter()
                .any(|state| state.code() == code)
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure.passes() {
            true => Self::unavailable(failure),
            false => Self::backend(failure),
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    /// Takes no more of it than is fit to be shown: a server puts whole rows into its details.
    fn from(error: tokio_postgres::Error) -> Self {
        if let Some(said) = error.as_db_error() {
            return said.into();
        }
        match error.source() {
            Some(cause) => match cause.downcast_ref::<io::Error>() {
                Some(cause) => Self::Lost(cause.to_string()),
                None => Self::Lost(format!("{error}: {cause}")),
            },
            None => Self::Lost(error.to_string()),
        }
    }
}

impl From<&DbError> for Failure {
    fn from(said: &DbError) -> Self {
        Self::Database { code: said.code().code().to_owned(), message: said.message().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(code: &str) -> Failure {
        Failure::Database { code: code.to_owned(), message: "no".to_owned() }
    }

    #[test]
    fn what_was_undone_for_others_is_tried_again() {
        for code in ["40001", "40P01"] {
            assert_eq!(database(code).remedy(), Remedy::Again);
        }
        for code in ["57P01", "25006", "57P03"] {
            assert_eq!(database(code).remedy(), Remedy::Elsewhere);
        }
        assert_eq!(database("42P01").remedy(), Remedy::None);
    }

    #[test]
    fn what_passes_is_unavailable_and_the_rest_is_not() {
        for code in ["57P01", "53300", "08006", "55P03", "57014", "25006"] {
            let error = StoreError::from(database(code));
            assert!(matches!(error, StoreError::Unavailable { .. }), "{code}");
        }
        for code in ["42P01", "XX001", "42501"] {
            let error = StoreError::from(database(code));
            assert!(matches!(error, StoreError::Backend { .. }), "{code}");
        }
    }
}
