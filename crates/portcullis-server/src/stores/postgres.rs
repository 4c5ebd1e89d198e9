//! Stores in a PostgreSQL database: opening them, and creating new ones.

use std::fmt;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use portcullis::store::MaintenanceStore;
use portcullis_postgres::{OpenError, PostgresOptions, PostgresStore};

use super::lifecycle::{OpenMode, close};
use crate::runtime::block_on;

/// A schema in a database. The URL may hold a password, and is not shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PostgresLocation {
    url: String,
    schema: &'static str,
}

/// The schema of a store, and the one of a store that is being created.
pub(super) const SCHEMA: &str = "portcullis";
const UNFINISHED: &str = "portcullis_unfinished";

impl fmt::Debug for PostgresLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Hosts and database, without user and password.
impl fmt::Display for PostgresLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match PostgresStore::redact_url(&self.url) {
            Some(url) => f.write_str(&url),
            None => f.write_str("postgres://?"),
        }
    }
}

impl PostgresLocation {
    pub(crate) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), schema: SCHEMA }
    }

    fn options(&self) -> PostgresOptions {
        PostgresStore::options().schema(self.schema)
    }

    /// Opens the store.
    pub(crate) async fn open(&self, mode: OpenMode) -> anyhow::Result<Arc<dyn MaintenanceStore>> {
        let create = mode == OpenMode::Create;
        match self.options().create(create).open(&self.url).await {
            Ok(store) => Ok(Arc::new(store)),
            Err(OpenError::Missing { location }) => Err(anyhow!(
                "there is no store in {location}: check --store, or create one with `portcullis setup`"
            )),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn is_absent(&self) -> anyhow::Result<bool> {
        match self.options().create(false).open(&self.url).await {
            Ok(store) => {
                close(&store).await;
                Ok(false)
            }
            Err(OpenError::Missing { .. }) => Ok(true),
            Err(OpenError::Older { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn create_whole<T>(
        &self,
        fill: impl FnOnce(&Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        if !block_on(self.is_absent())? {
            bail!("there is a store in {self} already: choose another database");
        }
        let unfinished = Self { url: self.url.clone(), schema: UNFINISHED };
        if !block_on(unfinished.is_absent())? {
            bail!(
                "there is a schema `{UNFINISHED}` in {self}: another process is creating a store \
                 there, or did not finish. In that case, delete it with `DROP SCHEMA {UNFINISHED} \
                 CASCADE`"
            );
        }
        let made = fill(&unfinished).and_then(|filled| {
            let rename = async { Ok(unfinished.options().rename(&self.url, self.schema).await?) };
            block_on(rename).context("could not complete the new store")?;
            Ok(filled)
        });
        if made.is_err()
            && let Err(error) =
                block_on(async { Ok(unfinished.options().remove(&self.url).await?) })
        {
            tracing::warn!("the schema `{UNFINISHED}` could not be removed: {error:#}");
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_and_database_of_a_url_are_shown() {
        for url in [
            "postgres://ada:s3cret@db1:5432,db2:5433/portcullis?sslmode=disable",
            "postgres://db1:5432,db2:5433/portcullis",
        ] {
            let url = PostgresLocation::new(url);
            assert_eq!(url.to_string(), "postgres://db1:5432,db2:5433/portcullis");
            assert!(!format!("{url:?}").contains("s3cret"));
        }
        let url = PostgresLocation::new("postgres://ada:s3?cret@db/x");
        assert_eq!(format!("{url} {url:?}"), "postgres://? postgres://?");
    }
}
