//! Managing users, orgs and buckets that are records of the engine's own store: the rules of each
//! operation, for callers and for the embedding program alike.

use super::Versioned;
use super::access::Access;
use crate::engine::Engine;
use crate::engine::records::WriteError;
use crate::store::{Duplicate, Entity, Kind, Operation, StoreError, StoreExt, modify_versioned};
use crate::{
    Action, AuditAction, AuditRecord, Bucket, BucketId, BucketUpdate, Error, ErrorKind, Id, Name,
    Org, OrgId, Permission, Resource, ResourceType, Status, TenantUpdate, User, UserId,
};

fn taken(kind: Kind, name: &Name) -> Error {
    Error::new(ErrorKind::Conflict, format!("{kind} with name {name} already exists"))
}

pub(super) fn missing(kind: Kind) -> Error {
    Error::not_found(format!("{kind} not found"))
}

/// An org or a user: both have a name and a status, and are changed in the same way.
trait Tenant: Entity {
    fn change(&mut self, update: &TenantUpdate);
}

impl Tenant for Org {
    fn change(&mut self, update: &TenantUpdate) {
        let TenantUpdate { name, status } = update;
        self.status = status.unwrap_or(self.status);
        if let Some(name) = name {
            self.name.clone_from(name);
        }
    }
}

impl Tenant for User {
    fn change(&mut self, update: &TenantUpdate) {
        let TenantUpdate { name, status } = update;
        self.status = status.unwrap_or(self.status);
        if let Some(name) = name {
            self.name.clone_from(name);
        }
    }
}

impl Access<'_> {
    /// Creates an org. A caller needs write on all orgs.
    pub(super) async fn create_org(
        &self,
        name: Name,
        status: Status,
    ) -> Result<Versioned<Org>, Error> {
        let needed = Permission::write(Resource::all(ResourceType::Orgs));
        let org = |id: Id| Org { id: id.into(), name: name.clone(), status };
        self.create_tenant(needed, org, &name, &[]).await
    }

    /// Creates a user. A caller needs write on all users.
    pub(super) async fn create_user(
        &self,
        name: Name,
        status: Status,
    ) -> Result<Versioned<User>, Error> {
        let needed = Permission::write(Resource::all(ResourceType::Users));
        let user = |id: Id| User { id: id.into(), name: name.clone(), status };
        self.create_tenant(needed, user, &name, &[]).await
    }

    /// Creates a bucket. A caller needs write on all buckets of the org.
    pub(super) async fn create_bucket(
        &self,
        org: OrgId,
        name: Name,
    ) -> Result<Versioned<Bucket>, Error> {
        let needed = Permission::write(all_buckets(org));
        let bucket = |id: Id| Bucket { id: id.into(), org, name: name.clone() };
        let org = Operation::Require { kind: Kind::Org, id: org.untyped() };
        self.create_tenant(needed, bucket, &name, &[org]).await
    }

    async fn create_tenant<E: Entity>(
        &self,
        needed: Permission,
        entity: impl FnMut(Id) -> E + Send,
        name: &Name,
        requirements: &[Operation],
    ) -> Result<Versioned<E>, Error> {
        let record = AuditRecord::named(E::KIND, name.as_str());
        let work = async {
            self.require(needed)?;
            self.engine.refuse_foreign_directory()?;
            let inserted = self.engine.insert(entity, requirements).await;
            let (entity, revision) = inserted.map_err(|error| match error {
                WriteError::Store(StoreError::AlreadyExists {
                    duplicate: Duplicate::UniqueKey,
                    kind,
                    ..
                }) => taken(kind, name),
                WriteError::Store(StoreError::Missing { kind, .. }) => missing(kind),
                error => Error::from(error),
            })?;
            Ok(Versioned::new(entity, revision))
        };
        self.audited(AuditAction::Create, record, work).await
    }

    /// Changes an org. A caller needs write on it.
    pub(super) async fn update_org(
        &self,
        id: OrgId,
        update: &TenantUpdate,
    ) -> Result<Versioned<Org>, Error> {
        self.update_tenant(Permission::write(Resource::org(id)), id.untyped(), update).await
    }

    /// Changes a user. A caller needs write on it.
    pub(super) async fn update_user(
        &self,
        id: UserId,
        update: &TenantUpdate,
    ) -> Result<Versioned<User>, Error> {
        self.update_tenant(Permission::write(Resource::user(id)), id.untyped(), update).await
    }

    async fn update_tenant<T: Tenant>(
        &self,
        needed: Permission,
        id: Id,
        update: &TenantUpdate,
    ) -> Result<Versioned<T>, Error> {
        let work = async {
            self.require(needed)?;
            self.engine.refuse_foreign_directory()?;
            let change = |tenant: &mut T| {
                tenant.change(update);
                Ok(())
            };
            let taken = || match &update.name {
                Some(name) => taken(T::KIND, name),
                None => Error::new(ErrorKind::Conflict, format!("{} is a duplicate", T::KIND)),
            };
            self.change_tenant(id, change, taken).await
        };
        self.audited(AuditAction::Update, AuditRecord::new(T::KIND, id), work).await
    }

    /// Changes a bucket. A caller needs read and write on it. To give it another name needs more: the
    /// name decides which database leads to the bucket, as a DBRP mapping does.
    pub(super) async fn update_bucket(
        &self,
        id: BucketId,
        update: &BucketUpdate,
    ) -> Result<Versioned<Bucket>, Error> {
        let work = async {
            let bucket = self.readable_bucket(id).await?;
            self.require(Permission::write(Resource::bucket(bucket.org, id)))?;
            self.engine.refuse_foreign_directory()?;
            let change = |bucket: &mut Bucket| {
                if let Some(name) = &update.name
                    && *name != bucket.name
                {
                    self.require_manage_names(bucket.org)?;
                    bucket.name.clone_from(name);
                }
                Ok(())
            };
            let taken = || Error::new(ErrorKind::Conflict, "bucket name is not unique");
            self.change_tenant(id.untyped(), change, taken).await
        };
        self.audited(AuditAction::Update, AuditRecord::new(Kind::Bucket, id.untyped()), work).await
    }

    /// Changes the entity, if it meets the precondition. `taken` is the error for a name that another one
    /// has.
    async fn change_tenant<E: Entity>(
        &self,
        id: Id,
        change: impl Fn(&mut E) -> Result<(), Error> + Send + Sync,
        taken: impl Fn() -> Error + Send + Sync,
    ) -> Result<Versioned<E>, Error> {
        let change = |entity: &mut E, revision| {
            change(entity)?;
            Ok(self.check_revision(revision)?)
        };
        let new_revision = || Ok(self.engine.revision()?);
        let store = &*self.engine.0.store;
        let current = store.find::<E>(id).await?.ok_or_else(|| missing(E::KIND))?;
        match modify_versioned(store, current, change, &[], new_revision).await {
            Ok(Some((entity, revision))) => Ok(Versioned::new(entity, revision)),
            Ok(None) => Err(missing(E::KIND)),
            Err(WriteError::Store(StoreError::AlreadyExists {
                duplicate: Duplicate::UniqueKey,
                ..
            })) => Err(taken()),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the bucket. That which a caller may not read is as if it did not exist, as in lookups.
    pub(super) async fn readable_bucket(&self, id: BucketId) -> Result<Versioned<Bucket>, Error> {
        self.require_active()?;
        let of_host = || self.engine.directory().bucket(id);
        let bucket = self.engine.versioned(id.untyped(), of_host).await?;
        bucket
            .filter(|bucket| self.allows(Permission::read(Resource::bucket(bucket.org, id))))
            .ok_or_else(|| missing(Kind::Bucket))
    }

    /// Returns the bucket that is to be deleted. A caller needs write on it; if it may not even read it,
    /// the bucket is as if it did not exist.
    pub(super) async fn deletable_bucket(&self, id: BucketId) -> Result<Bucket, Error> {
        self.require_active()?;
        let bucket = self.engine.directory().bucket(id).await?;
        let bucket = bucket.ok_or_else(|| missing(Kind::Bucket))?;
        let on_bucket =
            |action| Permission { action, resource: Resource::bucket(bucket.org, bucket.id) };
        match self.require(on_bucket(Action::Write)) {
            Ok(()) => Ok(bucket),
            Err(error) if self.allows(on_bucket(Action::Read)) => Err(error),
            Err(_) => Err(missing(Kind::Bucket)),
        }
    }

    /// Deletes the bucket and its DBRP mappings.
    pub(super) async fn delete_bucket(&self, id: BucketId) -> Result<(), Error> {
        let record = AuditRecord::new(Kind::Bucket, id.untyped());
        let work = async {
            self.deletable_bucket(id).await?;
            self.engine.refuse_foreign_directory()?;
            match self.engine.remove_bucket(id, |revision| self.check_revision(revision)).await? {
                true => Ok(()),
                false => Err(missing(Kind::Bucket)),
            }
        };
        self.audited(AuditAction::Delete, record, work).await
    }
}

/// Returns the resource for all buckets of the org.
fn all_buckets(org: OrgId) -> Resource {
    Resource::all(ResourceType::Buckets).in_org(org)
}

impl Engine {
    /// Creates an active user.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`] when the name is taken; [`ErrorKind::Invalid`] when the engine uses
    /// the host's directory; [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn create_user(&self, name: Name) -> Result<User, Error> {
        Ok(self.trusted().create_user(name, Status::Active).await?.value)
    }

    /// Creates an active org.
    ///
    /// # Errors
    ///
    /// As [`Engine::create_user`].
    pub async fn create_org(&self, name: Name) -> Result<Org, Error> {
        Ok(self.trusted().create_org(name, Status::Active).await?.value)
    }

    /// Creates a bucket in the org.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] when there is no such org; otherwise as [`Engine::create_user`].
    pub async fn create_bucket(&self, org: OrgId, name: Name) -> Result<Bucket, Error> {
        Ok(self.trusted().create_bucket(org, name).await?.value)
    }

    /// Changes the name or the status of the user. Its credentials work only while it is active.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; otherwise as [`Engine::create_user`].
    pub async fn update_user(&self, id: UserId, update: TenantUpdate) -> Result<User, Error> {
        Ok(self.trusted().update_user(id, &update).await?.value)
    }

    /// Changes the name or the status of the org. The credentials in it work only while it is active.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; otherwise as [`Engine::create_user`].
    pub async fn update_org(&self, id: OrgId, update: TenantUpdate) -> Result<Org, Error> {
        Ok(self.trusted().update_org(id, &update).await?.value)
    }

    /// Changes the name of the bucket. Permissions name it by its id and stay. From then on, the virtual
    /// DBRP mapping is that of the new name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; otherwise as [`Engine::create_user`].
    pub async fn update_bucket(&self, id: BucketId, update: BucketUpdate) -> Result<Bucket, Error> {
        Ok(self.trusted().update_bucket(id, &update).await?.value)
    }

    /// Switches the user on or off, and with it all its credentials.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; otherwise as [`Engine::create_user`].
    pub async fn set_user_status(&self, id: UserId, status: Status) -> Result<User, Error> {
        self.update_user(id, TenantUpdate::status(status)).await
    }

    /// Switches the org on or off, and with it all credentials in it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; otherwise as [`Engine::create_user`].
    pub async fn set_org_status(&self, id: OrgId, status: Status) -> Result<Org, Error> {
        self.update_org(id, TenantUpdate::status(status)).await
    }

    /// Deletes the bucket and its DBRP mappings. Permissions that name it remain and reach nothing: its
    /// id is never used again.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; otherwise as [`Engine::create_user`].
    pub async fn delete_bucket(&self, id: BucketId) -> Result<(), Error> {
        self.trusted().delete_bucket(id).await
    }

    /// Reads an entity of the directory, with its revision if it is a record of the store.
    pub(super) async fn versioned<E: Entity, F>(
        &self,
        id: Id,
        of_host: impl FnOnce() -> F + Send,
    ) -> Result<Option<Versioned<E>>, Error>
    where
        F: Future<Output = Result<Option<E>, Error>> + Send,
    {
        if self.0.owns_directory {
            let found = self.0.store.find::<E>(id).await?;
            return Ok(found.map(|(entity, revision)| Versioned::new(entity, revision)));
        }
        Ok(of_host().await?.map(Versioned::without_revision))
    }

    pub(super) fn refuse_foreign_directory(&self) -> Result<(), Error> {
        if self.0.owns_directory {
            return Ok(());
        }
        Err(Error::invalid("users, organizations and buckets are managed by the embedding server"))
    }

    /// Finds the user with the id, or else with the name: for input of an operator.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] `user not found`; [`ErrorKind::Unavailable`] and
    /// [`ErrorKind::Internal`].
    pub async fn resolve_user(&self, id_or_name: &str) -> Result<User, Error> {
        if let Ok(id) = id_or_name.parse()
            && let Some(user) = self.0.directory.user(id).await?
        {
            return Ok(user);
        }
        self.0.directory.user_by_name(id_or_name).await?.ok_or_else(|| missing(Kind::User))
    }

    /// Finds the org with the id, or else with the name, as [`Engine::resolve_user`] does.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] `organization name "X" not found`; [`ErrorKind::Unavailable`] and
    /// [`ErrorKind::Internal`].
    pub async fn resolve_org(&self, id_or_name: &str) -> Result<Org, Error> {
        if let Ok(id) = id_or_name.parse()
            && let Some(org) = self.0.directory.org(id).await?
        {
            return Ok(org);
        }
        self.0.directory.org_by_name(id_or_name).await?.ok_or_else(|| {
            Error::not_found(format!("organization name \"{id_or_name}\" not found"))
        })
    }

    /// Finds the bucket of the org with the id, or else with the name, as [`Engine::resolve_user`]
    /// does. Requests of clients name a bucket only by its name: for them use [`Engine::bucket_id`],
    /// which caches.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] `bucket not found`; [`ErrorKind::Unavailable`] and
    /// [`ErrorKind::Internal`].
    pub async fn resolve_bucket(&self, org: OrgId, id_or_name: &str) -> Result<Bucket, Error> {
        if let Ok(id) = id_or_name.parse()
            && let Some(bucket) = self.0.directory.bucket(id).await?
            && bucket.org == org
        {
            return Ok(bucket);
        }
        let bucket = self.0.directory.bucket_by_name(org, id_or_name).await?;
        bucket.ok_or_else(|| missing(Kind::Bucket))
    }
}
