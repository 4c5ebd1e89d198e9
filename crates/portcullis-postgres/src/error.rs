//! Failures of the database and its connections, and the [`StoreError`] of each.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use portcullis::store::StoreError;
use thiserror::Error;
use tokio_postgres::error::{DbError, SqlState};

/// A failure that no operation of a batch has caused.
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
    #[error("the database reports: {message} ({code})")]
    Database { code: String, message: String },
    #[error("the connection failed: {0}")]
    Disconnected(String),
    #[error("the database is read-only: `default_transaction_read_only` is on")]
    ReadOnly,
    #[error("no response within {0:?}")]
    TimedOut(Duration),
    #[error("{0}")]
    Unusable(&'static str),
    #[error("the database rolled the transaction back in favour of others, {attempts} times")]
    RolledBack {
        attempts: u32,
        #[source]
        cause: Box<Self>,
    },
}

/// What may succeed after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// The transaction was rolled back in favour of another one: repeat it.
    Transaction,
    /// Use another connection, which may be to another host.
    Connection,
    /// A retry would fail too.
    Never,
}

impl Failure {
    /// Returns what to retry, unless it was a commit that failed.
    pub(crate) fn retry(&self) -> Retry {
        match self {
            Self::Database { code, .. } => match SqlState::from_code(code) {
                SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => {
                    Retry::Transaction
                }
                // The server stops, starts, or has become a standby; or a prepared statement's
                // table has changed since.
                SqlState::ADMIN_SHUTDOWN
                | SqlState::CRASH_SHUTDOWN
                | SqlState::CANNOT_CONNECT_NOW
                | SqlState::READ_ONLY_SQL_TRANSACTION
                | SqlState::FEATURE_NOT_SUPPORTED
                | SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => Retry::Connection,
                _ => Retry::Never,
            },
            Self::Disconnected(_) => Retry::Connection,
            Self::Busy { .. }
            | Self::Connect { .. }
            | Self::ReadOnly
            | Self::TimedOut(_)
            | Self::Unusable(_)
            | Self::RolledBack { .. } => Retry::Never,
        }
    }

    /// Tells whether the connection is unusable after this failure.
    pub(crate) fn ends_connection(&self) -> bool {
        match self {
            Self::Database { .. } => self.retry() == Retry::Connection,
            Self::ReadOnly => false,
            _ => true,
        }
    }

    /// Tells whether the store is unavailable for the moment, rather than broken.
    fn is_transient(&self) -> bool {
        let Self::Database { code, .. } = self else { return true };
        // Classes: connection, transaction rollback, resources, operator intervention, system.
        ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class))
            || [SqlState::LOCK_NOT_AVAILABLE, SqlState::READ_ONLY_SQL_TRANSACTION]
                .iter()
                .any(|state| state.code() == code)
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure.is_transient() {
            true => Self::unavailable(failure),
            false => Self::backend(failure),
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    /// Takes only what is safe to show: a server puts whole rows into the error's details.
    fn from(error: tokio_postgres::Error) -> Self {
        if let Some(reported) = error.as_db_error() {
            return reported.into();
        }
        match error.source() {
            Some(cause) => match cause.downcast_ref::<io::Error>() {
                Some(cause) => Self::Disconnected(cause.to_string()),
                None => Self::Disconnected(format!("{error}: {cause}")),
            },
            None => Self::Disconnected(error.to_string()),
        }
    }
}

impl From<&DbError> for Failure {
    fn from(error: &DbError) -> Self {
        Self::Database { code: error.code().code().to_owned(), message: error.message().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(code: &str) -> Failure {
        Failure::Database { code: code.to_owned(), message: "no".to_owned() }
    }

    #[test]
    fn a_transaction_rolled_back_for_others_is_retried() {
        for code in ["40001", "40P01"] {
            assert_eq!(database(code).retry(), Retry::Transaction);
        }
        for code in ["57P01", "25006", "57P03"] {
            assert_eq!(database(code).retry(), Retry::Connection);
        }
        assert_eq!(database("42P01").retry(), Retry::Never);
    }

    #[test]
    fn only_transient_failures_are_unavailable() {
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
