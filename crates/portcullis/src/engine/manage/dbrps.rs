//! Managing DBRP mappings, and what they follow from: the names of buckets.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use futures_util::StreamExt;

use super::Versioned;
use super::access::Access;
use crate::directory::log_corrupt;
use crate::engine::Engine;
use crate::store::{
    Batch, Duplicate, Entity, Expect, Index, Kind, MODIFY_TRIES, Operation, Revision, StoreError,
    StoreExt, modify_versioned, put,
};
use crate::{
    AuditAction, AuditRecord, Bucket, BucketId, DatabaseMappings, DbrpFilter, DbrpId, DbrpMapping,
    DbrpName, DbrpUpdate, Error, ErrorKind, InvalidDbrpName, NewDbrp, OrgId, Permission, Resource,
    ResourceType,
};

/// How many records or buckets are read at a time.
const PAGE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(999);

impl Engine {
    /// Creates a DBRP mapping.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] for a name that is no [`DbrpName`], and when the database has
    /// [`DatabaseMappings::MAX_POLICIES`]; [`ErrorKind::NotFound`] when the bucket is not in the org;
    /// [`ErrorKind::Conflict`] when the retention policy of the database has a mapping;
    /// [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn create_dbrp(&self, new: NewDbrp) -> Result<DbrpMapping, Error> {
        Ok(self.trusted().create_dbrp(new).await?.value)
    }

    /// Returns the DBRP mapping with the id, which may be virtual.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn dbrp(&self, org: OrgId, id: DbrpId) -> Result<Option<DbrpMapping>, Error> {
        let filter = DbrpFilter { id: Some(id), ..DbrpFilter::all(org) };
        Ok(self.list_dbrps(&filter).await?.into_iter().next())
    }

    /// Lists the DBRP mappings that match: first those that are records, then the virtual ones, each
    /// ascending by id. Records that cannot be read are left out.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn list_dbrps(&self, filter: &DbrpFilter) -> Result<Vec<DbrpMapping>, Error> {
        let mut reader = MappingReader { engine: self, org: filter.org, databases: HashMap::new() };
        let mut found = reader.explicit(filter).await?;
        if filter.is_virtual != Some(false) {
            found.extend(reader.virtual_ones(filter).await?);
        }
        found.retain(|mapping| filter.matches(mapping));
        Ok(found)
    }

    /// Changes the DBRP mapping with the id.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Invalid`] for a name that is no [`DbrpName`], and for a
    /// virtual mapping; [`ErrorKind::Conflict`] when the retention policy has another mapping;
    /// [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn update_dbrp(
        &self,
        org: OrgId,
        id: DbrpId,
        update: DbrpUpdate,
    ) -> Result<DbrpMapping, Error> {
        Ok(self.trusted().update_dbrp(org, id, update).await?.value)
    }

    /// Deletes the DBRP mapping with the id. If it is the default of its database, the one with
    /// the lowest id becomes the default.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Invalid`] for a virtual mapping;
    /// [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn delete_dbrp(&self, org: OrgId, id: DbrpId) -> Result<(), Error> {
        self.trusted().delete_dbrp(org, id).await
    }

    /// Deletes the bucket, if the check accepts its revision, and its mappings in one commit. Tells whether
    /// the bucket existed.
    pub(super) async fn remove_bucket(
        &self,
        id: BucketId,
        check: impl Fn(Revision) -> Result<(), Error> + Send + Sync,
    ) -> Result<bool, Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            let Some((bucket, expect)) = self.0.store.find::<Bucket>(id.untyped()).await? else {
                return Ok(false);
            };
            check(expect)?;
            let delete = Operation::Delete { kind: Kind::Bucket, id: bucket.id(), expect };
            let mut batch = Batch::new().with(delete);
            self.unmap_bucket(id, &mut batch).await?;
            match self.0.store.commit_resolving(batch).await {
                Ok(()) => break,
                Err(StoreError::Missing { kind: Kind::Bucket, .. }) => return Ok(false),
                Err(StoreError::Conflict { .. } | StoreError::Missing { .. })
                    if tries < MODIFY_TRIES => {}
                Err(error) => return Err(error.into()),
            }
        }
        // Of those that were created meanwhile. A failure is none of the deletion: what is left leads to
        // no bucket.
        let mut batch = Batch::new();
        if self.unmap_bucket(id, &mut batch).await.is_ok() && !batch.is_empty() {
            let _ = self.0.store.commit_resolving(batch).await;
        }
        Ok(true)
    }

    /// Adds the operations that remove the mappings of the bucket.
    async fn unmap_bucket(&self, id: BucketId, batch: &mut Batch) -> Result<(), Error> {
        let key = DatabaseMappings::grant_key_of_bucket(id);
        for (mappings, revision) in self.mappings_in(Index::Grant(Kind::Dbrp, key)).await? {
            batch.push(self.without(mappings, revision, |mapping| mapping.bucket == id)?);
        }
        Ok(())
    }

    /// Makes the operation that removes mappings.
    fn without(
        &self,
        mappings: DatabaseMappings,
        expect: Revision,
        is_removed: impl Fn(&DbrpMapping) -> bool,
    ) -> Result<Operation, Error> {
        let (kind, id) = (Kind::Dbrp, mappings.id);
        Ok(match mappings.without(is_removed) {
            Some(left) => put(&left, self.revision()?, Expect::Revision(expect))?,
            None => Operation::Delete { kind, id, expect },
        })
    }

    /// Reads the records of the index.
    pub(super) async fn mappings_in(
        &self,
        index: Index,
    ) -> Result<Vec<(DatabaseMappings, Revision)>, Error> {
        let mut found = Vec::new();
        let mut pages = self.0.store.pages(index, PAGE);
        while let Some(page) = pages.next().await {
            for record in page?.records {
                match DatabaseMappings::from_record(&record) {
                    Ok(mappings) => found.push((mappings, record.revision)),
                    Err(error) => log_corrupt(error),
                }
            }
        }
        Ok(found)
    }

    /// Returns the record with the mapping, and its revision.
    async fn record_of_dbrp(
        &self,
        org: OrgId,
        id: DbrpId,
    ) -> Result<Option<(DatabaseMappings, Revision)>, Error> {
        let index = Index::Grant(Kind::Dbrp, DatabaseMappings::grant_key_of(id));
        let found = self.mappings_in(index).await?.into_iter();
        Ok(found.into_iter().find(|(mappings, _)| mappings.org == org))
    }
}

impl Access<'_> {
    pub(super) async fn create_dbrp(&self, new: NewDbrp) -> Result<Versioned<DbrpMapping>, Error> {
        let name = format!("{}/{}", new.database, new.retention_policy);
        let record = AuditRecord::named(Kind::Dbrp, &name);
        self.audited(AuditAction::Create, record, self.create_checked(&new)).await
    }

    async fn create_checked(&self, new: &NewDbrp) -> Result<Versioned<DbrpMapping>, Error> {
        self.require_manage_dbrp(new.org, new.bucket)?;
        let database = name("database", &new.database)?;
        let policy = name("retentionPolicy", &new.retention_policy)?;
        let bucket = self.engine.directory().bucket(new.bucket).await?;
        let bucket = bucket.filter(|bucket| bucket.org == new.org).ok_or_else(no_bucket)?;
        self.require(Permission::read(Resource::bucket(bucket.org, bucket.id)))?;
        let requires = |kind, id| Operation::Require { kind, id };
        let requirements = match self.engine.0.owns_directory {
            true => vec![
                requires(Kind::Org, new.org.untyped()),
                requires(Kind::Bucket, new.bucket.untyped()),
            ],
            false => vec![],
        };
        let store = &self.engine.0.store;
        let key = DatabaseMappings::key_of(new.org, database.as_str());
        let mut tries = 0;
        loop {
            tries += 1;
            let id: DbrpId = self.engine.generate_id()?.into();
            let (mappings, expect) = match store.find_by_key::<DatabaseMappings>(&key).await? {
                Some((mut mappings, revision)) => {
                    mappings.insert(id, policy.clone(), new.bucket, new.is_default)?;
                    (mappings, Expect::Revision(revision))
                }
                None => {
                    let (record, org) = (self.engine.generate_id()?, new.org);
                    let (database, policy) = (database.clone(), policy.clone());
                    let first =
                        DatabaseMappings::new(record, org, database, id, policy, new.bucket);
                    (first, Expect::Absent)
                }
            };
            let revision = self.engine.revision()?;
            let put = put(&mappings, revision, expect)?;
            let batch = requirements.iter().cloned().chain([put]).collect();
            match store.commit_resolving(batch).await {
                Ok(()) => return mapping_of(&(mappings, revision), id),
                Err(StoreError::Missing { kind: Kind::Org | Kind::Bucket, .. }) => {
                    return Err(no_bucket());
                }
                // Another mapping of the database was created, changed or deleted.
                Err(
                    StoreError::AlreadyExists {
                        duplicate: Duplicate::UniqueKey | Duplicate::Id,
                        ..
                    }
                    | StoreError::Conflict { .. }
                    | StoreError::Missing { .. },
                ) if tries < MODIFY_TRIES => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns the mapping, which may be virtual and then has no revision.
    pub(super) async fn dbrp(
        &self,
        org: OrgId,
        id: DbrpId,
    ) -> Result<Versioned<DbrpMapping>, Error> {
        let mapping = match self.engine.record_of_dbrp(org, id).await? {
            Some(current) => mapping_of(&current, id)?,
            None => {
                let follows = self.engine.dbrp(org, id).await?.ok_or_else(not_found)?;
                Versioned::without_revision(follows)
            }
        };
        self.require(Permission::read(Resource::bucket(org, mapping.bucket)))?;
        Ok(mapping)
    }

    pub(super) async fn list_dbrps(&self, filter: &DbrpFilter) -> Result<Vec<DbrpMapping>, Error> {
        self.require_active()?;
        let mut found = self.engine.list_dbrps(filter).await?;
        found.retain(|mapping| {
            self.allows(Permission::read(Resource::bucket(mapping.org, mapping.bucket)))
        });
        Ok(found)
    }

    pub(super) async fn update_dbrp(
        &self,
        org: OrgId,
        id: DbrpId,
        update: DbrpUpdate,
    ) -> Result<Versioned<DbrpMapping>, Error> {
        let record = AuditRecord::new(Kind::Dbrp, id.untyped());
        let work = async {
            let bucket = self.engine.dbrp(org, id).await?.ok_or_else(not_found)?.bucket;
            self.require(Permission::read(Resource::bucket(org, bucket)))?;
            let current = self.changeable_dbrp(org, id).await?;
            let policy = update.retention_policy.as_deref();
            let policy = policy.map(|policy| name("retentionPolicy", policy)).transpose()?;
            let change = |mappings: &mut DatabaseMappings, revision| match mappings.update(
                id,
                policy.clone(),
                update.is_default,
            )? {
                true => self.check_revision(revision),
                false => Err(not_found()),
            };
            let store = &*self.engine.0.store;
            let new_revision = || self.engine.revision();
            let changed = modify_versioned(store, current, change, &[], new_revision).await?;
            mapping_of(&changed.ok_or_else(not_found)?, id)
        };
        self.audited(AuditAction::Update, record, work).await
    }

    pub(super) async fn delete_dbrp(&self, org: OrgId, id: DbrpId) -> Result<(), Error> {
        let record = AuditRecord::new(Kind::Dbrp, id.untyped());
        let work = async {
            let mut tries = 0;
            loop {
                tries += 1;
                let (mappings, revision) = self.changeable_dbrp(org, id).await?;
                self.check_revision(revision)?;
                let remove = self.engine.without(mappings, revision, |it| it.id == id)?;
                match self.engine.0.store.commit_resolving(Batch::new().with(remove)).await {
                    Ok(()) => return Ok(()),
                    Err(StoreError::Conflict { .. } | StoreError::Missing { .. })
                        if tries < MODIFY_TRIES => {}
                    Err(error) => return Err(error.into()),
                }
            }
        };
        self.audited(AuditAction::Delete, record, work).await
    }

    /// Reads the record with a mapping that is to be changed, and may be.
    pub(super) async fn changeable_dbrp(
        &self,
        org: OrgId,
        id: DbrpId,
    ) -> Result<(DatabaseMappings, Revision), Error> {
        let Some((mappings, revision)) = self.engine.record_of_dbrp(org, id).await? else {
            let follows = self.engine.dbrp(org, id).await?.ok_or_else(not_found)?;
            self.require_manage_dbrp(org, follows.bucket)?;
            return Err(Error::invalid(
                "a virtual DBRP mapping follows from the name of its bucket: create a mapping, which \
                 takes its place",
            ));
        };
        let mapping = mappings.mapping(id).ok_or_else(not_found)?;
        self.require_manage_dbrp(org, mapping.bucket)?;
        Ok((mappings, revision))
    }

    /// Checks that a mapping to the bucket may be changed. Where the database is an InfluxDB 1.x, what
    /// the bucket permits is from then on permitted for the database, whatever else is in it: so write on
    /// the bucket alone is not enough.
    fn require_manage_dbrp(&self, org: OrgId, bucket: BucketId) -> Result<(), Error> {
        self.require(Permission::write(Resource::bucket(org, bucket)))?;
        self.require_manage_names(org)
    }

    /// Checks that the caller may decide which databases of the org lead to which buckets: write on all
    /// of its buckets, or on its DBRP mappings.
    pub(super) fn require_manage_names(&self, org: OrgId) -> Result<(), Error> {
        let all_of = |resource_type| Permission::write(Resource::all(resource_type).in_org(org));
        match self.allows(all_of(ResourceType::Buckets)) {
            true => Ok(()),
            false => self.require(all_of(ResourceType::Dbrp)),
        }
    }
}

/// Returns the mapping, with the revision of the record of its database.
fn mapping_of(
    (mappings, revision): &(DatabaseMappings, Revision),
    id: DbrpId,
) -> Result<Versioned<DbrpMapping>, Error> {
    let mapping = mappings.mapping(id).ok_or_else(not_found)?;
    Ok(Versioned::new(mapping, *revision))
}

fn not_found() -> Error {
    Error::not_found("unable to find DBRP")
}

fn no_bucket() -> Error {
    Error::not_found("bucket not found")
}

/// Checks a name, with the message of the API.
fn name(member: &str, text: &str) -> Result<DbrpName, Error> {
    DbrpName::new(text).map_err(|InvalidDbrpName| {
        Error::new(
            ErrorKind::Invalid,
            format!(
                "DBRP provided is invalid: {member} must contain at least one character and only be \
                 letters, numbers, '_', '-', and '.'"
            ),
        )
    })
}

/// Reads the mappings for one list.
struct MappingReader<'a> {
    engine: &'a Engine,
    org: OrgId,
    /// The records of databases that were read; `None` for a database without.
    databases: HashMap<Arc<str>, Option<DatabaseMappings>>,
}

impl MappingReader<'_> {
    /// Reads the mappings that are records and may match.
    async fn explicit(&mut self, filter: &DbrpFilter) -> Result<Vec<DbrpMapping>, Error> {
        let index = match filter {
            DbrpFilter { database: Some(name), .. } => {
                let found = self.of_database(&name.as_str().into()).await?;
                return Ok(found.map(|it| it.mappings().collect()).unwrap_or_default());
            }
            DbrpFilter { id: Some(id), .. } => {
                Index::Grant(Kind::Dbrp, DatabaseMappings::grant_key_of(*id))
            }
            DbrpFilter { bucket: Some(bucket), .. } => {
                Index::Grant(Kind::Dbrp, DatabaseMappings::grant_key_of_bucket(*bucket))
            }
            _ => Index::Org(Kind::Dbrp, self.org),
        };
        let mut found = Vec::new();
        for (mappings, _) in self.engine.mappings_in(index).await? {
            if mappings.org == self.org {
                found.extend(mappings.mappings());
                let database: Arc<str> = mappings.database.as_str().into();
                self.databases.insert(database, Some(mappings));
            }
        }
        found.sort_by_key(|mapping| mapping.id);
        Ok(found)
    }

    /// Reads the virtual mappings that may match.
    async fn virtual_ones(&mut self, filter: &DbrpFilter) -> Result<Vec<DbrpMapping>, Error> {
        let directory = self.engine.directory();
        let bucket = filter.bucket.or(filter.id.map(|id| id.untyped().into()));
        let mut found = Vec::new();
        if let Some(bucket) = bucket {
            found.extend(directory.bucket(bucket).await?.as_ref().map(DbrpMapping::of_bucket));
        } else {
            let mut after = None;
            loop {
                let page = directory.buckets(Some(self.org), after, PAGE).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.id);
                found.extend(page.iter().map(DbrpMapping::of_bucket));
                // A directory in memory never waits: other tasks run in between.
                tokio::task::yield_now().await;
            }
        }
        found.retain(|mapping| {
            mapping.org == self.org
                && filter.database.as_deref().is_none_or(|name| name == &*mapping.database)
        });
        let narrow = bucket.is_some() || filter.database.is_some();
        let mut kept = Vec::new();
        for mut mapping in found {
            let explicit = match narrow {
                true => self.of_database(&mapping.database).await?,
                // All records were read.
                false => self.databases.get(&mapping.database).and_then(Option::as_ref),
            };
            if let Some(explicit) = explicit {
                if explicit.bucket(Some(&mapping.retention_policy)).is_some() {
                    continue;
                }
                mapping.is_default = false;
            }
            kept.push(mapping);
        }
        Ok(kept)
    }

    async fn of_database(&mut self, name: &Arc<str>) -> Result<Option<&DatabaseMappings>, Error> {
        if !self.databases.contains_key(name) {
            let found = self.engine.database_mappings(self.org, name).await?;
            self.databases.insert(Arc::clone(name), found);
        }
        Ok(self.databases.get(name).and_then(Option::as_ref))
    }
}
