//! Which store is tortured, and opening it. A store that is added is added here.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use portcullis::store::Maintain;
use portcullis_sled::SledStore;
use portcullis_sqlite::SqliteStore;

use crate::disk::Model;
use crate::ledger::Loss;

/// A kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Backend {
    Sled,
    Sqlite,
}

impl Backend {
    /// Whether a power cut on such a file system loses nothing.
    pub(crate) fn promises(self, model: Model) -> bool {
        match (self, model) {
            (Self::Sled, _) => false,
            (Self::Sqlite, Model::Posix | Model::Journal | Model::Lenient) => true,
        }
    }

    /// Whether it is known that failing calls do this to the store. It is counted and told, and
    /// is no failure of the test.
    pub(crate) fn known_under_faults(self, loss: Loss) -> bool {
        match self {
            // sled has no way out of a failed write or sync but to be opened anew, and a database
            // whose creation failed half way is to be removed by hand.
            Self::Sled => matches!(loss, Loss::Misbehaved | Loss::NewDoesNotOpen),
            Self::Sqlite => false,
        }
    }

    /// The store of the kind in the directory, which holds nothing else.
    pub(crate) fn inside(self, directory: &Path) -> StoreUrl {
        match self {
            Self::Sled => StoreUrl { backend: self, path: directory.join("store.sled") },
            Self::Sqlite => StoreUrl { backend: self, path: directory.join("store.db") },
        }
    }
}

/// A store at a path, written as for `--store` of the server: `sqlite:PATH`.
#[derive(Clone, Debug)]
pub(crate) struct StoreUrl {
    backend: Backend,
    path: PathBuf,
}

impl StoreUrl {
    /// Opens the store, and creates it if there is none. This blocks.
    pub(crate) fn open(&self) -> anyhow::Result<Arc<dyn Maintain>> {
        Ok(match self.backend {
            Backend::Sled => Arc::new(SledStore::open(&self.path)?),
            Backend::Sqlite => Arc::new(SqliteStore::open(&self.path)?),
        })
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sled => "sled",
            Self::Sqlite => "sqlite",
        })
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.backend, self.path.display())
    }
}

impl FromStr for StoreUrl {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (scheme, path) = text.split_once(':').context("a store is written SCHEME:PATH")?;
        let backend = match scheme {
            "sled" => Backend::Sled,
            "sqlite" => Backend::Sqlite,
            _ => bail!("there is no store on {scheme}"),
        };
        Ok(Self { backend, path: path.into() })
    }
}
