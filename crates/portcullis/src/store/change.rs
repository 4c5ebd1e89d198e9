//! Changes, and positions in a store's feed of them.

use std::fmt;
use std::time::Instant;

use super::Kind;
use crate::{Id, Random, RandomUnavailable};

/// A position in a store's feed of changes.
///
/// It is valid only for the store that made it, and only for one incarnation of that store: a store
/// that was restored or emptied responds to an earlier position with [`Change::Resync`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    incarnation: u128,
    sequence: u128,
}

impl Position {
    /// Creates a position; for stores.
    pub const fn new(incarnation: u128, sequence: u128) -> Self {
        Self { incarnation, sequence }
    }

    /// Returns the incarnation; for stores.
    pub const fn incarnation(self) -> u128 {
        self.incarnation
    }

    /// Returns the sequence number; for stores, each of which defines its meaning.
    pub const fn sequence(self) -> u128 {
        self.sequence
    }

    /// Draws a random number for a new incarnation.
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
        write!(f, "{:032x}@{}", self.incarnation, self.sequence)
    }
}

/// An event of a store's feed.
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
    /// The feed has delivered everything that was committed before this instant.
    Fresh {
        /// The instant, taken before the store was polled.
        as_of: Instant,
    },
    /// The feed has missed changes: anything that was read before may be stale. The feed continues
    /// from the position.
    Resync {
        /// The position to continue from.
        position: Position,
    },
}
