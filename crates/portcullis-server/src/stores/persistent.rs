//! Stores that outlive this process: in files on this machine, or in a PostgreSQL database.

use std::fmt;
use std::sync::Arc;

use anyhow::bail;
use portcullis::store::MaintenanceStore;

use super::file::FileStore;
use super::lifecycle::OpenMode;
use super::postgres::{PostgresLocation, SCHEMA};
use crate::runtime::block_on;

/// A store that outlives this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PersistentStore {
    /// In files on this machine.
    File(FileStore),
    /// In a PostgreSQL database.
    Postgres(PostgresLocation),
}

impl fmt::Display for PersistentStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(store) => store.fmt(f),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

impl PersistentStore {
    /// Opens the store. This blocks, and must not be called in a runtime.
    pub(crate) fn open(&self, mode: OpenMode) -> anyhow::Result<Arc<dyn MaintenanceStore>> {
        match self {
            Self::File(store) => store.open(mode),
            Self::Postgres(url) => block_on(url.open(mode)),
        }
    }

    /// Opens the store for reading, also if it cannot be written, such as a backup. This blocks, and must
    /// not be called in a runtime.
    pub(crate) fn open_to_read(&self) -> anyhow::Result<Arc<dyn MaintenanceStore>> {
        match self {
            Self::File(store) => store.open_to_read(),
            Self::Postgres(url) => block_on(url.open(OpenMode::MustExist)),
        }
    }

    /// Returns whether there is no store. This blocks, and must not be called in a runtime.
    pub(crate) fn is_absent(&self) -> anyhow::Result<bool> {
        match self {
            Self::File(store) => Ok(store.is_absent()?),
            Self::Postgres(url) => block_on(url.is_absent()),
        }
    }

    /// Creates a store that appears when it is complete. No error leaves an incomplete store, and no
    /// other process can open one. `fill` gets the store under its temporary name, and must close it.
    pub(crate) fn create_whole<T>(
        &self,
        fill: impl FnOnce(&Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        match self {
            Self::File(store) => {
                store.create_whole(|unfinished| fill(&Self::File(unfinished.clone())))
            }
            Self::Postgres(url) => {
                url.create_whole(|unfinished| fill(&Self::Postgres(unfinished.clone())))
            }
        }
    }

    /// Returns the store in files.
    ///
    /// # Errors
    ///
    /// For a store in PostgreSQL, which makes its backups itself.
    pub(crate) fn as_file(&self) -> anyhow::Result<&FileStore> {
        match self {
            Self::File(store) => Ok(store),
            Self::Postgres(_) => bail!(
                "PostgreSQL makes backups itself: use `pg_dump --schema={SCHEMA}` and \
                 `pg_restore`, or its continuous archiving"
            ),
        }
    }
}
