//! The engine: every operation of Portcullis, over any store.

mod builder;
mod database;
mod expiry;
mod last_use;
mod login;
mod manage;
mod records;
mod report;

use std::fmt;
use std::hash::RandomState;
use std::sync::Arc;

pub use builder::{BuildError, EngineBuilder};
pub use expiry::{ExpiringSoon, ExpiryCounts};
pub use last_use::LastUseConfig;
pub use manage::{
    ApiTokenPage, ApiTokenView, AuthorizationPage, AuthorizationView, Deletion, DeletionPreview,
    ExportError, ImportError, NameResolver, NewApiToken, OnBehalfOf, Precondition, ResourceNames,
    Setup, SetupDone, Versioned,
};

use login::ReadLimit;
use tokio::sync::Semaphore;

use crate::cache::{CommitHealth, Follower, Freshness, Keys, LoginCache, StateObserver};
use crate::login_history::FamiliarSources;
use crate::metrics::{Gauges, Metrics};
use crate::password::{HashPool, PasswordPolicy, SharedVerifications};
use crate::store::{Kind, Lookup, Store, StoreError};
use crate::throttle::Throttle;
use crate::{
    AuditSink, BucketId, Clock, Directory, Error, ErrorKind, Id, LoginHistory, OrgId, Random,
    UserId,
};

/// Authenticates logins, and manages the records that logins depend on.
///
/// Cheap to clone; all clones are the same engine. Its own methods are trusted: they are for the
/// embedding program and check no caller. [`Engine::on_behalf_of`] returns the operations with a
/// caller's permissions enforced.
///
/// ```
/// use portcullis::{Credentials, Engine, store::MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Engine::builder(MemoryStore::new()?).build().await?;
/// let refused = engine.authenticate(Credentials::password("telegraf", "s3cret-enough")).await;
/// assert_eq!(refused.unwrap_err().message(), "Unauthorized");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    directory: Arc<dyn Directory>,
    /// Whether users, orgs and buckets are records of the store.
    owns_directory: bool,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    policy: PasswordPolicy,
    hashes: HashPool,
    verifications: SharedVerifications<login::Verified>,
    /// Hashes usernames and addresses for the fair queue of the hash pool.
    flows: RandomState,
    familiar: FamiliarSources,
    throttled_reads: Semaphore,
    rehashing: Option<login::Rehashing>,
    ends_previous_on_use: bool,
    keys: Keys,
    freshness: Arc<Freshness>,
    commit_health: Arc<CommitHealth>,
    cache: LoginCache,
    throttle: Option<Arc<Throttle>>,
    audit: Option<Arc<dyn AuditSink>>,
    reported: login::ReportedOnce,
    expiry: expiry::Expiry,
    metrics: Metrics,
    last_uses: Option<Arc<last_use::LastUses>>,
    /// Writes the last uses for as long as the engine exists.
    _flusher: Option<last_use::Flusher>,
    /// Logs every change of the [`TrustState`](crate::TrustState).
    _observer: StateObserver,
    /// Follows the store's change feed for as long as the engine exists.
    _follower: Follower,
}

impl Engine {
    /// Begins an engine over the store, which may be shared (`Arc<dyn Store>`).
    pub fn builder(store: impl Store) -> EngineBuilder {
        EngineBuilder::new(Arc::new(store))
    }

    /// Reads from the store to check whether logins can succeed: while the store is available, and
    /// during an outage while cached logins are accepted
    /// ([`CacheConfig::stale_if_error`](crate::CacheConfig::stale_if_error)).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) and
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) when they cannot.
    pub async fn ready(&self) -> Result<(), Error> {
        let any = Lookup::Id(Kind::Org, Id::from_u64(1));
        let has_fallback = || self.0.freshness.stale_time_left(self.moment()).is_some();
        let limit = ReadLimit::with_fallback(has_fallback());
        match self.read_within(limit, self.0.store.get(any)).await {
            Err(StoreError::Unavailable { .. }) if has_fallback() => Ok(()),
            result => result.map(drop).map_err(Error::from),
        }
    }

    /// Tells whether the last change failed because the store was unavailable or read-only. Logins may
    /// still work.
    pub fn changes_fail(&self) -> bool {
        self.0.commit_health.is_failing()
    }

    /// Invalidates the cached status of the user: the next login with one of its credentials reads
    /// the user again. A host with a [`Directory`] of its own calls this whenever one of its users is
    /// switched off or deleted.
    pub fn invalidate_user(&self, id: UserId) {
        self.0.freshness.invalidate(Kind::User, id.untyped());
    }

    /// Invalidates the cached status of the org, as [`Engine::invalidate_user`] does.
    pub fn invalidate_org(&self, id: OrgId) {
        self.0.freshness.invalidate(Kind::Org, id.untyped());
    }

    /// Returns the id of the org's bucket with the name, compared byte by byte. It is cached, so a
    /// server can call this for every request. During an outage, cached names are valid as long as
    /// cached logins ([`CacheConfig::stale_if_error`](crate::CacheConfig::stale_if_error)).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) and
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal).
    pub async fn bucket_id(&self, org: OrgId, name: &str) -> Result<Option<BucketId>, Error> {
        if let Some(cached) = self.0.cache.bucket(org, name, self.moment()) {
            return Ok(Some(cached));
        }
        let read = self.before_read();
        let stale = || self.stale_bucket(org, name);
        let limit = ReadLimit::with_fallback(stale().is_some());
        let found = self.read_within(limit, self.0.directory.bucket_by_name(org, name)).await;
        let found = match found {
            Ok(found) => found.filter(|bucket| bucket.org == org).map(|bucket| bucket.id),
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                return stale().map(Some).ok_or(error);
            }
            Err(error) => return Err(error),
        };
        match found {
            Some(id) => self.0.cache.insert_bucket(org, name, id, read),
            // The bucket may have been renamed without an event, so its cached name must go.
            None if stale().is_some() => self.invalidate_buckets(),
            None => {}
        }
        Ok(found)
    }

    /// Invalidates the cached names of all buckets. A host with a [`Directory`] of its own calls this
    /// whenever one of its buckets is renamed or deleted.
    pub fn invalidate_buckets(&self) {
        self.0.freshness.invalidate(Kind::Bucket, Id::from_u64(0));
    }

    /// Passes the engine's own counters to the recorder of the `metrics` crate. Call it before the
    /// metrics are shown.
    ///
    /// The recorder must have been installed before the engine was built.
    pub fn publish_metrics(&self) {
        let lag = self.change_feed_lag();
        self.0.metrics.publish(&Gauges {
            hashes: self.0.hashes.computations(),
            hash_queue_length: self.0.hashes.waiting(),
            cache_bytes: self.0.cache.bytes(),
            change_feed_lag: lag.map_or(f64::INFINITY, |lag| lag.as_secs_f64()),
            trust_state: self.trust_state(),
            expiring: self.expiry_counts().map(|counts| counts.by_kind()),
            last_uses_pending: self.0.last_uses.as_ref().map_or(0, |uses| uses.pending()),
        });
    }

    /// Returns the addresses from which usernames have logged in, to save for the next start
    /// ([`EngineBuilder::login_history`]).
    pub fn login_history(&self) -> LoginHistory {
        self.0.familiar.history(self.0.clock.now())
    }

    /// Returns a number that changes when [`Engine::login_history`] should be saved again: when a
    /// username logs in from an address for the first time, and at most twice a day after that.
    pub fn login_history_version(&self) -> u64 {
        self.0.familiar.changes()
    }

    /// Returns the store. This engine invalidates its cache for commits made through it.
    pub fn store(&self) -> &dyn Store {
        self.0.store.as_ref()
    }

    /// Returns the directory of users, orgs and buckets.
    pub fn directory(&self) -> &dyn Directory {
        self.0.directory.as_ref()
    }

    /// Returns the threads that hash passwords.
    pub fn hash_pool(&self) -> &HashPool {
        &self.0.hashes
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("store", &self.0.store)
            .field("directory", &self.0.directory)
            .finish_non_exhaustive()
    }
}
