//! Changes, and positions in a store's feed of them.

use std::fmt;
use std::time::Instant;

use super::Kind;
use crate::{Id, Random, RandomUnavailable};

/// A place in a store's feed of changes.
///
/// It means something only to the store that made it, and only in the incarnation it was made
/// in: a store that was restored or emptied answers it with [`Change::Resync`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    incarnation: u128,
    place: u128,
}

impl Position {
    /// Makes a position; for stores.
    pub const fn new(incarnation: u128, place: u128) -> Self {
        Self { incarnation, place }
    }

    /// Returns the incarnation; for stores.
    pub const fn incarnation(self) -> u128 {
        self.incarnation
    }

    /// Returns the place; for stores. What the number means is the store's own affair.
    pub const fn place(self) -> u128 {
        self.place
    }

    /// Draws the number of a new incarnation.
    ///
    /// # Errors
    ///
    /// [`RandomUnavailable`] when the source fails.
    pub fn new_incarnation(random: &dyn Random) -> Result<u128, RandomUnavailable> {
        let mut bytes = [0; 16];
        random.fill(&mut bytes)?;
        Ok(u128::from_be_bytes(bytes))
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}@{}", self.incarnation, self.place)
    }
}

/// What a store tells those who watch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The record was put or deleted. A hint to read it again: it may have changed once more.
    Changed {
        /// Its kind.
        kind: Kind,
        /// Its id.
        id: Id,
        /// The position after the change.
        position: Position,
    },
    /// Everything that was committed before this instant has been told.
    Fresh {
        /// The instant, taken before the store was looked at.
        as_of: Instant,
    },
    /// Changes were missed: everything known may be old. Telling goes on from the position.
    Resync {
        /// The position to go on from.
        position: Position,
    },
}
