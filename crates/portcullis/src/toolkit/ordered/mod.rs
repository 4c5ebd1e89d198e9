//! Parts for stores on engines with ordered keys: the keys and values of three keyspaces, reading and
//! changing them.
//!
//! | [keyspace](Keyspace) | key | value |
//! |---|---|---|
//! | records | kind and id | the record and its grant keys |
//! | unique keys | kind and unique key | id |
//! | index entries | kind; org, user or grant key; id | nothing |
//!
//! Keys and values are part of the format of stores. Numbers in them are written most significant byte
//! first, so that the order of the bytes is the order of the ids.
//!
//! A store implements [`Read`], [`Scan`] and [`Write`] for its tables, or for a transaction on them.
//! [`get`], [`list`] and [`entries`] read; [`apply`] changes, on an [`Overlay`] where the engine cannot
//! undo the operations of a batch that is refused; [`rebuild`] makes the entries anew.

mod keys;
mod read;
mod value;
mod write;

use std::ops::{Bound, ControlFlow};

use crate::store::StoreError;

pub use read::{entries, get, list, unreadable_keys};
pub use write::{Edits, Overlay, apply, rebuild, replace};

/// A keyspace: a tree or table of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keyspace {
    /// Kind and id to the record.
    Records,
    /// Kind and unique key to the id.
    Unique,
    /// Kind, org or user or grant key, and id to nothing.
    Index,
}

impl Keyspace {
    /// Every keyspace.
    pub const ALL: [Self; 3] = [Self::Records, Self::Unique, Self::Index];
}

/// Reads single keys.
pub trait Read {
    /// Passes the value of the key to `read`, and returns its result; `None` if there is no such key.
    ///
    /// # Errors
    ///
    /// Those of the engine.
    fn get<T>(
        &self,
        keyspace: Keyspace,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, StoreError>;
}

/// Reads keys in their order.
pub trait Scan: Read {
    /// Passes the keys between the bounds, and their values, to `visit`, in ascending order, until it
    /// breaks or fails.
    ///
    /// # Errors
    ///
    /// Those of the engine and of `visit`.
    fn scan(
        &self,
        keyspace: Keyspace,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError>;
}

/// Changes single keys.
pub trait Write: Read {
    /// Sets the value of the key, or removes the key.
    ///
    /// # Errors
    ///
    /// Those of the engine.
    fn put(
        &mut self,
        keyspace: Keyspace,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), StoreError>;
}
