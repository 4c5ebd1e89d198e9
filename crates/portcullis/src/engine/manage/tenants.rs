//! Managing users, orgs and buckets that are records of the engine's own store. These operations are
//! trusted.

use crate::engine::Engine;
use crate::engine::records::WriteError;
use crate::store::{Duplicate, Entity, Kind, Operation, StoreError};
use crate::{
    AuditAction, AuditRecord, Bucket, BucketId, Error, ErrorKind, Name, Org, OrgId, Status, User,
    UserId,
};

fn taken(kind: Kind, name: &Name) -> Error {
    Error::new(ErrorKind::Conflict, format!("{kind} with name {name} already exists"))
}

pub(super) fn missing(kind: Kind) -> Error {
    Error::not_found(format!("{kind} not found"))
}

impl Engine {
    /// Creates an active user.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`] when the name is taken; [`ErrorKind::Invalid`] when the engine uses
    /// the host's directory; [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn create_user(&self, name: Name) -> Result<User, Error> {
        let user =
            |id: crate::Id| User { id: id.into(), name: name.clone(), status: Status::Active };
        self.create_tenant(user, &name, &[]).await
    }

    /// Creates an active org.
    ///
    /// # Errors
    ///
    /// As [`Engine::create_user`].
    pub async fn create_org(&self, name: Name) -> Result<Org, Error> {
        let org = |id: crate::Id| Org { id: id.into(), name: name.clone(), status: Status::Active };
        self.create_tenant(org, &name, &[]).await
    }

    /// Creates a bucket in the org.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] when there is no such org; otherwise as [`Engine::create_user`].
    pub async fn create_bucket(&self, org: OrgId, name: Name) -> Result<Bucket, Error> {
        let bucket = |id: crate::Id| Bucket { id: id.into(), org, name: name.clone() };
        let org = Operation::Require { kind: Kind::Org, id: org.untyped() };
        self.create_tenant(bucket, &name, &[org]).await
    }

    async fn create_tenant<E: Entity>(
        &self,
        entity: impl FnMut(crate::Id) -> E + Send,
        name: &Name,
        requirements: &[Operation],
    ) -> Result<E, Error> {
        let record = AuditRecord::named(E::KIND, name.as_str());
        let work = async {
            self.refuse_foreign_directory()?;
            self.insert(entity, requirements).await.map_err(|error| match error {
                WriteError::Store(StoreError::AlreadyExists {
                    duplicate: Duplicate::UniqueKey,
                    kind,
                    ..
                }) => taken(kind, name),
                WriteError::Store(StoreError::Missing { kind, .. }) => missing(kind),
                error => error.into(),
            })
        };
        self.trusted().audited(AuditAction::Create, record, work).await
    }

    /// Switches the user on or off, and with it all its credentials.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; otherwise as [`Engine::create_user`].
    pub async fn set_user_status(&self, id: UserId, status: Status) -> Result<User, Error> {
        let record = AuditRecord::new(Kind::User, id.untyped());
        let work = async {
            self.change_tenant(id.untyped(), |user: &mut User| user.status = status).await
        };
        self.trusted().audited(AuditAction::Update, record, work).await
    }

    /// Switches the org on or off, and with it all credentials in it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; otherwise as [`Engine::create_user`].
    pub async fn set_org_status(&self, id: OrgId, status: Status) -> Result<Org, Error> {
        let record = AuditRecord::new(Kind::Org, id.untyped());
        let work =
            async { self.change_tenant(id.untyped(), |org: &mut Org| org.status = status).await };
        self.trusted().audited(AuditAction::Update, record, work).await
    }

    async fn change_tenant<E: Entity>(
        &self,
        id: crate::Id,
        change: impl FnMut(&mut E) + Send,
    ) -> Result<E, Error> {
        self.refuse_foreign_directory()?;
        self.modify(id, change).await?.ok_or_else(|| missing(E::KIND))
    }

    /// Deletes the bucket and its DBRP mappings. Permissions that name it remain and reach nothing: its
    /// id is never used again.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; otherwise as [`Engine::create_user`].
    pub async fn delete_bucket(&self, id: BucketId) -> Result<(), Error> {
        let record = AuditRecord::new(Kind::Bucket, id.untyped());
        let work = async {
            self.refuse_foreign_directory()?;
            match self.remove_bucket(id).await? {
                true => Ok(()),
                false => Err(missing(Kind::Bucket)),
            }
        };
        self.trusted().audited(AuditAction::Delete, record, work).await
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
