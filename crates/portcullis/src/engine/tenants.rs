//! Managing users, orgs and buckets, where they are records of the engine's own store.

use std::num::NonZeroUsize;

use futures_util::StreamExt;

use super::Engine;
use super::records::WriteError;
use super::report::By;
use crate::directory::log_corrupt;
use crate::store::{
    Batch, Deletion, Entity, Expect, Gone, Index, Kind, Modified, Operation, PageRequest,
    StoreError, StoreExt, Taken, put,
};
use crate::{
    AuditAction, AuditRecord, Authorization, Bucket, BucketId, Error, ErrorKind, Name, Org, OrgId,
    Status, User, UserId,
};

/// How many credentials of a user or org that is gone are deleted in one commit.
const DELETION_PAGE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(499);

pub(super) fn taken(kind: Kind, name: &Name) -> Error {
    Error::new(ErrorKind::Conflict, format!("{kind} with name {name} already exists"))
}

fn missing(kind: Kind) -> Error {
    Error::not_found(format!("{kind} not found"))
}

impl Engine {
    /// Creates a user, active.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`] when the name is taken; [`ErrorKind::Invalid`] when the engine has
    /// a directory of the host's; [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`]. So for
    /// orgs and buckets.
    pub async fn create_user(&self, name: Name) -> Result<User, Error> {
        let user =
            |id: crate::Id| User { id: id.into(), name: name.clone(), status: Status::Active };
        self.create_tenant(user, &name, &[]).await
    }

    /// Creates an org, active.
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
                    taken: Taken::UniqueKey,
                    kind,
                    ..
                }) => taken(kind, name),
                WriteError::Store(StoreError::Missing { kind, .. }) => missing(kind),
                error => error.into(),
            })
        };
        self.audited(By::HOST, AuditAction::Create, record, |made: &E| Some(made.id()), work).await
    }

    /// Switches the user on or off, and so every credential of theirs.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; otherwise as [`Engine::create_user`].
    pub async fn set_user_status(&self, id: UserId, status: Status) -> Result<User, Error> {
        let record = AuditRecord::new(Kind::User, id.untyped());
        let work = async {
            self.change_tenant(id.untyped(), |user: &mut User| user.status = status).await
        };
        self.audited(By::HOST, AuditAction::Update, record, |_| None, work).await
    }

    /// Switches the org on or off, and so every credential in it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; otherwise as [`Engine::create_user`].
    pub async fn set_org_status(&self, id: OrgId, status: Status) -> Result<Org, Error> {
        let record = AuditRecord::new(Kind::Org, id.untyped());
        let work =
            async { self.change_tenant(id.untyped(), |org: &mut Org| org.status = status).await };
        self.audited(By::HOST, AuditAction::Update, record, |_| None, work).await
    }

    async fn change_tenant<E: Entity>(
        &self,
        id: crate::Id,
        mut change: impl FnMut(&mut E) + Send,
    ) -> Result<E, Error> {
        self.refuse_foreign_directory()?;
        let change = |entity: &mut E| {
            change(entity);
            Ok::<_, Error>(())
        };
        match self.0.store.modify(id, change, &[], || self.revision()).await? {
            Modified::Done(entity) => Ok(entity),
            Modified::Missing => Err(missing(E::KIND)),
        }
    }

    /// Deletes the user and every credential of theirs. None of these works from the moment the
    /// user is gone; those that a crash leaves behind are deleted at the next start.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; otherwise as [`Engine::create_user`].
    pub async fn delete_user(&self, id: UserId) -> Result<(), Error> {
        let record = AuditRecord::new(Kind::User, id.untyped());
        let work = async { self.delete_tenant::<User>(id.untyped(), Gone::User(id)).await };
        self.audited(By::HOST, AuditAction::Delete, record, |_| None, work).await
    }

    /// Deletes the org, its buckets and every credential in it, as [`Engine::delete_user`] does.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; otherwise as [`Engine::create_user`].
    pub async fn delete_org(&self, id: OrgId) -> Result<(), Error> {
        let record = AuditRecord::new(Kind::Org, id.untyped());
        let work = async { self.delete_tenant::<Org>(id.untyped(), Gone::Org(id)).await };
        self.audited(By::HOST, AuditAction::Delete, record, |_| None, work).await
    }

    /// Deletes the bucket. Permissions that name it stay and reach nothing: its id is never used
    /// again.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; otherwise as [`Engine::create_user`].
    pub async fn delete_bucket(&self, id: BucketId) -> Result<(), Error> {
        let record = AuditRecord::new(Kind::Bucket, id.untyped());
        let work = async {
            self.refuse_foreign_directory()?;
            match self.remove::<Bucket>(id.untyped(), |_| Ok(()), &[]).await? {
                true => Ok(()),
                false => Err(missing(Kind::Bucket)),
            }
        };
        self.audited(By::HOST, AuditAction::Delete, record, |_| None, work).await
    }

    /// The user or org goes and its deletion is remembered in one commit: from then on nothing
    /// can be created for it, and what is left can be found again.
    async fn delete_tenant<E: Entity>(&self, id: crate::Id, gone: Gone) -> Result<(), Error> {
        self.refuse_foreign_directory()?;
        let deletion = Deletion { id: self.draw_id()?, gone };
        let remember = put(&deletion, self.revision()?, Expect::Absent)?;
        if !self.remove::<E>(id, |_| Ok(()), &[remember]).await? {
            return Err(missing(E::KIND));
        }
        self.finish_deletion(deletion).await
    }

    /// Finishes the deletions that were begun and not ended.
    pub(super) async fn finish_deletions(&self) -> Result<(), Error> {
        let mut pages = self.0.store.pages(Index::All(Kind::Deletion), DELETION_PAGE);
        while let Some(page) = pages.next().await {
            for record in page?.records {
                match Deletion::from_record(&record) {
                    Ok(deletion) => self.finish_deletion(deletion).await?,
                    Err(error) => log_corrupt(error),
                }
            }
        }
        Ok(())
    }

    async fn finish_deletion(&self, deletion: Deletion) -> Result<(), Error> {
        // One that an import has brought back keeps what it has.
        let returned = match deletion.gone {
            Gone::User(user) => self.0.directory.user(user).await?.is_some(),
            Gone::Org(org) => self.0.directory.org(org).await?.is_some(),
        };
        let indexes = match deletion.gone {
            _ if returned => vec![],
            Gone::User(user) => {
                vec![Index::User(Kind::Authorization, user), Index::User(Kind::ApiToken, user)]
            }
            Gone::Org(org) => vec![
                Index::Org(Kind::Authorization, org),
                Index::Org(Kind::ApiToken, org),
                Index::Org(Kind::Bucket, org),
            ],
        };
        for index in indexes {
            self.delete_all(index).await?;
        }
        self.remove::<Deletion>(deletion.id(), |_| Ok(()), &[]).await.map(drop)
    }

    /// Deletes the records of the index. It ends: nothing new can come into an index of a user or
    /// org that is gone.
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
                // Somebody else changed or deleted one of them: look again.
                Ok(()) | Err(StoreError::Conflict { .. } | StoreError::Missing { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn refuse_foreign_directory(&self) -> Result<(), Error> {
        if self.0.owns_directory {
            return Ok(());
        }
        Err(Error::invalid("users, organizations and buckets are managed by the embedding server"))
    }

    /// Returns the user that a text names: by id if it is one and there is such a user, else by
    /// name.
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

    /// Returns the org that a text names: by id if it is one and there is such an org, else by
    /// name.
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

    /// Returns the bucket of the org that a text names: by id if it is one and the org has such a
    /// bucket, else by name.
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

    /// Tells whether the store holds anything that somebody set up: an org, a user, an API token
    /// or an authorization, be it one that cannot be read.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn is_set_up(&self) -> Result<bool, Error> {
        let one = PageRequest { after: None, limit: NonZeroUsize::MIN };
        for kind in [Kind::Org, Kind::User, Kind::ApiToken, Authorization::KIND] {
            let page = self.0.store.list(Index::All(kind), one).await?;
            if !page.records.is_empty() || page.unreadable > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
