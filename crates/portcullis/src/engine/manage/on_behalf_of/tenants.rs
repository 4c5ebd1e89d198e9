//! Orgs, users and buckets for callers.

use super::OnBehalfOf;
#[cfg(doc)]
use crate::ErrorKind;
#[cfg(doc)]
use crate::engine::Engine;
use crate::engine::manage::{Deletion, DeletionPreview, Versioned};
use crate::{
    Bucket, BucketId, BucketUpdate, Error, Name, Org, OrgId, Status, TenantUpdate, User, UserId,
};

impl OnBehalfOf<'_> {
    /// Creates an org. Needs write on all orgs.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`]; otherwise as [`Engine::create_org`].
    pub async fn create_org(&self, name: Name, status: Status) -> Result<Versioned<Org>, Error> {
        self.0.create_org(name, status).await
    }

    /// Changes name or status of an org. Needs write on it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`], whether it exists or not; otherwise as [`Engine::update_org`].
    pub async fn update_org(
        &self,
        id: OrgId,
        update: TenantUpdate,
    ) -> Result<Versioned<Org>, Error> {
        self.0.update_org(id, &update).await
    }

    /// Deletes an org and everything in it. Needs write on the org, and nothing else.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`], whether it exists or not; otherwise as [`Engine::delete_org`].
    pub async fn delete_org(&self, id: OrgId) -> Result<(), Error> {
        self.0.delete_org(id).await
    }

    /// Creates a user. Needs write on all users.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`]; otherwise as [`Engine::create_user`].
    pub async fn create_user(&self, name: Name, status: Status) -> Result<Versioned<User>, Error> {
        self.0.create_user(name, status).await
    }

    /// Changes name or status of a user. Needs write on it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`], whether it exists or not; otherwise as [`Engine::update_user`].
    pub async fn update_user(
        &self,
        id: UserId,
        update: TenantUpdate,
    ) -> Result<Versioned<User>, Error> {
        self.0.update_user(id, &update).await
    }

    /// Deletes a user and all its credentials. Needs write on the user, and nothing else.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`], whether it exists or not; otherwise as [`Engine::delete_user`].
    pub async fn delete_user(&self, id: UserId) -> Result<(), Error> {
        self.0.delete_user(id).await
    }

    /// Creates a bucket. Needs write on all buckets of the org.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`]; otherwise as [`Engine::create_bucket`].
    pub async fn create_bucket(&self, org: OrgId, name: Name) -> Result<Versioned<Bucket>, Error> {
        self.0.create_bucket(org, name).await
    }

    /// Changes a bucket. Needs read and write on it, and for another name also write on all buckets of the
    /// org or on its DBRP mappings: the name decides which database leads to the bucket.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`], also when the caller may not read it; [`ErrorKind::Unauthorized`];
    /// otherwise as [`Engine::update_bucket`].
    pub async fn update_bucket(
        &self,
        id: BucketId,
        update: BucketUpdate,
    ) -> Result<Versioned<Bucket>, Error> {
        self.0.update_bucket(id, &update).await
    }

    /// Deletes a bucket and its DBRP mappings. Needs write on it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`], also when the caller may neither write nor read it;
    /// [`ErrorKind::Unauthorized`]; otherwise as [`Engine::delete_bucket`].
    pub async fn delete_bucket(&self, id: BucketId) -> Result<(), Error> {
        self.0.delete_bucket(id).await
    }

    /// Counts what a deletion would delete, and changes nothing. Needs what the deletion needs.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`]; otherwise as [`Engine::preview_deletion`].
    pub async fn preview_deletion(&self, deletion: Deletion) -> Result<DeletionPreview, Error> {
        self.0.preview_deletion(deletion).await
    }
}
