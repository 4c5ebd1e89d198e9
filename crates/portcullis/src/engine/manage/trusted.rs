//! Managing authorizations for the embedding program: no caller's permissions are checked.

use super::authorizations::check_permissions;
#[cfg(doc)]
use crate::ErrorKind;
use crate::engine::Engine;
use crate::password::PasswordHash;
use crate::store::{Kind, StoreExt};
use crate::{
    AuditAction, AuditRecord, Authorization, AuthorizationId, AuthorizationUpdate, Error,
    KeepPrevious, NewAuthorization, Permission,
};

impl Engine {
    /// Creates an authorization, without a password. A user must be [named](
    /// NewAuthorization::for_user).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] for what the record itself has wrong and
    /// for a user or org that does not exist, [`ErrorKind::Forbidden`]
    /// for a grant on the instance, [`ErrorKind::Conflict`] for a
    /// username that is taken, [`ErrorKind::NotFound`] for a bucket
    /// that does not exist; [`ErrorKind::Unavailable`] and
    /// [`ErrorKind::Internal`].
    pub async fn create_authorization(
        &self,
        new: NewAuthorization,
    ) -> Result<Authorization, Error> {
        let name = new.username.clone();
        let record = AuditRecord::named(Kind::Authorization, name.as_str());
        let access = self.trusted();
        let work = async {
            let user = access.check_creation(&new, &mut self.name_resolver()).await?;
            Ok(access.insert_checked(new, user).await?.0)
        };
        access.audited(AuditAction::Create, record, work).await
    }

    /// Returns the authorization with the id.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`];
    /// [`ErrorKind::Internal`], also when it cannot be read.
    pub async fn authorization(&self, id: AuthorizationId) -> Result<Option<Authorization>, Error> {
        Ok(self.0.store.find(id.untyped()).await?.map(|(authorization, _)| authorization))
    }

    /// Returns the authorization with the username, byte by byte.
    ///
    /// # Errors
    ///
    /// As [`Engine::authorization`].
    pub async fn authorization_by_username(
        &self,
        username: &str,
    ) -> Result<Option<Authorization>, Error> {
        Ok(self.0.store.find_by_key(username).await?.map(|(authorization, _)| authorization))
    }

    /// Changes status or description, and always the time of the last update.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`];
    /// [`ErrorKind::Invalid`] for a description that is too long;
    /// [`ErrorKind::Unavailable`] and
    /// [`ErrorKind::Internal`].
    pub async fn update_authorization(
        &self,
        id: AuthorizationId,
        update: AuthorizationUpdate,
    ) -> Result<Authorization, Error> {
        let record = AuditRecord::new(Kind::Authorization, id.untyped());
        let access = self.trusted();
        let work = async {
            let current = access.read_for_change(id).await?;
            Ok(access.update(current, &update).await?.0)
        };
        access.audited(AuditAction::Update, record, work).await
    }

    /// Replaces the permissions.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] for an authorization or a bucket that
    /// does not exist, [`ErrorKind::Invalid`] and
    /// [`ErrorKind::Forbidden`] as for
    /// [`Engine::create_authorization`]; [`ErrorKind::Unavailable`]
    /// and [`ErrorKind::Internal`].
    pub async fn set_permissions(
        &self,
        id: AuthorizationId,
        permissions: Vec<Permission>,
    ) -> Result<Authorization, Error> {
        let record = AuditRecord::new(Kind::Authorization, id.untyped());
        let access = self.trusted();
        let work = async {
            check_permissions(&permissions)?;
            let current = access.read_for_change(id).await?;
            let org = current.0.org;
            access.check_new_permissions(&permissions, org, &mut self.name_resolver()).await?;
            Ok(access.replace_permissions(current, &permissions).await?.0)
        };
        access.audited(AuditAction::SetPermissions, record, work).await
    }

    /// Sets the password. The old one no longer works once this has returned.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] with what the password lacks;
    /// [`ErrorKind::NotFound`];
    /// [`ErrorKind::Unavailable`], also when too many are hashed at
    /// once, and [`ErrorKind::Internal`].
    pub async fn set_password(
        &self,
        id: AuthorizationId,
        password: impl AsRef<[u8]> + Send + Sync,
    ) -> Result<(), Error> {
        let record = AuditRecord::new(Kind::Authorization, id.untyped());
        let access = self.trusted();
        let work = access.set_password(id, password.as_ref(), None);
        access.audited(AuditAction::SetPassword, record, work).await
    }

    /// Sets the hash of the password, such as one from another program. The old password no longer works
    /// once this has returned. The [rules](crate::password::PasswordPolicy) for new passwords cannot apply:
    /// a hash does not show what it is of.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`];
    /// [`ErrorKind::Unavailable`] and
    /// [`ErrorKind::Internal`].
    pub async fn set_password_hash(
        &self,
        id: AuthorizationId,
        hash: PasswordHash,
    ) -> Result<(), Error> {
        let record = AuditRecord::new(Kind::Authorization, id.untyped());
        let access = self.trusted();
        access.audited(AuditAction::SetPassword, record, access.set_password_hash(id, &hash)).await
    }

    /// Sets the password, and keeps the previous one working for a time: a rotation without a gap. There
    /// are never more than two: a previous password that is still kept ends at once.
    ///
    /// Until its end, the previous password logs in like the new one. If none was set before, this is the
    /// same as [`Engine::set_password`], which ends a previous password at once.
    ///
    /// # Errors
    ///
    /// Those of [`Engine::set_password`].
    pub async fn rotate_password(
        &self,
        id: AuthorizationId,
        password: impl AsRef<[u8]> + Send + Sync,
        keep: KeepPrevious,
    ) -> Result<(), Error> {
        let record = AuditRecord::new(Kind::Authorization, id.untyped());
        let access = self.trusted();
        let work = access.set_password(id, password.as_ref(), Some(keep));
        access.audited(AuditAction::RotatePassword, record, work).await
    }

    /// Ends the previous password of a rotation before its time. Without one, nothing is changed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`];
    /// [`ErrorKind::Unavailable`] and
    /// [`ErrorKind::Internal`].
    pub async fn end_previous_password(&self, id: AuthorizationId) -> Result<(), Error> {
        let record = AuditRecord::new(Kind::Authorization, id.untyped());
        let access = self.trusted();
        let work = access.end_previous_password(id);
        access.audited(AuditAction::EndPreviousPassword, record, work).await
    }

    /// Deletes the authorization; its username is free again.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`];
    /// [`ErrorKind::Unavailable`] and
    /// [`ErrorKind::Internal`].
    pub async fn delete_authorization(&self, id: AuthorizationId) -> Result<(), Error> {
        let record = AuditRecord::new(Kind::Authorization, id.untyped());
        let access = self.trusted();
        access.audited(AuditAction::Delete, record, access.delete(id)).await
    }
}
