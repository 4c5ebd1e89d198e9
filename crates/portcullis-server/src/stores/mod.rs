//! The stores that `--store` names: their URLs, opening them, and creating new ones.

mod copy;
mod file;
mod lifecycle;
mod persistent;
mod postgres;
mod url;

use std::sync::Arc;

use anyhow::Context as _;
use portcullis::store::{MemoryStore, Store};

pub(crate) use copy::{Contents, copy};
pub(crate) use lifecycle::{OpenMode, close};
pub(crate) use persistent::PersistentStore;
pub(crate) use url::StoreUrl;

/// Creates a store in the memory of this process.
pub(crate) fn in_memory() -> anyhow::Result<Arc<dyn Store>> {
    Ok(Arc::new(MemoryStore::new().context("could not create a store in memory")?))
}
