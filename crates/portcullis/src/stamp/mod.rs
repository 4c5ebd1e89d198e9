//! What a principal carries of the cache entry that it was made from: plain values, which the cache
//! compares with its own state.

mod epoch;
mod restrictions;
mod use_due;

use std::fmt;
use std::time::Duration;

use subtle::ConstantTimeEq;

pub(crate) use epoch::Epoch;
pub(crate) use restrictions::{Restrictions, WhichPassword};
pub(crate) use use_due::UseDue;

use crate::TokenDigest;

/// A keyed digest of a username with a password, of a hash, or of a record: SipHash-2-4 with 128 bits
/// under a random key.
///
/// It is a pseudo-random function: without the key, no text with the same digest can be found. A
/// process that can read the key can read passwords in the same memory.
#[derive(Clone, Copy)]
pub(crate) struct Mac(u128);

impl Mac {
    pub(crate) const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// Compares in constant time.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// The number under which a table holds it.
    pub(crate) const fn to_bits(self) -> u128 {
        self.0
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mac(<redacted>)")
    }
}

/// The fact that a password, presented with a username, once matched a hash. It never becomes wrong:
/// the same two need not be computed again for the same hash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proof {
    password: Mac,
    hash: Mac,
}

impl Proof {
    pub(crate) const fn new(password: Mac, hash: Mac) -> Self {
        Self { password, hash }
    }

    /// Returns the digest of the username and the password.
    pub(crate) const fn password(&self) -> &Mac {
        &self.password
    }

    /// Returns whether it is about this username and password.
    pub(crate) fn is_of(&self, password: &Mac) -> bool {
        self.password.is(password)
    }

    /// Returns whether it is about this username and password, and this hash.
    pub(crate) fn matches(&self, password: &Mac, hash: &Mac) -> bool {
        // Not `&&`: the time must not reveal which one differs.
        self.password.is(password) & self.hash.is(hash)
    }

    /// The pair of digests: the key under which equal verifications share one computation.
    pub(crate) const fn to_bits(self) -> (u128, u128) {
        (self.password.to_bits(), self.hash.to_bits())
    }
}

/// Monotonic time, in nanoseconds since the engine began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MonotonicTime(u64);

impl MonotonicTime {
    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub(crate) const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns true for one of 64 instants: for work that only samples of the hits do.
    pub(crate) const fn is_sampled(self) -> bool {
        (self.0 >> 4).is_multiple_of(64)
    }

    /// The time so much later.
    pub(crate) fn after(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// Nanoseconds since the earlier instant; 0 if it is later.
    pub(crate) const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// When something was read: taken before the read begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadStamp {
    pub(crate) epoch: Epoch,
    pub(crate) at: MonotonicTime,
}

impl ReadStamp {
    /// The earlier of the two: the stamp of what is made from both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { epoch: self.epoch.min(other.epoch), at: self.at.min(other.at) }
    }
}

/// How to find an entry in the cache, and when its parts were read.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct CacheStamp {
    /// The digest of the record that the principal was made from; `None` if the record is to be
    /// decoded again each time it is read.
    pub(crate) record_mac: Option<Mac>,
    pub(crate) key: CacheKey,
    /// When the authorization or API token was read.
    pub(crate) record: ReadStamp,
    /// When its user and org were read.
    pub(crate) tenants: ReadStamp,
}

/// The credentials that an entry is for.
#[derive(Clone, Copy)]
pub(crate) enum CacheKey {
    /// A username and a password.
    Password(Proof),
    /// An API token.
    Token(TokenDigest),
}

impl CacheStamp {
    /// The proof, if the key is a password.
    pub(crate) const fn proof(&self) -> Option<&Proof> {
        match &self.key {
            CacheKey::Password(proof) => Some(proof),
            CacheKey::Token(_) => None,
        }
    }

    /// The digest, if the key is an API token.
    pub(crate) const fn digest(&self) -> Option<&TokenDigest> {
        match &self.key {
            CacheKey::Token(digest) => Some(digest),
            CacheKey::Password(_) => None,
        }
    }
}
