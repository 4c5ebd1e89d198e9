//! The rules of each operation on authorizations, for callers and for the embedding program alike.

use std::sync::atomic::{AtomicBool, Ordering};

use super::access::{Access, authorizations_of};
use super::names::NameResolver;
use crate::engine::Engine;
use crate::engine::records::WriteError;
use crate::password::{Password, PasswordHash};
use crate::store::{Duplicate, Kind, Operation, Revision, StoreError, StoreExt, modify_versioned};
use crate::{
    AuditAction, AuditOutcome, AuditRecord, Authorization, AuthorizationId, AuthorizationUpdate,
    BucketId, Error, ErrorKind, Id, KeepPrevious, NewAuthorization, OrgId, Permission,
    PreviousPassword, Resource, ResourceType, Timestamp, UserId,
};

/// The most permissions of one authorization, and the longest description: what fits into a
/// request, and into a line of a snapshot.
const MAX_PERMISSIONS: usize = 32_768;
const MAX_DESCRIPTION_BYTES: usize = 1024 * 1024;

/// An authorization as it was read, and the revision that a change replaces.
pub(super) type Current = (Authorization, Revision);

impl Access<'_> {
    /// Checks every rule of a creation, in the API's order. Returns the user who will own it.
    pub(super) async fn check_creation(
        &self,
        new: &NewAuthorization,
        names: &mut NameResolver,
    ) -> Result<UserId, Error> {
        let user = self.owner(new.user)?;
        check_permissions(&new.permissions)?;
        self.require(Permission::write(authorizations_of(new.org)))?;
        self.require(Permission::write(Resource::user(user)))?;
        self.require_grants(&new.permissions, names).await?;
        check_description(&new.description)?;
        check_end("expiresAt", new.expires_at, self.engine.now())?;
        refuse_other_orgs(&new.permissions, new.org)?;
        if names.user(user).await?.is_none() || names.org(new.org).await?.is_none() {
            return Err(unable_to_create());
        }
        if self.engine.authorization_by_username(new.username.as_str()).await?.is_some() {
            return Err(name_taken());
        }
        check_buckets(&new.permissions, names).await?;
        Ok(user)
    }

    /// Stores an authorization that passed [`Access::check_creation`]. Its user, org and buckets
    /// must still exist at the commit.
    pub(super) async fn insert_checked(
        &self,
        new: NewAuthorization,
        user: UserId,
    ) -> Result<Current, Error> {
        let now = self.engine.now();
        let mut requirements = self.engine.require_buckets(&new.permissions);
        requirements.extend(self.engine.require(Kind::User, user));
        requirements.extend(self.engine.require(Kind::Org, new.org));
        let NewAuthorization { username, org, permissions, status, description, .. } = new;
        let (expires_at, allowed_networks) = (new.expires_at, new.allowed_networks);
        let authorization = |id: Id| Authorization {
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
            expires_at,
            allowed_networks: allowed_networks.clone(),
            password_set_at: None,
            password_expires_at: None,
            previous_password: None,
            password_history: Vec::new(),
        };
        let inserted = self.engine.insert(authorization, &requirements).await;
        inserted.map_err(|error| match error {
            WriteError::Store(StoreError::AlreadyExists {
                duplicate: Duplicate::UniqueKey,
                ..
            }) => name_taken(),
            WriteError::Store(StoreError::Missing { kind: Kind::Bucket, .. }) => bucket_not_found(),
            WriteError::Store(StoreError::Missing { .. }) => unable_to_create(),
            error => error.into(),
        })
    }

    async fn read(&self, id: AuthorizationId) -> Result<Current, Error> {
        self.engine.0.store.find(id.untyped()).await?.ok_or_else(not_found)
    }

    /// Reads an authorization for a change of status, description or permissions.
    pub(super) async fn read_for_change(&self, id: AuthorizationId) -> Result<Current, Error> {
        let current = self.read(id).await?;
        self.require_read_and_write(&current.0)?;
        Ok(current)
    }

    /// Changes status, description, ends and networks. A credential that becomes usable again is
    /// reported on its own, before the change as a whole: clients that change only the description send
    /// a status too.
    pub(super) async fn update(
        &self,
        current: Current,
        update: &AuthorizationUpdate,
    ) -> Result<Current, Error> {
        check_description(update.description.as_deref().unwrap_or_default())?;
        let now = self.engine.now();
        check_ends(update, now)?;
        let reactivates = AtomicBool::new(false);
        let change = |authorization: &mut Authorization| {
            self.require_read_and_write(authorization)?;
            let was_usable = is_usable(authorization, now);
            authorization.status = update.status.unwrap_or(authorization.status);
            authorization.expires_at = update.expires_at.unwrap_or(authorization.expires_at);
            if let Some(end) = update.password_expires_at {
                if end.is_some() && authorization.password_hash.is_none() {
                    return Err(Error::invalid("invalid passwordExpiresAt: no password is set"));
                }
                authorization.password_expires_at = end;
            }
            if let Some(networks) = &update.allowed_networks {
                authorization.allowed_networks.clone_from(networks);
            }
            let is_usable = is_usable(authorization, now);
            reactivates.store(!was_usable && is_usable, Ordering::Relaxed);
            if let Some(description) = &update.description {
                authorization.description.clone_from(description);
            }
            authorization.updated_at = now;
            Ok(())
        };
        let changed = self.change(current, change, &[]).await?;
        if reactivates.into_inner() {
            let name = changed.0.username.as_str();
            let record = AuditRecord::new(Kind::Authorization, changed.0.id.untyped());
            self.report(AuditAction::Reactivate, record.with_name(name), AuditOutcome::Done);
        }
        Ok(changed)
    }

    /// Checks that the permissions may be granted to an authorization of the org.
    pub(super) async fn check_new_permissions(
        &self,
        permissions: &[Permission],
        org: OrgId,
        names: &mut NameResolver,
    ) -> Result<(), Error> {
        self.require_grants(permissions, names).await?;
        refuse_other_orgs(permissions, org)?;
        check_buckets(permissions, names).await
    }

    /// Replaces the permissions, after [`Access::check_new_permissions`].
    pub(super) async fn replace_permissions(
        &self,
        current: Current,
        permissions: &[Permission],
    ) -> Result<Current, Error> {
        let now = self.engine.now();
        let change = |authorization: &mut Authorization| {
            self.require_read_and_write(authorization)?;
            permissions.clone_into(&mut authorization.permissions);
            authorization.updated_at = now;
            Ok(())
        };
        self.change(current, change, &self.engine.require_buckets(permissions)).await
    }

    /// Sets the password, and ends the previous one, or keeps it for a time. A caller needs write on the
    /// user; as in the reference, no permission on authorizations.
    pub(super) async fn set_password(
        &self,
        id: AuthorizationId,
        password: &[u8],
        keep: Option<KeepPrevious>,
    ) -> Result<(), Error> {
        let current = self.read(id).await?;
        self.require_write_on_user(&current.0)?;
        let password = self.engine.check_new(password)?;
        // Before the hash, which costs the most.
        self.check_revision(current.1)?;
        self.refuse_used(&current.0, &password).await?;
        let hash = self.engine.0.hashes.hash_for(&password, self.hash_flow()).await?;
        self.replace_hash(current, &hash, keep).await
    }

    /// Sets the hash of the password.
    pub(super) async fn set_password_hash(
        &self,
        id: AuthorizationId,
        hash: &PasswordHash,
    ) -> Result<(), Error> {
        self.replace_hash(self.read(id).await?, hash, None).await
    }

    /// Refuses a password that the authorization has, or had lately, if the rules say so.
    async fn refuse_used(
        &self,
        authorization: &Authorization,
        password: &Password,
    ) -> Result<(), Error> {
        let count = self.engine.0.policy.history_length();
        let present = authorization.password_hash.iter();
        for hash in present.chain(&authorization.password_history).take(count) {
            if self.engine.0.hashes.verify(password, hash).await? {
                return Err(Error::invalid(format!(
                    "the password must not be one of the last {count} of this authorization"
                )));
            }
        }
        Ok(())
    }

    async fn replace_hash(
        &self,
        current: Current,
        hash: &PasswordHash,
        keep: Option<KeepPrevious>,
    ) -> Result<(), Error> {
        let change = |authorization: &mut Authorization| {
            self.require_write_on_user(authorization)?;
            let now = self.engine.now();
            let policy = &self.engine.0.policy;
            let replaced = authorization.password_hash.replace(hash.clone());
            let older = std::mem::take(&mut authorization.password_history);
            let older = replaced.iter().cloned().chain(older);
            let kept = policy.history_length().saturating_sub(1);
            authorization.password_history = older.take(kept).collect();
            let set_at = authorization.password_set_at.replace(now);
            let expires_at = authorization.password_expires_at.take();
            authorization.password_expires_at =
                policy.age_limit().map(|age| now.saturating_add(age));
            authorization.previous_password = keep.zip(replaced).map(|(keep, hash)| {
                let end = now.saturating_add(keep.time());
                // Nothing makes a password work longer than it would have.
                let ends_at = expires_at.map_or(end, |expires_at| expires_at.min(end));
                let ends_when_new_is_used = keep.ends_when_new_is_used();
                Box::new(PreviousPassword { hash, set_at, ends_at, ends_when_new_is_used })
            });
            Ok(())
        };
        let changed = self.change(current, change, &[]).await?;
        // Failures with the old password no longer slow down logins.
        if let Some(throttle) = &self.engine.0.throttle {
            throttle.clear(changed.0.username.as_str(), self.engine.0.clock.instant());
        }
        Ok(())
    }

    /// Ends the previous password, if there is one. A caller needs write on the user.
    pub(super) async fn end_previous_password(&self, id: AuthorizationId) -> Result<(), Error> {
        let current = self.read(id).await?;
        self.require_write_on_user(&current.0)?;
        self.check_revision(current.1)?;
        if current.0.previous_password.is_none() {
            return Ok(());
        }
        let change = |authorization: &mut Authorization| {
            self.require_write_on_user(authorization)?;
            authorization.previous_password = None;
            Ok(())
        };
        self.change(current, change, &[]).await.map(drop)
    }

    fn require_write_on_user(&self, authorization: &Authorization) -> Result<(), Error> {
        self.require(Permission::write(Resource::user(authorization.user)))
    }

    /// Deletes the authorization. A caller needs write, not read.
    pub(super) async fn delete(&self, id: AuthorizationId) -> Result<(), Error> {
        let require = |authorization: &Authorization, revision| {
            self.require_write(authorization)?;
            self.check_revision(revision)
        };
        match self.engine.remove(id.untyped(), require, &[]).await? {
            true => Ok(()),
            false => Err(not_found()),
        }
    }

    /// Changes the authorization, beginning with what was read, if it meets the precondition.
    async fn change(
        &self,
        current: Current,
        change: impl Fn(&mut Authorization) -> Result<(), Error> + Send + Sync,
        requirements: &[Operation],
    ) -> Result<Current, Error> {
        let change = |authorization: &mut Authorization, revision| {
            change(authorization)?;
            Ok(self.check_revision(revision)?)
        };
        let new_revision = || Ok(self.engine.revision()?);
        let store = &*self.engine.0.store;
        match modify_versioned(store, current, change, requirements, new_revision).await {
            Ok(Some(changed)) => Ok(changed),
            Ok(None) => Err(not_found()),
            Err(WriteError::Store(StoreError::Missing { kind: Kind::Bucket, .. })) => {
                Err(bucket_not_found())
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Engine {
    /// Requires at the commit that a record exists, if records of its kind are in this store.
    fn require(&self, kind: Kind, id: impl Into<Id>) -> Option<Operation> {
        self.0.owns_directory.then(|| Operation::Require { kind, id: id.into() })
    }

    fn require_buckets(&self, permissions: &[Permission]) -> Vec<Operation> {
        buckets(permissions).filter_map(|bucket| self.require(Kind::Bucket, bucket)).collect()
    }

    /// Checks a new password against the rules.
    fn check_new(&self, password: &[u8]) -> Result<Password, Error> {
        let policy = &self.0.policy;
        policy.check_new(password)?;
        let password = policy.normalized(password);
        Password::new(password.into_owned()).map_err(|error| Error::invalid(error.to_string()))
    }
}

/// Checks the permissions themselves. The HTTP API has checked them already; a host may have
/// constructed invalid ones.
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

/// Whether the credential is active and has not expired.
fn is_usable(authorization: &Authorization, now: Timestamp) -> bool {
    let ends = [authorization.expires_at, authorization.password_expires_at];
    authorization.status.is_active() && ends.into_iter().flatten().all(|end| end > now)
}

/// Checks the ends of a change: they must be in the future.
pub(super) fn check_ends(update: &AuthorizationUpdate, now: Timestamp) -> Result<(), Error> {
    check_end("expiresAt", update.expires_at.flatten(), now)?;
    check_end("passwordExpiresAt", update.password_expires_at.flatten(), now)
}

/// Checks that the end with this name is in the future.
pub(super) fn check_end(name: &str, end: Option<Timestamp>, now: Timestamp) -> Result<(), Error> {
    match end {
        Some(end) if end <= now => {
            Err(Error::invalid(format!("invalid {name}: must be in the future")))
        }
        _ => Ok(()),
    }
}

pub(super) fn check_description(description: &str) -> Result<(), Error> {
    match description.len() {
        0..=MAX_DESCRIPTION_BYTES => Ok(()),
        length => Err(Error::invalid(format!(
            "a description must be at most {MAX_DESCRIPTION_BYTES} bytes long, not {length}"
        ))),
    }
}

/// Refuses permissions that name another org than the authorization's.
pub(super) fn refuse_other_orgs(permissions: &[Permission], org: OrgId) -> Result<(), Error> {
    match permissions.iter().find(|p| p.resource.org.is_some_and(|other| other != org)) {
        None => Ok(()),
        Some(other) => Err(Error::invalid(format!("permission {other} is not for org id {org}"))),
    }
}

async fn check_buckets(permissions: &[Permission], names: &mut NameResolver) -> Result<(), Error> {
    for bucket in buckets(permissions) {
        if names.bucket(bucket).await?.is_none() {
            return Err(bucket_not_found());
        }
    }
    Ok(())
}

fn buckets(permissions: &[Permission]) -> impl Iterator<Item = BucketId> {
    permissions
        .iter()
        .filter(|p| p.resource.resource_type == ResourceType::Buckets)
        .filter_map(|p| p.resource.id)
        .map(BucketId::from)
}

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
