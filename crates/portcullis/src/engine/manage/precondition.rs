//! Preconditions of changes: a record is changed only if it has a revision that the caller expects.

use std::ops::Deref;

use thiserror::Error;

use crate::store::Revision;
use crate::{Error, ErrorKind};

/// What must be true of a record for it to be changed or deleted: that its revision is an expected one.
///
/// It is checked against the revision that the change replaces, in the same commit, so that no other change
/// is overwritten ([`OnBehalfOf::if_match`](crate::OnBehalfOf::if_match)).
///
/// ```
/// use portcullis::Precondition;
/// use portcullis::store::Revision;
///
/// let [read, other] = [1, 2].map(Revision::from_u128);
/// assert!(Precondition::revision(read).is_met_by(read));
/// assert!(!Precondition::revision(read).is_met_by(other));
/// assert!(Precondition::none().is_met_by(other));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Precondition {
    /// `None`: any revision.
    expected: Option<Vec<Revision>>,
}

impl Precondition {
    /// No precondition: any record that exists is changed.
    pub const fn none() -> Self {
        Self { expected: None }
    }

    /// The record has this revision.
    pub fn revision(revision: Revision) -> Self {
        Self::one_of([revision])
    }

    /// The record has one of these revisions. No record has one of none.
    pub fn one_of(revisions: impl IntoIterator<Item = Revision>) -> Self {
        Self { expected: Some(revisions.into_iter().collect()) }
    }

    /// Tells whether a record of this revision meets it.
    pub fn is_met_by(&self, revision: Revision) -> bool {
        self.expected.as_ref().is_none_or(|expected| expected.contains(&revision))
    }

    /// # Errors
    ///
    /// [`ErrorKind::PreconditionFailed`].
    pub(super) fn check(&self, current: Revision) -> Result<(), Error> {
        match self.is_met_by(current) {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::PreconditionFailed,
                "the record has another revision than expected: it was changed meanwhile",
            )
            .with_source(OtherRevision(current))),
        }
    }
}

/// The revision that a record has in place of an expected one.
#[derive(Debug, Error)]
#[error("its revision is {0}")]
struct OtherRevision(Revision);

impl Error {
    /// Returns the revision that the record has, if this error is that of a [`Precondition`].
    pub fn current_revision(&self) -> Option<Revision> {
        let OtherRevision(current) = std::error::Error::source(self)?.downcast_ref()?;
        Some(*current)
    }
}

/// A value, and the revision of the record that it was read from or written to. Derefs to the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// The revision. `None` if the value is no record of the engine's store: a virtual DBRP mapping, and
    /// what the host's [`Directory`](crate::Directory) returns.
    pub revision: Option<Revision>,
}

impl<T> Versioned<T> {
    pub(super) fn new(value: T, revision: Revision) -> Self {
        Self { value, revision: Some(revision) }
    }

    pub(super) const fn without_revision(value: T) -> Self {
        Self { value, revision: None }
    }

    /// Returns the value.
    pub fn into_value(self) -> T {
        self.value
    }
}

impl<T> Deref for Versioned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
