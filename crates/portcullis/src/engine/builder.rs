//! The settings of an engine, and its start.

use std::hash::RandomState;
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::Semaphore;

use super::expiry::Expiry;
use super::last_use::{Flusher, LastUseConfig, LastUses};
use super::login::{Rehashing, ReportedOnce, THROTTLED_READS};
use super::{Engine, Inner};
use crate::cache::{
    CacheConfig, CommitHealth, Follower, Freshness, InvalidatingStore, Keys, LoginCache,
    StateObserver,
};
use crate::config::InvalidConfig;
use crate::directory::{HostDirectory, StoreDirectory};
use crate::login_history::FamiliarSources;
use crate::metrics::Metrics;
use crate::password::{
    HashError, HashParams, HashPool, HashPoolConfig, PasswordPolicy, SharedVerifications,
};
use crate::store::Store;
use crate::throttle::{Throttle, ThrottleConfig};
use crate::{
    AuditSink, Clock, Directory, Error, LoginHistory, Random, RandomUnavailable, SystemClock,
    SystemRandom,
};

/// Settings of an [`Engine`]; every one has a default.
#[derive(Debug)]
pub struct EngineBuilder {
    store: Arc<dyn Store>,
    directory: Option<Arc<dyn Directory>>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    policy: PasswordPolicy,
    hashing: HashPoolConfig,
    cache: CacheConfig,
    throttle: Option<ThrottleConfig>,
    rehash_on_login: bool,
    end_previous_on_use: bool,
    read_only: bool,
    audit: Option<Arc<dyn AuditSink>>,
    login_history: Option<LoginHistory>,
    last_use: Option<LastUseConfig>,
}

impl EngineBuilder {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            directory: None,
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            policy: PasswordPolicy::default(),
            hashing: HashPoolConfig::default(),
            cache: CacheConfig::default(),
            throttle: Some(ThrottleConfig::default()),
            rehash_on_login: true,
            end_previous_on_use: true,
            read_only: false,
            audit: None,
            login_history: None,
            last_use: Some(LastUseConfig::default()),
        }
    }

    /// Sets the directory of users, orgs and buckets. Default: they are records of the store.
    #[must_use]
    pub fn directory(self, directory: impl Directory) -> Self {
        Self { directory: Some(Arc::new(HostDirectory(directory))), ..self }
    }

    /// Sets the rules for passwords. Default: [`PasswordPolicy::default`], 8 to 72 bytes.
    #[must_use]
    pub fn password_policy(self, policy: PasswordPolicy) -> Self {
        Self { policy, ..self }
    }

    /// Sets the cost of a new password hash. Default: [`HashParams::default`].
    #[must_use]
    pub fn hash_params(self, params: HashParams) -> Self {
        Self { hashing: self.hashing.params(params), ..self }
    }

    /// Sets the threads and the queue of password hashing. Default: [`HashPoolConfig::default`].
    /// Replaces [`EngineBuilder::hash_params`].
    #[must_use]
    pub fn hashing(self, hashing: HashPoolConfig) -> Self {
        Self { hashing, ..self }
    }

    /// Sets how much memory the cache of logins takes, and how long an entry is valid. Default:
    /// [`CacheConfig::default`].
    #[must_use]
    pub fn cache(self, cache: CacheConfig) -> Self {
        Self { cache, ..self }
    }

    /// Sets how logins that fail are slowed down. Default: [`ThrottleConfig::default`].
    #[must_use]
    pub fn throttle(self, throttle: ThrottleConfig) -> Self {
        Self { throttle: Some(throttle), ..self }
    }

    /// Slows no login down: for programs in front of which something else does.
    #[must_use]
    pub fn no_throttle(self) -> Self {
        Self { throttle: None, ..self }
    }

    /// Sets whether a login replaces a hash that is weaker than a new one, such as bcrypt. Default:
    /// yes. Choose no to keep the records usable by a server that supports only bcrypt.
    #[must_use]
    pub fn rehash_on_login(self, rehash_on_login: bool) -> Self {
        Self { rehash_on_login, ..self }
    }

    /// Sets whether the first login with the new password of a rotation ends the previous one, where the
    /// rotation says so ([`KeepPrevious::until_new_is_used`](crate::KeepPrevious::until_new_is_used)).
    /// Default: yes. Choose no in a program whose logins only check passwords.
    #[must_use]
    pub fn end_previous_on_use(self, end_previous_on_use: bool) -> Self {
        Self { end_previous_on_use, ..self }
    }

    /// Sets whether every change is refused, with
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) and the message `read-only: nothing
    /// can be changed here now`: for the time while the store is copied to another one. Logins work,
    /// no weak hash is replaced, and no last use recorded. Default: no.
    #[must_use]
    pub fn read_only(self, read_only: bool) -> Self {
        Self { read_only, ..self }
    }

    /// Sets the login history, which an earlier engine has returned as [`Engine::login_history`]. A
    /// login from an address from which its username has logged in before has priority, and is not
    /// throttled for failures from other addresses. Default: empty.
    #[must_use]
    pub fn login_history(self, history: LoginHistory) -> Self {
        Self { login_history: Some(history), ..self }
    }

    /// Sets how the last use of each credential is recorded. Default: [`LastUseConfig::default`], once
    /// an hour.
    #[must_use]
    pub fn last_use(self, last_use: LastUseConfig) -> Self {
        Self { last_use: Some(last_use), ..self }
    }

    /// Records no last uses. Those that are stored stay as they are.
    #[must_use]
    pub fn no_last_use(self) -> Self {
        Self { last_use: None, ..self }
    }

    /// Sets the sink of audit events. Default: none.
    #[must_use]
    pub fn audit(self, sink: impl AuditSink) -> Self {
        Self { audit: Some(Arc::new(sink)), ..self }
    }

    /// Sets the source of time. Default: this machine's clock.
    #[must_use]
    pub fn clock(self, clock: impl Clock) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }

    /// Sets the source of random bytes; a weak one is dangerous, see [`Random`]. Default: the operating
    /// system.
    #[must_use]
    pub fn random(self, random: impl Random) -> Self {
        Self { random: Arc::new(random), ..self }
    }

    /// Starts the engine: its hashing threads, and tasks that follow the store's change feed and write
    /// the last uses of credentials. Finishes
    /// interrupted deletions of users and orgs. It must be called on a tokio runtime with its time
    /// driver enabled, on which the task runs.
    ///
    /// # Errors
    ///
    /// [`BuildError::Config`] for a setting that is out of bounds, [`BuildError::Hashing`] when the
    /// operating system starts no thread, [`BuildError::Random`] when there is no randomness,
    /// [`BuildError::Store`] when the store cannot be read.
    pub async fn build(self) -> Result<Engine, BuildError> {
        self.policy.validate()?;
        self.cache.validate()?;
        self.last_use.as_ref().map_or(Ok(()), LastUseConfig::validate)?;
        let hashes = HashPool::start(self.hashing, Arc::clone(&self.random))?;
        let began = self.clock.instant();
        let throttle = self.throttle.map(|config| Throttle::new(&config, began)).transpose()?;
        let throttle = throttle.map(Arc::new);
        let familiar = FamiliarSources::new(self.login_history, self.random.as_ref())?;
        let metrics = Metrics::new();
        let freshness = Arc::new(Freshness::new(&self.cache, began));
        let commit_health = Arc::new(CommitHealth::default());
        let owns_directory = self.directory.is_none();
        // On the store itself: no entry depends on what it writes, and its failures do not count as
        // those of changes.
        let last_uses = self.last_use.filter(|_| !self.read_only).map(|config| {
            let (store, random) = (Arc::clone(&self.store), Arc::clone(&self.random));
            Arc::new(LastUses::new(config, store, random, metrics.uses.clone()))
        });
        let store: Arc<dyn Store> = Arc::new(
            InvalidatingStore::new(
                self.store,
                Arc::clone(&freshness),
                Arc::clone(&commit_health),
                metrics.store.clone(),
            )
            .read_only(self.read_only),
        );
        let engine = Engine(Arc::new(Inner {
            directory: self
                .directory
                .unwrap_or_else(|| Arc::new(StoreDirectory::new(Arc::clone(&store)))),
            owns_directory,
            verifications: SharedVerifications::default(),
            ends_previous_on_use: self.end_previous_on_use && !self.read_only,
            rehashing: (self.rehash_on_login && !self.read_only).then(Rehashing::default),
            keys: Keys::generate(self.random.as_ref())?,
            cache: LoginCache::new(&self.cache, Arc::clone(&freshness)),
            throttle,
            familiar,
            flows: RandomState::new(),
            throttled_reads: Semaphore::new(THROTTLED_READS),
            audit: self.audit,
            reported: ReportedOnce::default(),
            expiry: Expiry::default(),
            metrics,
            _flusher: last_uses.as_ref().map(Flusher::start),
            last_uses,
            _observer: StateObserver::start(Arc::clone(&freshness), Arc::clone(&self.clock)),
            _follower: Follower::start(&store, Arc::clone(&freshness)).await,
            freshness,
            commit_health,
            store,
            clock: self.clock,
            random: self.random,
            policy: self.policy,
            hashes,
        }));
        if !self.read_only {
            engine.finish_deletions().await.map_err(BuildError::Store)?;
        }
        Ok(engine)
    }
}

/// Why an engine could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A setting of the [`CacheConfig`], [`HashPoolConfig`], [`LastUseConfig`], [`PasswordPolicy`] or
    /// [`ThrottleConfig`] is out of bounds.
    #[error("a setting of the engine is out of bounds")]
    Config(#[from] InvalidConfig),
    /// The hashing threads could not be started.
    #[error("could not start hashing passwords")]
    Hashing(#[source] HashError),
    /// The source of random bytes failed.
    #[error("there are no random bytes")]
    Random(#[from] RandomUnavailable),
    /// The store could not be read.
    #[error("could not read the store")]
    Store(#[source] Error),
}

impl From<HashError> for BuildError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Config(error) => Self::Config(error),
            error @ HashError::Thread(_) => Self::Hashing(error),
        }
    }
}
