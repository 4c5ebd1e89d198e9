//! The entries of the cache, and when one is valid.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use super::CacheConfig;
use super::epochs::Subject;
use super::freshness::Freshness;
use super::table::{Entry, Table};
use crate::principal::PrincipalInner;
use crate::stamp::{CacheKey, CacheStamp, Mac, MonotonicTime, ReadStamp};
use crate::store::Kind;
use crate::{BucketId, DatabaseBucket, Id, OrgId, Principal, TokenDigest};

/// All entries. Bounded in bytes; no entry has to be removed for correctness.
pub(crate) struct LoginCache {
    freshness: Arc<Freshness>,
    hasher: RandomState,
    logins: Table<PrincipalInner>,
    tokens: Table<PrincipalInner>,
    absent: Table<AbsentEntry>,
    absent_tokens: Table<AbsentEntry>,
    tenants: Table<TenantEntry>,
    buckets: Table<BucketEntry>,
    databases: Table<DatabaseEntry>,
}

/// A username without an authorization, or a secret without an API token.
struct AbsentEntry {
    /// A digest: the presented text may have any length.
    name: u128,
    read: ReadStamp,
}

/// Whether a user or an org exists and is active.
struct TenantEntry {
    tenant: Tenant,
    status: TenantStatus,
}

/// The bucket of an org that has a name.
struct BucketEntry {
    org: OrgId,
    name: Box<str>,
    id: BucketId,
    read: ReadStamp,
}

/// What a database of an org, or a retention policy of it, leads to.
struct DatabaseEntry {
    org: OrgId,
    database: Box<str>,
    retention_policy: Option<Box<str>>,
    found: DatabaseBucket,
    read: ReadStamp,
}

/// A user or an org.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Tenant {
    Org(Id),
    User(Id),
}

impl Tenant {
    fn subject(self) -> Subject {
        let (Self::Org(id) | Self::User(id)) = self;
        Subject::Tenant(id.as_u64())
    }
}

/// The status of a user or an org, and when it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TenantStatus {
    pub(crate) is_active: bool,
    pub(crate) read: ReadStamp,
}

/// An entry's share of the sets.
const SHARE: usize = 16;

/// The bytes of an entry besides its own fields: its reference counts and its share.
const OVERHEAD: usize = 16 + SHARE;

impl Entry for PrincipalInner {
    fn bytes(&self) -> usize {
        self.bytes() + SHARE
    }
}

impl Entry for AbsentEntry {
    fn bytes(&self) -> usize {
        size_of::<Self>() + OVERHEAD
    }
}

impl Entry for BucketEntry {
    fn bytes(&self) -> usize {
        size_of::<Self>() + OVERHEAD + self.name.len()
    }
}

impl Entry for DatabaseEntry {
    fn bytes(&self) -> usize {
        let policy = self.retention_policy.as_ref().map_or(0, |policy| policy.len());
        size_of::<Self>() + OVERHEAD + self.database.len() + policy
    }
}

impl Entry for TenantEntry {
    fn bytes(&self) -> usize {
        size_of::<Self>() + OVERHEAD
    }
}

/// The result of a lookup of a username and a password.
pub(crate) enum Lookup {
    /// A valid entry.
    Hit(Principal),
    /// An entry that is not valid any more. Its password was right for a hash that has to be read
    /// again.
    Stale(Principal),
    /// No entry with this password.
    Miss,
}

/// A keyed digest needs no further hashing.
const fn table_hash(digest: u128) -> u64 {
    digest as u64
}

impl LoginCache {
    /// Bytes of a login with a handful of permissions: the table is sized for these.
    const TYPICAL_LOGIN: usize = 640;

    pub(crate) fn new(config: &CacheConfig, freshness: Arc<Freshness>) -> Self {
        let share = |sixteenths: usize| config.max_bytes / 16 * sixteenths;
        Self {
            freshness,
            hasher: RandomState::new(),
            logins: Table::new(share(11), Self::TYPICAL_LOGIN),
            tokens: Table::new(share(2), Self::TYPICAL_LOGIN),
            absent: Table::new(share(1) / 2, size_of::<AbsentEntry>() + OVERHEAD),
            absent_tokens: Table::new(share(1) / 2, size_of::<AbsentEntry>() + OVERHEAD),
            tenants: Table::new(share(1), size_of::<TenantEntry>() + OVERHEAD),
            buckets: Table::new(share(1) / 2, size_of::<BucketEntry>() + 2 * OVERHEAD),
            databases: Table::new(share(1) / 2, size_of::<DatabaseEntry>() + 2 * OVERHEAD),
        }
    }

    /// The bytes of all entries.
    pub(crate) fn bytes(&self) -> usize {
        self.logins.bytes()
            + self.tokens.bytes()
            + self.absent.bytes()
            + self.absent_tokens.bytes()
            + self.tenants.bytes()
            + self.buckets.bytes()
            + self.databases.bytes()
    }

    /// Looks a username and a password up. One name can have entries with several passwords, at most
    /// one of which matches its present hash.
    pub(crate) fn login(&self, password: &Mac, now: MonotonicTime) -> Lookup {
        let found = self.logins.find(table_hash(password.to_bits()), |inner| {
            let stamp = inner.stamp()?;
            if !stamp.proof()?.is_of(password) {
                return None;
            }
            let principal = Principal::from_inner(Arc::clone(inner));
            let is_valid = |read, subject| self.freshness.is_valid(read, subject, now);
            Some(if is_entry_valid(inner, stamp, is_valid) {
                Lookup::Hit(principal)
            } else {
                Lookup::Stale(principal)
            })
        });
        found.unwrap_or(Lookup::Miss)
    }

    /// Returns the valid entry of an API token.
    pub(crate) fn token(&self, digest: &TokenDigest, now: MonotonicTime) -> Option<Principal> {
        self.token_where(digest, |read, subject| self.freshness.is_valid(read, subject, now))
    }

    /// Returns the entry of an API token that is usable while the store does not respond.
    pub(crate) fn token_if_error(
        &self,
        digest: &TokenDigest,
        now: MonotonicTime,
    ) -> Option<Principal> {
        self.token_where(digest, |read, subject| {
            self.freshness.is_valid_if_error(read, subject, now)
        })
    }

    fn token_where(
        &self,
        digest: &TokenDigest,
        is_valid: impl Fn(ReadStamp, Subject) -> bool,
    ) -> Option<Principal> {
        self.tokens.find(digest.table_hash(), |inner| {
            let stamp = inner.stamp()?;
            (stamp.digest() == Some(digest) && is_entry_valid(inner, stamp, &is_valid))
                .then(|| Principal::from_inner(Arc::clone(inner)))
        })
    }

    /// Returns whether a stale entry is usable while the store does not respond.
    pub(crate) fn is_valid_if_error(&self, stale: &Principal, now: MonotonicTime) -> bool {
        self.is_valid_where(stale, |read, subject| {
            self.freshness.is_valid_if_error(read, subject, now)
        })
    }

    /// Invalidates a cached login after the store has contradicted it, so that stale-if-error
    /// cannot use it.
    pub(crate) fn invalidate_contradicted(&self, cached: &Principal) {
        // Once: a second time would only invalidate others that share its epoch slot.
        let is_unchanged = self.freshness.allows_stale()
            && self
                .is_valid_where(cached, |read, subject| self.freshness.is_unchanged(read, subject));
        let inner = cached.inner();
        if let (true, Some(stamp), Some(id)) = (is_unchanged, inner.stamp(), inner.id()) {
            let kind = match stamp.key {
                CacheKey::Password(_) => Kind::Authorization,
                CacheKey::Token(_) => Kind::ApiToken,
            };
            self.freshness.invalidate(kind, id);
        }
    }

    /// Invalidates the entry of an API token after the store has contradicted it.
    pub(crate) fn invalidate_contradicted_token(&self, digest: &TokenDigest) {
        if self.freshness.allows_stale()
            && let Some(cached) = self.token_where(digest, |_, _| true)
        {
            self.invalidate_contradicted(&cached);
        }
    }

    fn is_valid_where(
        &self,
        principal: &Principal,
        is_valid: impl Fn(ReadStamp, Subject) -> bool,
    ) -> bool {
        let inner = principal.inner();
        inner.stamp().is_some_and(|stamp| is_entry_valid(inner, stamp, is_valid))
    }

    /// Inserts a principal under the key of its [`CacheStamp`]. Its use is noted when that of the entry
    /// would have been that it replaces, if it is of the same credential.
    pub(crate) fn insert(&self, principal: Principal) {
        let inner = principal.into_inner();
        let new = Arc::clone(&inner);
        let replaces = |other: &PrincipalInner, is_same: bool| {
            // The first use of a password that has become the previous one is noted at once.
            let of_previous = |inner: &PrincipalInner| inner.is_of_previous_password();
            if is_same && other.id() == new.id() && of_previous(other) == of_previous(&new) {
                new.use_due().keep(other.use_due());
            }
            is_same
        };
        match inner.stamp().map(|stamp| stamp.key) {
            Some(CacheKey::Password(proof)) => {
                let password = proof.password();
                self.logins.insert_shared(table_hash(password.to_bits()), inner, |other| {
                    let proof = other.stamp().and_then(CacheStamp::proof);
                    replaces(other, proof.is_some_and(|proof| proof.is_of(password)))
                });
            }
            Some(CacheKey::Token(digest)) => {
                self.tokens.insert_shared(digest.table_hash(), inner, |other| {
                    replaces(other, other.stamp().and_then(CacheStamp::digest) == Some(&digest))
                });
            }
            None => {}
        }
    }

    /// Returns whether a valid entry states that no authorization has the username with this digest.
    pub(crate) fn is_absent(&self, name: u128, now: MonotonicTime) -> bool {
        self.is_absent_where(name, |read| self.freshness.is_valid(read, Subject::Absence, now))
    }

    /// The same, while the store does not respond.
    pub(crate) fn is_absent_if_error(&self, name: u128, now: MonotonicTime) -> bool {
        self.is_absent_where(name, |read| {
            self.freshness.is_valid_if_error(read, Subject::Absence, now)
        })
    }

    fn is_absent_where(&self, name: u128, is_valid: impl Fn(ReadStamp) -> bool) -> bool {
        let found = self
            .absent
            .find(table_hash(name), |absent| (absent.name == name).then(|| is_valid(absent.read)));
        found.unwrap_or(false)
    }

    pub(crate) fn insert_absent(&self, name: u128, read: ReadStamp) {
        self.absent
            .insert(table_hash(name), AbsentEntry { name, read }, |other| other.name == name);
    }

    /// Returns whether a valid entry states that no API token has the digest.
    pub(crate) fn is_token_absent(&self, digest: &TokenDigest, now: MonotonicTime) -> bool {
        let (hash, name) = (digest.table_hash(), digest.prefix());
        let found = self.absent_tokens.find(hash, |absent| {
            let is_valid = |read| self.freshness.is_valid(read, Subject::TokenAbsence, now);
            (absent.name == name).then(|| is_valid(absent.read))
        });
        found.unwrap_or(false)
    }

    pub(crate) fn insert_absent_token(&self, digest: &TokenDigest, read: ReadStamp) {
        let absent = AbsentEntry { name: digest.prefix(), read };
        let is_it = |other: &AbsentEntry| other.name == digest.prefix();
        self.absent_tokens.insert(digest.table_hash(), absent, is_it);
    }

    /// Returns whether nothing that the principal was made from has changed since it was read.
    pub(crate) fn is_current(&self, principal: &Principal, now: MonotonicTime) -> bool {
        self.is_valid_where(principal, |read, subject| {
            self.freshness.is_current(read, subject, now)
        })
    }

    /// Returns the valid entry of a user or an org.
    pub(crate) fn tenant(&self, tenant: Tenant, now: MonotonicTime) -> Option<TenantStatus> {
        self.tenants.find(self.hasher.hash_one(tenant), |entry| {
            let is_valid = || self.freshness.is_valid(entry.status.read, tenant.subject(), now);
            (entry.tenant == tenant && is_valid()).then_some(entry.status)
        })
    }

    pub(crate) fn insert_tenant(&self, tenant: Tenant, status: TenantStatus) {
        let entry = TenantEntry { tenant, status };
        self.tenants.insert(self.hasher.hash_one(tenant), entry, |other| other.tenant == tenant);
    }

    /// Returns the valid entry of the org's bucket with the name, compared byte by byte.
    pub(crate) fn bucket(&self, org: OrgId, name: &str, now: MonotonicTime) -> Option<BucketId> {
        self.bucket_where(org, name, |read| self.freshness.is_valid(read, Subject::Buckets, now))
    }

    /// The same, while the store does not respond.
    pub(crate) fn bucket_if_error(
        &self,
        org: OrgId,
        name: &str,
        now: MonotonicTime,
    ) -> Option<BucketId> {
        self.bucket_where(org, name, |read| {
            self.freshness.is_valid_if_error(read, Subject::Buckets, now)
        })
    }

    fn bucket_where(
        &self,
        org: OrgId,
        name: &str,
        is_valid: impl Fn(ReadStamp) -> bool,
    ) -> Option<BucketId> {
        self.buckets.find(self.hasher.hash_one((org, name)), |bucket| {
            (bucket.org == org && &*bucket.name == name && is_valid(bucket.read))
                .then_some(bucket.id)
        })
    }

    pub(crate) fn insert_bucket(&self, org: OrgId, name: &str, id: BucketId, read: ReadStamp) {
        let bucket = BucketEntry { org, name: name.into(), id, read };
        self.buckets.insert(self.hasher.hash_one((org, name)), bucket, |other| {
            other.org == org && &*other.name == name
        });
    }

    /// Returns the valid entry of the retention policy, or of the database alone.
    pub(crate) fn database(
        &self,
        org: OrgId,
        database: &str,
        retention_policy: Option<&str>,
        now: MonotonicTime,
    ) -> Option<DatabaseBucket> {
        self.database_where(org, database, retention_policy, |read, subject| {
            self.freshness.is_valid(read, subject, now)
        })
    }

    /// The same, while the store does not respond.
    pub(crate) fn database_if_error(
        &self,
        org: OrgId,
        database: &str,
        retention_policy: Option<&str>,
        now: MonotonicTime,
    ) -> Option<DatabaseBucket> {
        self.database_where(org, database, retention_policy, |read, subject| {
            self.freshness.is_valid_if_error(read, subject, now)
        })
    }

    fn database_where(
        &self,
        org: OrgId,
        database: &str,
        retention_policy: Option<&str>,
        is_valid: impl Fn(ReadStamp, Subject) -> bool,
    ) -> Option<DatabaseBucket> {
        self.databases.find(self.hasher.hash_one((org, database, retention_policy)), |entry| {
            (entry.is_of(org, database, retention_policy)
                && is_valid(entry.read, Subject::Dbrps)
                && is_valid(entry.read, Subject::Buckets))
            .then_some(entry.found)
        })
    }

    pub(crate) fn insert_database(
        &self,
        org: OrgId,
        database: &str,
        retention_policy: Option<&str>,
        found: DatabaseBucket,
        read: ReadStamp,
    ) {
        let entry = DatabaseEntry {
            org,
            database: database.into(),
            retention_policy: retention_policy.map(Into::into),
            found,
            read,
        };
        let hash = self.hasher.hash_one((org, database, retention_policy));
        self.databases.insert(hash, entry, |other| other.is_of(org, database, retention_policy));
    }
}

impl DatabaseEntry {
    fn is_of(&self, org: OrgId, database: &str, retention_policy: Option<&str>) -> bool {
        self.org == org
            && &*self.database == database
            && self.retention_policy.as_deref() == retention_policy
    }
}

/// Returns whether everything that the principal was made from is valid.
#[inline]
fn is_entry_valid(
    inner: &PrincipalInner,
    stamp: &CacheStamp,
    is_valid: impl Fn(ReadStamp, Subject) -> bool,
) -> bool {
    let subject = |id| match stamp.key {
        CacheKey::Password(_) => Subject::Authorization(id),
        CacheKey::Token(_) => Subject::Token(id),
    };
    let (user, org) = (inner.user().untyped(), inner.org().untyped());
    inner.id().is_some_and(|id| is_valid(stamp.record, subject(id.as_u64())))
        && is_valid(stamp.tenants, Tenant::User(user).subject())
        && is_valid(stamp.tenants, Tenant::Org(org).subject())
}
