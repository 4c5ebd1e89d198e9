//! Stores that stay when this process ends: on this machine, or on a server.

use std::fmt;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use portcullis::store::Maintain;
use portcullis_postgres::{OpenError, PostgresOptions, PostgresStore};

use crate::local_store::{IfMissing, LocalStore};
use crate::session::run;

/// A store that outlives this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LastingStore {
    /// On this machine.
    Local(LocalStore),
    /// In a PostgreSQL database.
    Postgres(PostgresUrl),
}

/// The address of a database. It may hold a password, and is not shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PostgresUrl {
    url: String,
    schema: &'static str,
}

/// Where a store is, and where one is while it is being made.
const SCHEMA: &str = "portcullis";
const UNFINISHED: &str = "portcullis_unfinished";

impl fmt::Display for LastingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(store) => store.fmt(f),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

impl LastingStore {
    /// Opens it. This blocks, and must not be called in a runtime.
    pub(crate) fn open(&self, if_missing: IfMissing) -> anyhow::Result<Arc<dyn Maintain>> {
        match self {
            Self::Local(store) => store.open(if_missing),
            Self::Postgres(url) => run(url.open(if_missing)),
        }
    }

    /// Opens it to read, also where it cannot be written, such as a backup. This blocks, and must not
    /// be called in a runtime.
    pub(crate) fn open_to_read(&self) -> anyhow::Result<Arc<dyn Maintain>> {
        match self {
            Self::Local(store) => store.open_to_read(),
            Self::Postgres(url) => run(url.open(IfMissing::Fail)),
        }
    }

    /// Tells whether there is nothing. This blocks, and must not be called in a runtime.
    pub(crate) fn is_absent(&self) -> anyhow::Result<bool> {
        match self {
            Self::Local(store) => Ok(store.is_absent()?),
            Self::Postgres(url) => run(url.is_absent()),
        }
    }

    /// Makes a store that appears only when everything is in it: whatever goes wrong leaves none
    /// behind, and nobody, a server for instance, can find it half done. `fill` is given where it
    /// is being made; it must close it.
    pub(crate) fn make<T>(
        &self,
        fill: impl FnOnce(&Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        match self {
            Self::Local(store) => store.make(|unfinished| fill(&Self::Local(unfinished.clone()))),
            Self::Postgres(url) => url.make(fill),
        }
    }

    /// Returns it, if it is one of files, for what is done with files.
    pub(crate) fn local(&self) -> anyhow::Result<&LocalStore> {
        match self {
            Self::Local(store) => Ok(store),
            Self::Postgres(_) => bail!(
                "PostgreSQL makes backups itself: use `pg_dump --schema={SCHEMA}` and \
                 `pg_restore`, or its continuous archiving"
            ),
        }
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Hosts and database, without who asks.
impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match PostgresStore::display_url(&self.url) {
            Some(place) => f.write_str(&place),
            None => f.write_str("postgres://?"),
        }
    }
}

impl PostgresUrl {
    pub(crate) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), schema: SCHEMA }
    }

    fn options(&self) -> PostgresOptions {
        PostgresStore::options().schema(self.schema)
    }

    /// Opens it.
    pub(crate) async fn open(&self, if_missing: IfMissing) -> anyhow::Result<Arc<dyn Maintain>> {
        let create = if_missing == IfMissing::Create;
        match self.options().create(create).open(&self.url).await {
            Ok(store) => Ok(Arc::new(store)),
            Err(OpenError::Missing { place }) => Err(anyhow!(
                "there is no store in {place}: check --store, or create one with `portcullis setup`"
            )),
            Err(error) => Err(error.into()),
        }
    }

    async fn is_absent(&self) -> anyhow::Result<bool> {
        match self.options().create(false).open(&self.url).await {
            Ok(store) => {
                crate::session::close(&store).await;
                Ok(false)
            }
            Err(OpenError::Missing { .. }) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    fn make<T>(&self, fill: impl FnOnce(&LastingStore) -> anyhow::Result<T>) -> anyhow::Result<T> {
        if !run(self.is_absent())? {
            bail!("there is a store in {self} already: choose another database");
        }
        let unfinished = Self { url: self.url.clone(), schema: UNFINISHED };
        if !run(unfinished.is_absent())? {
            bail!(
                "there is a schema `{UNFINISHED}` in {self}: somebody else is making a store there, \
                 or could not finish it. If nobody is, delete it with `DROP SCHEMA {UNFINISHED} \
                 CASCADE`"
            );
        }
        let made = fill(&LastingStore::Postgres(unfinished.clone())).and_then(|filled| {
            let rename = async { Ok(unfinished.options().rename(&self.url, self.schema).await?) };
            run(rename).context("could not complete the new store")?;
            Ok(filled)
        });
        if made.is_err()
            && let Err(error) = run(async { Ok(unfinished.options().remove(&self.url).await?) })
        {
            tracing::warn!("the schema `{UNFINISHED}` is left behind: {error:#}");
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_shown_of_an_address_than_where_it_is() {
        for url in [
            "postgres://ada:s3cret@db1:5432,db2:5433/portcullis?sslmode=disable",
            "postgres://db1:5432,db2:5433/portcullis",
        ] {
            let url = PostgresUrl::new(url);
            assert_eq!(url.to_string(), "postgres://db1:5432,db2:5433/portcullis");
            assert!(!format!("{url:?}").contains("s3cret"));
        }
        let url = PostgresUrl::new("postgres://ada:s3?cret@db/x");
        assert_eq!(format!("{url} {url:?}"), "postgres://? postgres://?");
    }
}
