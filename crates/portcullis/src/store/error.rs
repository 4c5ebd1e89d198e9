//! Errors of stores.

use std::error::Error as StdError;

use thiserror::Error;

use super::{Batch, Kind};
use crate::{Error, ErrorKind, Id};

type Source = Box<dyn StdError + Send + Sync>;

/// A failed operation of a store. The same for all stores; the driver's own error is the source.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The id or the unique key of a put belongs to another record. Nothing was changed.
    #[error("{kind} {id}: its {duplicate} is taken")]
    AlreadyExists {
        /// Kind of the record that was put.
        kind: Kind,
        /// Id of the record that was put.
        id: Id,
        /// Which of the two.
        duplicate: Duplicate,
    },
    /// The storage engine failed. Nothing was changed.
    #[error("the store failed")]
    Backend {
        /// The engine's own error.
        #[source]
        source: Source,
    },
    /// There are more operations than [`Batch::MAX_OPERATIONS`]. Nothing was changed.
    #[error(
        "{operations} changes at once are more than {}: make them in smaller parts",
        Batch::MAX_OPERATIONS
    )]
    BatchTooLarge {
        /// How many there are.
        operations: usize,
    },
    /// The record has another revision than expected. Nothing was changed.
    #[error("{kind} {id} was changed meanwhile")]
    Conflict {
        /// Kind of the record.
        kind: Kind,
        /// Id of the record.
        id: Id,
    },
    /// The record is there and cannot be read.
    #[error("{kind} {id} is corrupt")]
    Corrupt {
        /// Kind of the record.
        kind: Kind,
        /// Id of the record.
        id: Id,
        /// What is wrong with it.
        #[source]
        source: Source,
    },
    /// The commit is ambiguous: it may have happened or not. The revision of a record that it changes
    /// tells.
    #[error("it is not known whether the change was made")]
    Indeterminate {
        /// Why it is not known.
        #[source]
        source: Source,
    },
    /// The record that an operation changes or requires is not there. Nothing was changed.
    #[error("{kind} {id} does not exist")]
    Missing {
        /// Kind of the record.
        kind: Kind,
        /// Id of the record.
        id: Id,
    },
    /// The engine is read-only
    /// ([`EngineBuilder::read_only`](crate::EngineBuilder::read_only)). Nothing was changed.
    #[error("read-only: nothing can be changed here now")]
    ReadOnly,
    /// The store cannot be reached now, or is closed. Nothing was changed.
    #[error("the store is unavailable")]
    Unavailable {
        /// Why.
        #[source]
        source: Source,
    },
}

/// What a put shares with another record that is in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Duplicate {
    /// The id.
    Id,
    /// The unique key.
    UniqueKey,
}

impl std::fmt::Display for Duplicate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Id => "id",
            Self::UniqueKey => "unique key",
        })
    }
}

impl StoreError {
    /// Tells whether the store failed, rather than refused an operation.
    pub(crate) const fn is_failure(&self) -> bool {
        match self {
            Self::Backend { .. }
            | Self::Corrupt { .. }
            | Self::Indeterminate { .. }
            | Self::Unavailable { .. } => true,
            Self::AlreadyExists { .. }
            | Self::BatchTooLarge { .. }
            | Self::Conflict { .. }
            | Self::Missing { .. }
            | Self::ReadOnly => false,
        }
    }

    /// Wraps an error of the storage engine.
    pub fn backend(source: impl Into<Source>) -> Self {
        Self::Backend { source: source.into() }
    }

    /// Makes the error of a store that cannot be reached, with the reason.
    pub fn unavailable(source: impl Into<Source>) -> Self {
        Self::Unavailable { source: source.into() }
    }

    /// Makes the error of an ambiguous commit, with the reason.
    pub fn indeterminate(source: impl Into<Source>) -> Self {
        Self::Indeterminate { source: source.into() }
    }

    /// Makes the error of a closed store.
    pub fn closed() -> Self {
        Self::unavailable("it was closed")
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable { .. } => Self::unavailable(error),
            StoreError::Indeterminate { .. } => Self::new(
                ErrorKind::Unavailable,
                "the change may or may not have been made: read it before you try again",
            )
            .with_source(error),
            StoreError::BatchTooLarge { .. } => Self::invalid(error.to_string()),
            StoreError::ReadOnly => Self::new(ErrorKind::Unavailable, error.to_string()),
            StoreError::AlreadyExists { duplicate: Duplicate::UniqueKey, kind, .. } => {
                Self::new(ErrorKind::Conflict, format!("{kind} already exists")).with_source(error)
            }
            StoreError::Conflict { .. } => {
                Self::new(ErrorKind::Unavailable, "the record is changed too often now, try again")
                    .with_source(error)
            }
            StoreError::AlreadyExists { .. }
            | StoreError::Missing { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Backend { .. } => Self::internal(error),
        }
    }
}
