//! The engine: every operation of the product, over any store.

mod authenticate;
mod authorizations;
mod builder;
mod describe;
mod list;
mod on_behalf_of;
mod records;
mod set_up;
mod snapshot;
mod tenants;
mod tokens;

use std::fmt;
use std::sync::Arc;

pub use builder::{BuildError, EngineBuilder};
pub use describe::{Described, ResourceNames};
pub use list::Listing;
pub use on_behalf_of::OnBehalfOf;
pub use set_up::{SetUp, SetUpDone};
pub use snapshot::{ExportError, ImportError};
pub use tokens::NewApiToken;

use crate::password::{HashPool, PasswordPolicy};
use crate::store::{Kind, Lookup, Store};
use crate::{Clock, Directory, Error, Id, Principal, Random};

/// Answers "who is this?" and "may they?", and manages what the answers depend on.
///
/// Cheap to clone; all clones are the same engine. Its own methods are trusted: they are for the
/// embedding program and check no caller. [`Engine::on_behalf_of`] has the same operations with a
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
}

impl Engine {
    /// Begins an engine over the store.
    pub fn builder(store: impl Store) -> EngineBuilder {
        EngineBuilder::new(Arc::new(store))
    }

    /// Begins an engine over a store that is shared or known only at run time.
    pub fn builder_on(store: Arc<dyn Store>) -> EngineBuilder {
        EngineBuilder::new(store)
    }

    /// Returns the same operations with the caller's permissions enforced.
    pub fn on_behalf_of<'a>(&'a self, caller: &'a Principal) -> OnBehalfOf<'a> {
        OnBehalfOf::new(self, caller)
    }

    /// Reads from the store, to know whether it answers.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) and
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) when it does not.
    pub async fn ready(&self) -> Result<(), Error> {
        let any = Lookup::Id(Kind::Org, Id::from_u64(1));
        self.0.store.get(any).await.map(drop).map_err(Error::from)
    }

    /// Returns the store.
    pub fn store(&self) -> &dyn Store {
        self.0.store.as_ref()
    }

    /// Returns where users, orgs and buckets are looked up.
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
