//! What an engine knows of those who have logged in.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use super::CacheConfig;
use super::keys::{Mac, Proof};
use super::stamps::Subject;
use super::table::{Entry, Table};
use super::trust::{Moment, Seen, Trust};
use crate::principal::Facts;
use crate::{BucketId, Id, OrgId, Principal, TokenDigest};

/// Everything that is kept. Bounded; nothing in it has to be removed to be right.
pub(crate) struct Known {
    trust: Arc<Trust>,
    hasher: RandomState,
    logins: Table<Facts>,
    tokens: Table<Facts>,
    absent: Table<Absent>,
    tenants: Table<Tenant>,
    buckets: Table<NamedBucket>,
}

/// By what somebody is known again, and since when that is known.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) by: KnownBy,
    /// What stands for the record that they were made of; none where that is to be looked at anew
    /// each time it is read.
    pub(crate) made_of: Option<Mac>,
    /// When the authorization or API token was read.
    pub(crate) record: Seen,
    /// When its user and org were.
    pub(crate) standing: Seen,
}

#[derive(Clone, Copy)]
pub(crate) enum KnownBy {
    /// A username and a password.
    Password(Proof),
    /// An API token.
    Token(TokenDigest),
}

impl Memory {
    /// The proof, if it is a password.
    pub(crate) const fn proof(&self) -> Option<&Proof> {
        match &self.by {
            KnownBy::Password(proof) => Some(proof),
            KnownBy::Token(_) => None,
        }
    }

    /// The digest, if it is an API token.
    const fn digest(&self) -> Option<&TokenDigest> {
        match &self.by {
            KnownBy::Token(digest) => Some(digest),
            KnownBy::Password(_) => None,
        }
    }
}

/// A username that no authorization has.
struct Absent {
    /// Its keyed digest: anybody can present names of any length.
    name: u128,
    seen: Seen,
}

/// Whether a user or an org is there and active.
struct Tenant {
    of: Standing,
    active: bool,
    seen: Seen,
}

/// Which bucket of an org has a name.
struct NamedBucket {
    org: OrgId,
    name: Box<str>,
    id: BucketId,
    seen: Seen,
}

/// Whose standing it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Standing {
    Org(Id),
    User(Id),
}

impl Standing {
    fn subject(self) -> Subject {
        let (Self::Org(id) | Self::User(id)) = self;
        Subject::Tenant(id.as_u64())
    }
}

/// An entry's share of the sets.
const SHARE: usize = 16;

/// What an entry takes besides its own fields: its counts of references, and its share.
const OVERHEAD: usize = 16 + SHARE;

impl Entry for Facts {
    fn bytes(&self) -> usize {
        self.bytes() + SHARE
    }
}

impl Entry for Absent {
    fn bytes(&self) -> usize {
        size_of::<Self>() + OVERHEAD
    }
}

impl Entry for NamedBucket {
    fn bytes(&self) -> usize {
        size_of::<Self>() + OVERHEAD + self.name.len()
    }
}

impl Entry for Tenant {
    fn bytes(&self) -> usize {
        size_of::<Self>() + OVERHEAD
    }
}

/// What is known of a username and a password.
pub(crate) enum Look {
    /// The password is right, and this is who it lets in.
    Warm(Principal),
    /// The password was right for a hash that must be read again, and this is whom it let in.
    Proven(Principal),
    /// Nothing about this password.
    Nothing,
}

/// A digest under a key is as good as any hash of it.
const fn table_hash(digest: u128) -> u64 {
    digest as u64
}

impl Known {
    /// Bytes of a login with a handful of permissions, which decides for how many there is room.
    const TYPICAL_LOGIN: usize = 640;

    pub(crate) fn new(config: &CacheConfig, trust: Arc<Trust>) -> Self {
        let share = |sixteenths: usize| config.max_bytes / 16 * sixteenths;
        Self {
            trust,
            hasher: RandomState::new(),
            logins: Table::new(share(11), Self::TYPICAL_LOGIN),
            tokens: Table::new(share(2), Self::TYPICAL_LOGIN),
            absent: Table::new(share(1), size_of::<Absent>() + OVERHEAD),
            tenants: Table::new(share(1), size_of::<Tenant>() + OVERHEAD),
            buckets: Table::new(share(1), size_of::<NamedBucket>() + 2 * OVERHEAD),
        }
    }

    /// How many bytes everything takes.
    pub(crate) fn bytes(&self) -> usize {
        self.logins.bytes()
            + self.tokens.bytes()
            + self.absent.bytes()
            + self.tenants.bytes()
            + self.buckets.bytes()
    }

    /// What is known of the username and the password. One name can have several passwords here,
    /// of which one at the most matches the hash that it has now.
    pub(crate) fn login(&self, password: &Mac, now: Moment) -> Look {
        let found = self.logins.find(table_hash(password.to_bits()), |facts| {
            let memory = facts.memory()?;
            if !memory.proof()?.is_of(password) {
                return None;
            }
            let principal = Principal::of_facts(Arc::clone(facts));
            Some(if self.counts(facts, memory, Subject::Authorization, now) {
                Look::Warm(principal)
            } else {
                Look::Proven(principal)
            })
        });
        found.unwrap_or(Look::Nothing)
    }

    /// Who presents the API token.
    pub(crate) fn token(&self, digest: &TokenDigest, now: Moment) -> Option<Principal> {
        self.tokens.find(digest.table_hash(), |facts| {
            let memory = facts.memory()?;
            (memory.digest() == Some(digest) && self.counts(facts, memory, Subject::Token, now))
                .then(|| Principal::of_facts(Arc::clone(facts)))
        })
    }

    /// Keeps somebody who is known again by what their [`Memory`] says.
    pub(crate) fn keep(&self, principal: Principal) {
        let facts = principal.into_facts();
        match facts.memory().map(|memory| memory.by) {
            Some(KnownBy::Password(proof)) => {
                let password = proof.password();
                self.logins.insert_shared(table_hash(password.to_bits()), facts, |other| {
                    let proof = other.memory().and_then(Memory::proof);
                    proof.is_some_and(|proof| proof.is_of(password))
                });
            }
            Some(KnownBy::Token(digest)) => {
                self.tokens.insert_shared(digest.table_hash(), facts, |other| {
                    other.memory().and_then(Memory::digest) == Some(&digest)
                });
            }
            None => {}
        }
    }

    /// Tells whether it is known that no authorization has the username with this digest.
    pub(crate) fn is_absent(&self, name: u128, now: Moment) -> bool {
        let found = self.absent.find(table_hash(name), |absent| {
            (absent.name == name).then(|| self.trust.counts(absent.seen, Subject::Absence, now))
        });
        found.unwrap_or(false)
    }

    pub(crate) fn keep_absent(&self, name: u128, seen: Seen) {
        self.absent.insert(table_hash(name), Absent { name, seen }, |other| other.name == name);
    }

    /// Whether a user or org is there and active, and when that was read.
    pub(crate) fn standing(&self, of: Standing, now: Moment) -> Option<(bool, Seen)> {
        self.tenants.find(self.hasher.hash_one(of), |tenant| {
            (tenant.of == of && self.trust.counts(tenant.seen, of.subject(), now))
                .then_some((tenant.active, tenant.seen))
        })
    }

    pub(crate) fn keep_standing(&self, of: Standing, active: bool, seen: Seen) {
        let hash = self.hasher.hash_one(of);
        self.tenants.insert(hash, Tenant { of, active, seen }, |other| other.of == of);
    }

    /// The bucket of the org that has the name, byte by byte.
    pub(crate) fn bucket(&self, org: OrgId, name: &str, now: Moment) -> Option<BucketId> {
        self.buckets.find(self.hasher.hash_one((org, name)), |bucket| {
            (bucket.org == org
                && &*bucket.name == name
                && self.trust.counts(bucket.seen, Subject::Buckets, now))
            .then_some(bucket.id)
        })
    }

    pub(crate) fn keep_bucket(&self, org: OrgId, name: &str, id: BucketId, seen: Seen) {
        let bucket = NamedBucket { org, name: name.into(), id, seen };
        self.buckets.insert(self.hasher.hash_one((org, name)), bucket, |other| {
            other.org == org && &*other.name == name
        });
    }

    fn counts(
        &self,
        facts: &Facts,
        memory: &Memory,
        subject: impl FnOnce(u64) -> Subject,
        now: Moment,
    ) -> bool {
        let (user, org) = (facts.user().untyped(), facts.org().untyped());
        let standing = memory.standing;
        facts.id().is_some_and(|id| self.trust.counts(memory.record, subject(id.as_u64()), now))
            && self.trust.counts(standing, Standing::User(user).subject(), now)
            && self.trust.counts(standing, Standing::Org(org).subject(), now)
    }
}
