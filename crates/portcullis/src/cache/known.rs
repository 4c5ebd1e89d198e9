//! What an engine knows of those who have logged in.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use super::CacheConfig;
use super::keys::{Mac, Proof};
use super::stamps::Subject;
use super::table::{Entry, Table};
use super::trust::{Moment, Seen, Trust};
use crate::principal::Facts;
use crate::store::Kind;
use crate::{BucketId, Id, OrgId, Principal, TokenDigest};

/// Everything that is kept. Bounded; nothing in it has to be removed to be right.
pub(crate) struct Known {
    trust: Arc<Trust>,
    hasher: RandomState,
    logins: Table<Facts>,
    tokens: Table<Facts>,
    absent: Table<Absent>,
    absent_tokens: Table<Absent>,
    tenants: Table<Tenant>,
    buckets: Table<NamedBucket>,
}

/// By what somebody is known again, and since when that is known.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Memory {
    /// What stands for the record that they were made of; none where that is to be looked at anew
    /// each time it is read.
    pub(crate) made_of: Option<Mac>,
    pub(crate) by: KnownBy,
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

/// A username that no authorization has, or a secret that is no API token's.
struct Absent {
    /// Its digest: what is presented may have any length.
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
            absent: Table::new(share(1) / 2, size_of::<Absent>() + OVERHEAD),
            absent_tokens: Table::new(share(1) / 2, size_of::<Absent>() + OVERHEAD),
            tenants: Table::new(share(1), size_of::<Tenant>() + OVERHEAD),
            buckets: Table::new(share(1), size_of::<NamedBucket>() + 2 * OVERHEAD),
        }
    }

    /// How many bytes everything takes.
    pub(crate) fn bytes(&self) -> usize {
        self.logins.bytes()
            + self.tokens.bytes()
            + self.absent.bytes()
            + self.absent_tokens.bytes()
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
            let counts = |seen, subject| self.trust.counts(seen, subject, now);
            Some(if rests_on(facts, memory, counts) {
                Look::Warm(principal)
            } else {
                Look::Proven(principal)
            })
        });
        found.unwrap_or(Look::Nothing)
    }

    /// Who presents the API token.
    pub(crate) fn token(&self, digest: &TokenDigest, now: Moment) -> Option<Principal> {
        self.token_where(digest, |seen, subject| self.trust.counts(seen, subject, now))
    }

    /// The same, while the store does not answer.
    pub(crate) fn token_in_grace(&self, digest: &TokenDigest, now: Moment) -> Option<Principal> {
        self.token_where(digest, |seen, subject| self.trust.counts_in_grace(seen, subject, now))
    }

    fn token_where(
        &self,
        digest: &TokenDigest,
        counts: impl Fn(Seen, Subject) -> bool,
    ) -> Option<Principal> {
        self.tokens.find(digest.table_hash(), |facts| {
            let memory = facts.memory()?;
            (memory.digest() == Some(digest) && rests_on(facts, memory, &counts))
                .then(|| Principal::of_facts(Arc::clone(facts)))
        })
    }

    /// Tells whether somebody of whom a look said that they are proven is let in while the store
    /// does not answer.
    pub(crate) fn is_in_grace(&self, proven: &Principal, now: Moment) -> bool {
        self.stands_where(proven, |seen, subject| self.trust.counts_in_grace(seen, subject, now))
    }

    /// Calls into question somebody who was known, and was refused as the store says otherwise by
    /// now: so that they are not let in again in grace.
    pub(crate) fn doubt(&self, known: &Principal) {
        // Once: what does not hold any more is not doubted again, at the cost of others.
        let holds = self.trust.has_grace()
            && self.stands_where(known, |seen, subject| self.trust.holds(seen, subject));
        let facts = known.facts();
        if let (true, Some(memory), Some(id)) = (holds, facts.memory(), facts.id()) {
            let kind = match memory.by {
                KnownBy::Password(_) => Kind::Authorization,
                KnownBy::Token(_) => Kind::ApiToken,
            };
            self.trust.forget(kind, id);
        }
    }

    /// Calls whom the API token let in into question, as [`Known::doubt`] does.
    pub(crate) fn doubt_token(&self, digest: &TokenDigest) {
        if self.trust.has_grace()
            && let Some(known) = self.token_where(digest, |_, _| true)
        {
            self.doubt(&known);
        }
    }

    fn stands_where(&self, principal: &Principal, counts: impl Fn(Seen, Subject) -> bool) -> bool {
        let facts = principal.facts();
        facts.memory().is_some_and(|memory| rests_on(facts, memory, counts))
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
        self.is_absent_where(name, |seen| self.trust.counts(seen, Subject::Absence, now))
    }

    /// The same, while the store does not answer.
    pub(crate) fn is_absent_in_grace(&self, name: u128, now: Moment) -> bool {
        self.is_absent_where(name, |seen| self.trust.counts_in_grace(seen, Subject::Absence, now))
    }

    fn is_absent_where(&self, name: u128, counts: impl Fn(Seen) -> bool) -> bool {
        let found = self
            .absent
            .find(table_hash(name), |absent| (absent.name == name).then(|| counts(absent.seen)));
        found.unwrap_or(false)
    }

    pub(crate) fn keep_absent(&self, name: u128, seen: Seen) {
        self.absent.insert(table_hash(name), Absent { name, seen }, |other| other.name == name);
    }

    /// Tells whether it is known that no API token has the digest.
    pub(crate) fn is_token_absent(&self, digest: &TokenDigest, now: Moment) -> bool {
        let (hash, name) = (digest.table_hash(), digest.prefix());
        let found = self.absent_tokens.find(hash, |absent| {
            let counts = |seen| self.trust.counts(seen, Subject::TokenAbsence, now);
            (absent.name == name).then(|| counts(absent.seen))
        });
        found.unwrap_or(false)
    }

    pub(crate) fn keep_token_absent(&self, digest: &TokenDigest, seen: Seen) {
        let absent = Absent { name: digest.prefix(), seen };
        let is_it = |other: &Absent| other.name == digest.prefix();
        self.absent_tokens.insert(digest.table_hash(), absent, is_it);
    }

    /// Tells whether nothing that the principal was made of was changed since it was read.
    pub(crate) fn is_current(&self, principal: &Principal, now: Moment) -> bool {
        self.stands_where(principal, |seen, subject| self.trust.is_current(seen, subject, now))
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
        self.bucket_where(org, name, |seen| self.trust.counts(seen, Subject::Buckets, now))
    }

    /// The same, while the store does not answer.
    pub(crate) fn bucket_in_grace(&self, org: OrgId, name: &str, now: Moment) -> Option<BucketId> {
        self.bucket_where(org, name, |seen| self.trust.counts_in_grace(seen, Subject::Buckets, now))
    }

    fn bucket_where(
        &self,
        org: OrgId,
        name: &str,
        counts: impl Fn(Seen) -> bool,
    ) -> Option<BucketId> {
        self.buckets.find(self.hasher.hash_one((org, name)), |bucket| {
            (bucket.org == org && &*bucket.name == name && counts(bucket.seen)).then_some(bucket.id)
        })
    }

    pub(crate) fn keep_bucket(&self, org: OrgId, name: &str, id: BucketId, seen: Seen) {
        let bucket = NamedBucket { org, name: name.into(), id, seen };
        self.buckets.insert(self.hasher.hash_one((org, name)), bucket, |other| {
            other.org == org && &*other.name == name
        });
    }
}

/// Tells whether all that somebody was made of still counts.
#[inline]
fn rests_on(facts: &Facts, memory: &Memory, counts: impl Fn(Seen, Subject) -> bool) -> bool {
    let subject = |id| match memory.by {
        KnownBy::Password(_) => Subject::Authorization(id),
        KnownBy::Token(_) => Subject::Token(id),
    };
    let (user, org) = (facts.user().untyped(), facts.org().untyped());
    facts.id().is_some_and(|id| counts(memory.record, subject(id.as_u64())))
        && counts(memory.standing, Standing::User(user).subject())
        && counts(memory.standing, Standing::Org(org).subject())
}
