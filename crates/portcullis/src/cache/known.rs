//! What an engine knows of those who have logged in.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use super::CacheConfig;
use super::keys::{Mac, Proof};
use super::stamps::Subject;
use super::table::{Entry, Table};
use super::trust::{Moment, Seen, Trust};
use crate::{BucketId, Id, OrgId, Principal, TokenDigest};

/// Everything that is kept. Bounded; nothing in it has to be removed to be right.
pub(crate) struct Known {
    trust: Arc<Trust>,
    hasher: RandomState,
    logins: Table<Login>,
    tokens: Table<Token>,
    absent: Table<Absent>,
    tenants: Table<Tenant>,
    buckets: Table<NamedBucket>,
}

/// Somebody who has logged in with a username and a password.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) principal: Principal,
    pub(crate) id: Id,
    pub(crate) proof: Proof,
    /// When the authorization was read.
    pub(crate) record: Seen,
    /// When its user and org were.
    pub(crate) standing: Seen,
    /// What the permissions of the principal take.
    pub(crate) permission_bytes: usize,
}

/// Somebody who has presented an API token.
pub(crate) struct Token {
    pub(crate) digest: TokenDigest,
    pub(crate) principal: Principal,
    pub(crate) id: Id,
    pub(crate) record: Seen,
    pub(crate) standing: Seen,
    pub(crate) permission_bytes: usize,
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

/// What an entry takes besides its own fields: its count of references, and its share of the sets.
const OVERHEAD: usize = 16 + 16;

impl Entry for Login {
    fn bytes(&self) -> usize {
        size_of::<Self>() + OVERHEAD + self.permission_bytes
    }
}

impl Entry for Token {
    fn bytes(&self) -> usize {
        size_of::<Self>() + OVERHEAD + self.permission_bytes
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
    /// The password was right for a hash that must be read again.
    Proven(Proof),
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
        let found = self.logins.find(table_hash(password.to_bits()), |login| {
            if !login.proof.is_of(password) {
                return None;
            }
            let record = Subject::Authorization(login.id.as_u64());
            Some(if self.counts(record, login.record, &login.principal, login.standing, now) {
                Look::Warm(login.principal.clone())
            } else {
                Look::Proven(login.proof)
            })
        });
        found.unwrap_or(Look::Nothing)
    }

    pub(crate) fn keep_login(&self, login: Login) {
        let password = *login.proof.password();
        self.logins
            .insert(table_hash(password.to_bits()), login, |other| other.proof.is_of(&password));
    }

    pub(crate) fn token(&self, digest: &TokenDigest, now: Moment) -> Option<Principal> {
        self.tokens.find(digest.table_hash(), |token| {
            let record = Subject::Token(token.id.as_u64());
            (token.digest == *digest
                && self.counts(record, token.record, &token.principal, token.standing, now))
            .then(|| token.principal.clone())
        })
    }

    pub(crate) fn keep_token(&self, token: Token) {
        let digest = token.digest;
        self.tokens.insert(digest.table_hash(), token, |other| other.digest == digest);
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
        record: Subject,
        record_seen: Seen,
        principal: &Principal,
        standing_seen: Seen,
        now: Moment,
    ) -> bool {
        let (user, org) = (principal.user().untyped(), principal.org().untyped());
        self.trust.counts(record_seen, record, now)
            && self.trust.counts(standing_seen, Standing::User(user).subject(), now)
            && self.trust.counts(standing_seen, Standing::Org(org).subject(), now)
    }
}
