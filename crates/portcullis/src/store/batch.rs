//! Batches of operations.

use super::{Kind, Record, Revision, StoreError};
use crate::{GrantKey, Id};

/// Operations that are applied in order, all or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    operations: Vec<Operation>,
}

/// A change, or a precondition, of a [`Batch`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// Inserts the record, or replaces the one with its id.
    Put {
        /// The record.
        record: Record,
        /// The grant keys under which it is listed; they replace the former ones.
        grants: Vec<GrantKey>,
        /// The precondition.
        expect: Expect,
    },
    /// Deletes the record, its unique key and its index entries.
    Delete {
        /// Its kind.
        kind: Kind,
        /// Its id.
        id: Id,
        /// The revision it must have. Another one is [`StoreError::Conflict`], no record at all
        /// is [`StoreError::Missing`].
        expect: Revision,
    },
    /// Changes nothing and fails with [`StoreError::Missing`] unless the record exists.
    Require {
        /// Its kind.
        kind: Kind,
        /// Its id.
        id: Id,
    },
}

/// The precondition of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No record of the kind with this id, else [`StoreError::AlreadyExists`].
    Absent,
    /// One with this revision. Another one is [`StoreError::Conflict`], no record at all is
    /// [`StoreError::Missing`].
    Revision(Revision),
}

impl Batch {
    /// The most operations in one batch.
    pub const MAX_OPERATIONS: usize = 1_000_000;

    /// A batch without operations. Committing it changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an operation after the others.
    pub fn push(&mut self, operation: Operation) {
        self.operations.push(operation);
    }

    /// Adds an operation after the others.
    #[must_use]
    pub fn with(mut self, operation: Operation) -> Self {
        self.push(operation);
        self
    }

    /// Returns the operations. Every store calls this first.
    ///
    /// # Errors
    ///
    /// [`StoreError::BatchTooLarge`] over [`Batch::MAX_OPERATIONS`].
    pub fn into_operations(self) -> Result<Vec<Operation>, StoreError> {
        match self.operations.len() {
            0..=Self::MAX_OPERATIONS => Ok(self.operations),
            operations => Err(StoreError::BatchTooLarge { operations }),
        }
    }

    pub(crate) fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Returns the number of operations.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }
}

impl FromIterator<Operation> for Batch {
    fn from_iter<T: IntoIterator<Item = Operation>>(operations: T) -> Self {
        Self { operations: operations.into_iter().collect() }
    }
}
