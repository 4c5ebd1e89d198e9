//! Deleting users and orgs with everything that belongs to them.

use std::num::NonZeroUsize;

use futures_util::StreamExt;

use super::access::Access;
use super::setup::is_recent_setup;
use super::tenants::missing;
#[cfg(doc)]
use crate::ErrorKind;
use crate::directory::log_corrupt;
use crate::engine::Engine;
use crate::store::{
    Batch, DeletedTenant, Entity, Expect, Index, Kind, Operation, StoreError, StoreExt, Tombstone,
    put,
};
use crate::{AuditAction, AuditRecord, Error, Org, OrgId, Permission, Resource, User, UserId};

/// How many records of a deleted user or org are deleted in one commit.
const DELETION_PAGE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(499);

impl Access<'_> {
    /// Deletes a user with its credentials. A caller needs write on it.
    pub(super) async fn delete_user(&self, id: UserId) -> Result<(), Error> {
        let record = AuditRecord::new(Kind::User, id.untyped());
        let work = async {
            self.require(Permission::write(Resource::user(id)))?;
            self.delete_tenant::<User>(id.untyped(), DeletedTenant::User(id)).await
        };
        self.audited(AuditAction::Delete, record, work).await
    }

    /// Deletes an org with everything in it. A caller needs write on it.
    pub(super) async fn delete_org(&self, id: OrgId) -> Result<(), Error> {
        let record = AuditRecord::new(Kind::Org, id.untyped());
        let work = async {
            self.require(Permission::write(Resource::org(id)))?;
            self.delete_tenant::<Org>(id.untyped(), DeletedTenant::Org(id)).await
        };
        self.audited(AuditAction::Delete, record, work).await
    }

    /// Deletes the user or org and records the deletion in the same commit. From then on nothing can
    /// be created for it, and what is left of it can be found.
    async fn delete_tenant<E: Entity>(
        &self,
        id: crate::Id,
        gone: DeletedTenant,
    ) -> Result<(), Error> {
        let engine = self.engine;
        engine.refuse_foreign_directory()?;
        let deletion = Tombstone { id: engine.generate_id()?, gone };
        let tombstone = put(&deletion, engine.revision()?, Expect::Absent)?;
        let check = |_: &E, revision| self.check_revision(revision);
        if !engine.remove(id, check, &[tombstone]).await? {
            return Err(missing(E::KIND));
        }
        engine.finish_deletion(deletion).await
    }
}

impl Engine {
    /// Deletes the user and all its credentials. None of them works once the user is deleted; those
    /// that a crash leaves behind are deleted at the next start.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; otherwise as [`Engine::create_user`].
    pub async fn delete_user(&self, id: UserId) -> Result<(), Error> {
        self.trusted().delete_user(id).await
    }

    /// Deletes the org, its buckets, its DBRP mappings and every credential in it, as [`Engine::delete_user`] does.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; otherwise as [`Engine::create_user`].
    pub async fn delete_org(&self, id: OrgId) -> Result<(), Error> {
        self.trusted().delete_org(id).await
    }

    /// Finishes the deletions that an earlier process began.
    pub(in crate::engine) async fn finish_deletions(&self) -> Result<(), Error> {
        let mut pages = self.0.store.pages(Index::All(Kind::Tombstone), DELETION_PAGE);
        while let Some(page) = pages.next().await {
            for record in page?.records {
                match Tombstone::from_record(&record) {
                    Ok(mark) if is_recent_setup(&mark, self.now()) => {}
                    Ok(deletion) => self.finish_deletion(deletion).await?,
                    Err(error) => log_corrupt(error),
                }
            }
        }
        Ok(())
    }

    async fn finish_deletion(&self, deletion: Tombstone) -> Result<(), Error> {
        // A user or org that an import has restored keeps its records.
        let restored = match deletion.gone {
            DeletedTenant::User(user) => self.0.directory.user(user).await?.is_some(),
            DeletedTenant::Org(org) => self.0.directory.org(org).await?.is_some(),
        };
        let indexes = match deletion.gone {
            _ if restored => vec![],
            DeletedTenant::User(user) => {
                vec![
                    Index::User(Kind::Authorization, user),
                    Index::User(Kind::ApiToken, user),
                    Index::User(Kind::AuthorizationUse, user),
                    Index::User(Kind::ApiTokenUse, user),
                ]
            }
            DeletedTenant::Org(org) => vec![
                Index::Org(Kind::Authorization, org),
                Index::Org(Kind::ApiToken, org),
                Index::Org(Kind::Dbrp, org),
                Index::Org(Kind::Bucket, org),
                Index::Org(Kind::AuthorizationUse, org),
                Index::Org(Kind::ApiTokenUse, org),
            ],
        };
        for index in indexes {
            self.delete_all(index).await?;
        }
        self.remove::<Tombstone>(deletion.id(), |_, _| Ok(()), &[]).await.map(drop)
    }

    /// Deletes the records of the index. This ends: nothing can be created in an index of a deleted
    /// user or org.
    async fn delete_all(&self, index: Index) -> Result<(), Error> {
        loop {
            let mut records = Vec::new();
            let mut pages = self.0.store.pages(index, DELETION_PAGE);
            while records.len() < DELETION_PAGE.get()
                && let Some(page) = pages.next().await
            {
                records.extend(page?.records);
            }
            if records.is_empty() {
                return Ok(());
            }
            let batch: Batch = records
                .iter()
                .map(|record| Operation::Delete {
                    kind: record.kind,
                    id: record.id,
                    expect: record.revision,
                })
                .collect();
            match self.0.store.commit_resolving(batch).await {
                // One of them was changed or deleted meanwhile: read again.
                Ok(()) | Err(StoreError::Conflict { .. } | StoreError::Missing { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
