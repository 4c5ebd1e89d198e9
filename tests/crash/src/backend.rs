//! The stores under test, and opening them. A new store is added here.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use portcullis::store::MaintenanceStore;
use portcullis_redb::RedbStore;
use portcullis_sled::SledStore;
use portcullis_sqlite::SqliteStore;

use crate::disk::Damage;
use crate::ledger::Loss;

/// A kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Backend {
    Redb,
    Sled,
    Sqlite,
}

impl Backend {
    /// Whether this is a known loss of the store after a power cut. It is counted and reported, and
    /// does not fail the test.
    pub(crate) fn known_under_cuts(self, damage: Damage, loss: Loss) -> bool {
        match self {
            // redb presumes that a byte is written or not: the zeros in half of a sector are neither.
            Self::Redb => damage == Damage::Sectors && loss == Loss::DoesNotOpen,
            // A database whose creation was interrupted has to be removed by hand. sled may write parts of a
            // batch before its sync; nothing of it was acknowledged.
            Self::Sled => matches!(loss, Loss::NewDoesNotOpen | Loss::HalfBatch),
            Self::Sqlite => false,
        }
    }

    /// Whether a power cut after a sync that failed loses nothing that was acknowledged.
    pub(crate) fn survives_failed_syncs(self) -> bool {
        match self {
            Self::Redb | Self::Sled => false,
            Self::Sqlite => true,
        }
    }

    /// Whether this is a known loss of the store after failing calls. It is counted and reported, and
    /// does not fail the test.
    pub(crate) fn known_under_faults(self, loss: Loss) -> bool {
        match self {
            // sled recovers from a failed write or sync only by being opened again, and a database
            // whose creation failed half way has to be removed by hand.
            Self::Sled => matches!(loss, Loss::Misbehaved | Loss::NewDoesNotOpen),
            Self::Redb | Self::Sqlite => false,
        }
    }

    /// The store of the kind in the directory, which holds nothing else.
    pub(crate) fn inside(self, directory: &Path) -> StoreUrl {
        match self {
            Self::Redb => StoreUrl { backend: self, path: directory.join("store.redb") },
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
    pub(crate) fn open(&self) -> anyhow::Result<Arc<dyn MaintenanceStore>> {
        Ok(match self.backend {
            Backend::Redb => Arc::new(RedbStore::open(&self.path)?),
            Backend::Sled => Arc::new(SledStore::open(&self.path)?),
            Backend::Sqlite => Arc::new(SqliteStore::open(&self.path)?),
        })
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redb => "redb",
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
            "redb" => Backend::Redb,
            "sled" => Backend::Sled,
            "sqlite" => Backend::Sqlite,
            _ => bail!("there is no store on {scheme}"),
        };
        Ok(Self { backend, path: path.into() })
    }
}
