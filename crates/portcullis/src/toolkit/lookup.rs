//! Lookups that outlive their caller.

use crate::Id;
use crate::store::{Kind, Lookup, Lookups};

/// A [`Lookup`] that can be sent to another thread.
///
/// It has no `Debug`, as a unique key may be derived from a secret.
pub struct OwnedLookup(Owned);

enum Owned {
    Id(Kind, Id),
    UniqueKey(Kind, Box<str>),
}

impl OwnedLookup {
    /// Returns the lookup.
    pub fn as_lookup(&self) -> Lookup<'_> {
        match &self.0 {
            Owned::Id(kind, id) => Lookup::Id(*kind, *id),
            Owned::UniqueKey(kind, key) => Lookup::UniqueKey(*kind, key),
        }
    }
}

impl From<Lookup<'_>> for OwnedLookup {
    fn from(lookup: Lookup<'_>) -> Self {
        Self(match lookup {
            Lookup::Id(kind, id) => Owned::Id(kind, id),
            Lookup::UniqueKey(kind, key) => Owned::UniqueKey(kind, key.into()),
        })
    }
}

/// [`Lookups`] that can be sent to another thread.
///
/// It has no `Debug`, as unique keys may be derived from secrets.
pub struct OwnedLookups(Vec<OwnedLookup>);

impl OwnedLookups {
    /// Returns each lookup, in order.
    pub fn iter(&self) -> impl Iterator<Item = Lookup<'_>> {
        self.0.iter().map(OwnedLookup::as_lookup)
    }
}

impl From<Lookups<'_>> for OwnedLookups {
    fn from(lookups: Lookups<'_>) -> Self {
        Self(lookups.iter().map(OwnedLookup::from).collect())
    }
}
