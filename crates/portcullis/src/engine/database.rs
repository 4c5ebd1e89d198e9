//! Which bucket a database and a retention policy of a v1 client lead to.

use std::borrow::Cow;

use super::Engine;
use super::login::ReadLimit;
use crate::store::StoreExt;
use crate::{DatabaseBucket, DatabaseMappings, Error, ErrorKind, OrgId};

impl Engine {
    /// Finds the bucket of the retention policy, or of the database alone: by its DBRP mapping, or else
    /// by its name, `DB/RP` or `DB`. Names are compared byte by byte.
    ///
    /// The result is cached, so a server can call this for every request. With a
    /// [`Directory`](crate::Directory) of the host, [`DatabaseBucket::None`] and
    /// [`DatabaseBucket::Dangling`] are not cached. During an outage, cached results are valid as long as
    /// cached logins ([`CacheConfig::stale_if_error`](crate::CacheConfig::stale_if_error)).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn database_bucket(
        &self,
        org: OrgId,
        database: &str,
        retention_policy: Option<&str>,
    ) -> Result<DatabaseBucket, Error> {
        if let Some(cached) = self.0.cache.database(org, database, retention_policy, self.moment())
        {
            return Ok(cached);
        }
        let read = self.before_read();
        let stale = || self.stale_database(org, database, retention_policy);
        let limit = ReadLimit::with_fallback(stale().is_some());
        let found = self.find_database(org, database, retention_policy);
        let found = match self.read_within(limit, found).await {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                return stale().ok_or(error);
            }
            Err(error) => return Err(error),
        };
        // A host does not report its new buckets.
        if found.bucket().is_some() || self.0.owns_directory {
            self.0.cache.insert_database(org, database, retention_policy, found, read);
        }
        Ok(found)
    }

    async fn find_database(
        &self,
        org: OrgId,
        database: &str,
        retention_policy: Option<&str>,
    ) -> Result<DatabaseBucket, Error> {
        let mappings = self.database_mappings(org, database).await?;
        if let Some(id) = mappings.and_then(|mappings| mappings.bucket(retention_policy)) {
            let bucket = self.0.directory.bucket(id).await?;
            return Ok(match bucket.filter(|bucket| bucket.org == org) {
                Some(_) => DatabaseBucket::Mapped(id),
                None => DatabaseBucket::Dangling,
            });
        }
        let name = match retention_policy {
            Some(policy) => Cow::Owned(format!("{database}/{policy}")),
            None => Cow::Borrowed(database),
        };
        let bucket = self.0.directory.bucket_by_name(org, &name).await?;
        let id = bucket.filter(|bucket| bucket.org == org).map(|bucket| bucket.id);
        Ok(id.map_or(DatabaseBucket::None, DatabaseBucket::Named))
    }

    /// Reads the DBRP mappings of the database that are not virtual.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn database_mappings(
        &self,
        org: OrgId,
        database: &str,
    ) -> Result<Option<DatabaseMappings>, Error> {
        let key = DatabaseMappings::key_of(org, database);
        Ok(self.0.store.find_by_key(&key).await?.map(|(mappings, _)| mappings))
    }

    /// Returns the cached result that is usable while the store does not respond.
    fn stale_database(
        &self,
        org: OrgId,
        database: &str,
        retention_policy: Option<&str>,
    ) -> Option<DatabaseBucket> {
        let is_allowed = self.0.owns_directory && self.0.freshness.allows_stale();
        let now = || self.moment();
        is_allowed
            .then(|| self.0.cache.database_if_error(org, database, retention_policy, now()))
            .flatten()
    }
}
