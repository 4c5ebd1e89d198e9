//! How an engine is put together.

use std::sync::Arc;

use thiserror::Error;

use super::{Engine, Inner};
use crate::directory::{HostDirectory, StoreDirectory};
use crate::password::{HashError, HashParams, HashPool, HashPoolConfig, PasswordPolicy};
use crate::store::Store;
use crate::{Clock, Directory, Error, Random, SystemClock, SystemRandom};

/// Settings of an [`Engine`]; every one has a default.
#[derive(Debug)]
pub struct EngineBuilder {
    store: Arc<dyn Store>,
    directory: Option<Arc<dyn Directory>>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    policy: PasswordPolicy,
    hashing: HashPoolConfig,
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
        }
    }

    /// Looks up users, orgs and buckets here. Default: they are records of the store.
    #[must_use]
    pub fn directory(self, directory: impl Directory) -> Self {
        Self { directory: Some(Arc::new(HostDirectory(directory))), ..self }
    }

    /// Sets the rules for passwords. Default: [`PasswordPolicy::default`], 8 to 72 bytes.
    #[must_use]
    pub fn password_policy(self, policy: PasswordPolicy) -> Self {
        Self { policy, ..self }
    }

    /// Sets what a new password hash costs. Default: [`HashParams::default`].
    #[must_use]
    pub fn hash_params(self, params: HashParams) -> Self {
        Self { hashing: HashPoolConfig { params, ..self.hashing }, ..self }
    }

    /// Sets by how many threads and with how long a queue passwords are hashed. Default:
    /// [`HashPoolConfig::default`]. Replaces [`EngineBuilder::hash_params`].
    #[must_use]
    pub fn hashing(self, hashing: HashPoolConfig) -> Self {
        Self { hashing, ..self }
    }

    /// Reads the time here. Default: this machine's clock.
    #[must_use]
    pub fn clock(self, clock: impl Clock) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }

    /// Gets random bytes here; see [`Random`] for how to do harm with it. Default: the operating
    /// system.
    #[must_use]
    pub fn random(self, random: impl Random) -> Self {
        Self { random: Arc::new(random), ..self }
    }

    /// Starts the engine: its hashing threads, and what an earlier one left half done (the
    /// deletion of a user's or an org's credentials).
    ///
    /// # Errors
    ///
    /// [`BuildError::Hashing`] for settings that are out of bounds, [`BuildError::Store`] when the
    /// store cannot be read.
    pub async fn build(self) -> Result<Engine, BuildError> {
        let hashes = HashPool::start(self.hashing, Arc::clone(&self.random))?;
        let owns_directory = self.directory.is_none();
        let engine = Engine(Arc::new(Inner {
            directory: self
                .directory
                .unwrap_or_else(|| Arc::new(StoreDirectory::new(Arc::clone(&self.store)))),
            owns_directory,
            store: self.store,
            clock: self.clock,
            random: self.random,
            policy: self.policy,
            hashes,
        }));
        engine.finish_deletions().await.map_err(BuildError::Store)?;
        Ok(engine)
    }
}

/// Says why an engine could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The hashing threads could not be started.
    #[error("could not start hashing passwords")]
    Hashing(#[from] HashError),
    /// The store could not be read.
    #[error("could not read the store")]
    Store(#[source] Error),
}
