//! Managing authorizations, trusted: nobody's permissions are checked here.

use std::sync::atomic::{AtomicBool, Ordering};

use super::Engine;
use super::describe::NameResolver;
use super::records::WriteError;
use super::report::By;
use crate::password::{Password, PasswordHash};
use crate::store::{Kind, Modified, Operation, StoreError, StoreExt, Taken};
use crate::{
    AuditAction, AuditOutcome, AuditRecord, Authorization, AuthorizationId, AuthorizationUpdate,
    Error, ErrorKind, NewAuthorization, OrgId, Permission, ResourceType, UserId,
};

/// The most permissions of one authorization, and the longest description: what fits into a
/// request, and into a line of a snapshot.
const MAX_PERMISSIONS: usize = 32_768;
const MAX_DESCRIPTION_BYTES: usize = 1024 * 1024;

pub(super) fn not_found() -> Error {
    Error::not_found("authorization not found")
}

pub(super) fn unable_to_create() -> Error {
    Error::invalid("unable to create token")
}

fn bucket_not_found() -> Error {
    Error::not_found("bucket not found when creating auth")
}

fn name_taken() -> Error {
    Error::new(ErrorKind::Conflict, "token already exists")
}

/// Refuses what must never be granted, whoever asks.
pub(super) fn refuse_instance(permissions: &[Permission]) -> Result<(), Error> {
    let instance = |p: &Permission| p.resource.resource_type == ResourceType::Instance;
    if permissions.iter().any(instance) {
        return Err(Error::new(
            ErrorKind::Forbidden,
            "authorizations cannot be created with the instance type, it is only used during setup",
        ));
    }
    Ok(())
}

/// Refuses permissions that name another org than the authorization's.
fn refuse_other_orgs(permissions: &[Permission], org: OrgId) -> Result<(), Error> {
    match permissions.iter().find(|p| p.resource.org.is_some_and(|other| other != org)) {
        None => Ok(()),
        Some(other) => Err(Error::invalid(format!("permission {other} is not for org id {org}"))),
    }
}

fn buckets(permissions: &[Permission]) -> impl Iterator<Item = crate::BucketId> {
    permissions
        .iter()
        .filter(|p| p.resource.resource_type == ResourceType::Buckets)
        .filter_map(|p| p.resource.id)
        .map(crate::BucketId::from)
}

impl Engine {
    /// Creates an authorization, without a password. A user must be [named](
    /// NewAuthorization::for_user).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] for what the record itself has wrong and for a user or org that does
    /// not exist, [`ErrorKind::Forbidden`] for a grant on the instance, [`ErrorKind::Conflict`]
    /// for a username that is taken, [`ErrorKind::NotFound`] for a bucket that does not exist;
    /// [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn create_authorization(
        &self,
        new: NewAuthorization,
    ) -> Result<Authorization, Error> {
        let name = new.username.clone();
        let record = AuditRecord::named(Kind::Authorization, name.as_str());
        let work = async {
            let user = new.user.ok_or_else(|| Error::invalid("user id required: invalid ID"))?;
            check_permissions(&new.permissions)?;
            refuse_instance(&new.permissions)?;
            self.check_new(&new, user, &mut self.lookups()).await?;
            self.insert_new(new, user).await
        };
        self.audited(
            By::HOST,
            AuditAction::Create,
            record,
            |made: &Authorization| Some(made.id.untyped()),
            work,
        )
        .await
    }

    /// Checks a new authorization against what is there.
    pub(super) async fn check_new(
        &self,
        new: &NewAuthorization,
        user: UserId,
        lookups: &mut NameResolver,
    ) -> Result<(), Error> {
        check_description(&new.description)?;
        refuse_other_orgs(&new.permissions, new.org)?;
        if lookups.user(user).await?.is_none() || lookups.org(new.org).await?.is_none() {
            return Err(unable_to_create());
        }
        if self.authorization_by_username(new.username.as_str()).await?.is_some() {
            return Err(name_taken());
        }
        check_buckets(&new.permissions, lookups).await
    }

    /// Stores a new authorization that was checked; what changed meanwhile is refused.
    pub(super) async fn insert_new(
        &self,
        new: NewAuthorization,
        user: UserId,
    ) -> Result<Authorization, Error> {
        let now = self.now();
        let mut requirements = self.require_buckets(&new.permissions);
        requirements.extend(self.require(Kind::User, user));
        requirements.extend(self.require(Kind::Org, new.org));
        let NewAuthorization { username, org, permissions, status, description, .. } = new;
        let authorization = |id: crate::Id| Authorization {
            id: id.into(),
            username: username.clone(),
            status,
            description: description.clone(),
            org,
            user,
            permissions: permissions.clone(),
            password_hash: None,
            created_at: now,
            updated_at: now,
        };
        self.insert(authorization, &requirements).await.map_err(|error| match error {
            WriteError::Store(StoreError::AlreadyExists { taken: Taken::UniqueKey, .. }) => {
                name_taken()
            }
            WriteError::Store(StoreError::Missing { kind: Kind::Bucket, .. }) => bucket_not_found(),
            WriteError::Store(StoreError::Missing { .. }) => unable_to_create(),
            error => error.into(),
        })
    }

    /// Demands that a record is still there at the commit, where it is one of this store's.
    fn require(&self, kind: Kind, id: impl Into<crate::Id>) -> Option<Operation> {
        self.0.owns_directory.then(|| Operation::Require { kind, id: id.into() })
    }

    fn require_buckets(&self, permissions: &[Permission]) -> Vec<Operation> {
        buckets(permissions).filter_map(|bucket| self.require(Kind::Bucket, bucket)).collect()
    }

    /// Returns the authorization with the id.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`]; [`ErrorKind::Internal`], also when it cannot be read.
    pub async fn authorization(&self, id: AuthorizationId) -> Result<Option<Authorization>, Error> {
        Ok(self.0.store.find(id.untyped()).await?.map(|(authorization, _)| authorization))
    }

    /// Returns the authorization with the username, byte by byte.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`]; [`ErrorKind::Internal`], also when it cannot be read.
    pub async fn authorization_by_username(
        &self,
        username: &str,
    ) -> Result<Option<Authorization>, Error> {
        Ok(self.0.store.find_by_key(username).await?.map(|(authorization, _)| authorization))
    }

    /// Changes status or description, and the time of the last update in any case.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn update_authorization(
        &self,
        id: AuthorizationId,
        update: AuthorizationUpdate,
    ) -> Result<Authorization, Error> {
        let record = AuditRecord::new(Kind::Authorization, id.untyped());
        let work = async { self.update_checked(By::HOST, id, &update, |_| Ok(())).await };
        self.audited(By::HOST, AuditAction::Update, record, |_| None, work).await
    }

    /// Makes the change. That an inactive credential is active again is reported by itself, before
    /// the change as a whole: clients that mean to change only the description send a status as well.
    pub(super) async fn update_checked(
        &self,
        by: By<'_>,
        id: AuthorizationId,
        update: &AuthorizationUpdate,
        check: impl Fn(&Authorization) -> Result<(), Error> + Send + Sync,
    ) -> Result<Authorization, Error> {
        check_description(update.description.as_deref().unwrap_or_default())?;
        let now = self.now();
        let reactivates = AtomicBool::new(false);
        let change = |authorization: &mut Authorization| {
            check(authorization)?;
            if let Some(status) = update.status {
                let was_active = authorization.status.is_active();
                reactivates.store(!was_active && status.is_active(), Ordering::Relaxed);
                authorization.status = status;
            }
            if let Some(description) = &update.description {
                authorization.description.clone_from(description);
            }
            authorization.updated_at = now;
            Ok(())
        };
        let changed = self.change(id, change, &[]).await?;
        if reactivates.into_inner() {
            let name = changed.username.as_str();
            let record = AuditRecord::new(Kind::Authorization, id.untyped()).with_name(name);
            self.report(by.actor, by.source, AuditAction::Reactivate, record, AuditOutcome::Done);
        }
        Ok(changed)
    }

    /// Replaces the permissions.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] for an authorization or a bucket that does not exist,
    /// [`ErrorKind::Invalid`] and [`ErrorKind::Forbidden`] as for
    /// [`Engine::create_authorization`]; [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn set_permissions(
        &self,
        id: AuthorizationId,
        permissions: Vec<Permission>,
    ) -> Result<Authorization, Error> {
        let record = AuditRecord::new(Kind::Authorization, id.untyped());
        let work = async { self.set_permissions_checked(id, permissions, |_| Ok(())).await };
        self.audited(By::HOST, AuditAction::SetPermissions, record, |_| None, work).await
    }

    pub(super) async fn set_permissions_checked(
        &self,
        id: AuthorizationId,
        permissions: Vec<Permission>,
        check: impl Fn(&Authorization) -> Result<(), Error> + Send + Sync,
    ) -> Result<Authorization, Error> {
        check_permissions(&permissions)?;
        let current = self.authorization(id).await?.ok_or_else(not_found)?;
        check(&current)?;
        refuse_instance(&permissions)?;
        refuse_other_orgs(&permissions, current.org)?;
        check_buckets(&permissions, &mut self.lookups()).await?;
        let now = self.now();
        let change = |authorization: &mut Authorization| {
            check(authorization)?;
            authorization.permissions.clone_from(&permissions);
            authorization.updated_at = now;
            Ok(())
        };
        self.change(id, change, &self.require_buckets(&permissions)).await
    }

    /// Sets the password. The old one no longer works once this has returned.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] with what the password lacks; [`ErrorKind::NotFound`];
    /// [`ErrorKind::Unavailable`], also when too many are hashed at once, and
    /// [`ErrorKind::Internal`].
    pub async fn set_password(
        &self,
        id: AuthorizationId,
        password: impl AsRef<[u8]> + Send + Sync,
    ) -> Result<(), Error> {
        let record = AuditRecord::new(Kind::Authorization, id.untyped());
        let work =
            async { self.set_password_checked(id, password.as_ref(), None, |_| Ok(())).await };
        self.audited(By::HOST, AuditAction::SetPassword, record, |_| None, work).await
    }

    pub(super) async fn set_password_checked(
        &self,
        id: AuthorizationId,
        password: &[u8],
        caller: Option<u64>,
        check: impl Fn(&Authorization) -> Result<(), Error> + Send + Sync,
    ) -> Result<(), Error> {
        let current = self.authorization(id).await?.ok_or_else(not_found)?;
        check(&current)?;
        let hash = self.hash_new(password, caller).await?;
        let change = |authorization: &mut Authorization| {
            check(authorization)?;
            authorization.password_hash = Some(hash.clone());
            Ok(())
        };
        let changed = self.change(id, change, &[]).await?;
        // Who failed with the old one may begin anew.
        if let Some(throttle) = &self.0.throttle {
            throttle.clear(changed.username.as_str(), self.0.clock.instant());
        }
        Ok(())
    }

    /// Checks a new password against the rules and hashes it.
    async fn hash_new(&self, password: &[u8], caller: Option<u64>) -> Result<PasswordHash, Error> {
        self.0.policy.check_new(password)?;
        let password =
            Password::new(password).map_err(|error| Error::invalid(error.to_string()))?;
        self.0.hashes.hash_for(&password, caller).await
    }

    /// Deletes the authorization; its username is free again.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn delete_authorization(&self, id: AuthorizationId) -> Result<(), Error> {
        let record = AuditRecord::new(Kind::Authorization, id.untyped());
        let work = async { self.delete_checked(id, |_| Ok(())).await };
        self.audited(By::HOST, AuditAction::Delete, record, |_| None, work).await
    }

    pub(super) async fn delete_checked(
        &self,
        id: AuthorizationId,
        check: impl Fn(&Authorization) -> Result<(), Error> + Send + Sync,
    ) -> Result<(), Error> {
        match self.remove::<Authorization>(id.untyped(), check, &[]).await? {
            true => Ok(()),
            false => Err(not_found()),
        }
    }

    async fn change(
        &self,
        id: AuthorizationId,
        change: impl Fn(&mut Authorization) -> Result<(), Error> + Send + Sync,
        requirements: &[Operation],
    ) -> Result<Authorization, Error> {
        let change = |authorization: &mut Authorization| Ok(change(authorization)?);
        let revision = || Ok(self.revision()?);
        match self.0.store.modify(id.untyped(), change, requirements, revision).await {
            Ok(Modified::Done(authorization)) => Ok(authorization),
            Ok(Modified::Missing) => Err(not_found()),
            Err(WriteError::Store(StoreError::Missing { kind: Kind::Bucket, .. })) => {
                Err(bucket_not_found())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Checks what a program may have put together wrong; what came over the wire was checked.
pub(super) fn check_permissions(permissions: &[Permission]) -> Result<(), Error> {
    if permissions.is_empty() {
        return Err(Error::invalid("authorization must include permissions"));
    }
    if permissions.len() > MAX_PERMISSIONS {
        return Err(Error::invalid(format!(
            "an authorization must include at most {MAX_PERMISSIONS} permissions, not {}",
            permissions.len()
        )));
    }
    permissions.iter().try_for_each(Permission::validate)?;
    Ok(())
}

fn check_description(description: &str) -> Result<(), Error> {
    match description.len() {
        0..=MAX_DESCRIPTION_BYTES => Ok(()),
        length => Err(Error::invalid(format!(
            "a description must be at most {MAX_DESCRIPTION_BYTES} bytes long, not {length}"
        ))),
    }
}

async fn check_buckets(
    permissions: &[Permission],
    lookups: &mut NameResolver,
) -> Result<(), Error> {
    for bucket in buckets(permissions) {
        if lookups.bucket(bucket).await?.is_none() {
            return Err(bucket_not_found());
        }
    }
    Ok(())
}
