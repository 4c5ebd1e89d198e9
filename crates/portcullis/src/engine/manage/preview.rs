//! What a deletion would delete, as numbers.

use std::num::NonZeroUsize;

use super::access::Access;
use super::tenants::missing;
#[cfg(doc)]
use crate::ErrorKind;
use crate::directory::log_corrupt;
use crate::engine::Engine;
use crate::store::{Entity, Index, Kind, PageRequest, Record};
use crate::{
    Action, ApiToken, ApiTokenId, AuditAction, AuditRecord, Authorization, AuthorizationId,
    BucketId, DatabaseMappings, DbrpId, Error, GrantKey, Id, OrgId, Permission, Resource,
    ResourceType, UserId,
};

/// How many records are read at a time.
const PAGE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(999);

/// The most records that a preview reads. A deletion of a user with 100,000 credentials is counted in
/// full; counts of a larger one are lower bounds.
const MAX_READ: usize = 250_000;

/// A deletion of a record and of what depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Deletion {
    /// Of the API token.
    ApiToken(ApiTokenId),
    /// Of the authorization.
    Authorization(AuthorizationId),
    /// Of the bucket and its DBRP mappings.
    Bucket(BucketId),
    /// Of the DBRP mapping of the org.
    Dbrp(OrgId, DbrpId),
    /// Of the org and everything in it.
    Org(OrgId),
    /// Of the user and its credentials.
    User(UserId),
}

/// What a [`Deletion`] would delete. Nothing is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeletionPreview {
    /// How many authorizations would be deleted.
    pub authorizations: u64,
    /// How many API tokens would be deleted.
    pub api_tokens: u64,
    /// How many buckets would be deleted.
    pub buckets: u64,
    /// How many DBRP mappings would be deleted. Virtual ones are not counted.
    pub dbrps: u64,
    /// How many permissions of other credentials name what would be deleted. They stay, and would allow
    /// nothing.
    pub grants: u64,
    /// Whether everything was counted. If not, there is more than about 250,000 records to read, and the
    /// counts are lower bounds.
    pub is_complete: bool,
}

impl Engine {
    /// Counts what the deletion would delete, and changes nothing. The records are read page by page, so
    /// the counts may be of different moments.
    ///
    /// # Errors
    ///
    /// Those of the deletion, apart from those of a change: [`ErrorKind::NotFound`];
    /// [`ErrorKind::Invalid`] for a virtual DBRP mapping and for users, orgs and buckets of the host's
    /// directory; [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn preview_deletion(&self, deletion: Deletion) -> Result<DeletionPreview, Error> {
        self.trusted().preview_deletion(deletion).await
    }
}

impl Access<'_> {
    /// Counts what the deletion would delete. A caller needs what the deletion needs.
    pub(super) async fn preview_deletion(
        &self,
        deletion: Deletion,
    ) -> Result<DeletionPreview, Error> {
        let count = self.count(deletion).await;
        if count.is_err() {
            let (kind, id) = match deletion {
                Deletion::ApiToken(id) => (Kind::ApiToken, id.untyped()),
                Deletion::Authorization(id) => (Kind::Authorization, id.untyped()),
                Deletion::Bucket(id) => (Kind::Bucket, id.untyped()),
                Deletion::Dbrp(_, id) => (Kind::Dbrp, id.untyped()),
                Deletion::Org(id) => (Kind::Org, id.untyped()),
                Deletion::User(id) => (Kind::User, id.untyped()),
            };
            self.report_result(AuditAction::Read, AuditRecord::new(kind, id), &count);
        }
        count
    }

    async fn count(&self, deletion: Deletion) -> Result<DeletionPreview, Error> {
        let mut counter = Counter::new(self.engine);
        match deletion {
            Deletion::ApiToken(id) => {
                let (token, _) = self.read_token(id).await?;
                self.require_on_token(Action::Write, &token)?;
                counter.preview.api_tokens = 1;
                counter
                    .count_grants(Named::Resource(ResourceType::Authorizations, id.untyped()))
                    .await?;
            }
            Deletion::Authorization(id) => {
                let found = self.engine.authorization(id).await?;
                let authorization = found.ok_or_else(super::authorizations::not_found)?;
                self.require_write(&authorization)?;
                counter.preview.authorizations = 1;
                counter
                    .count_grants(Named::Resource(ResourceType::Authorizations, id.untyped()))
                    .await?;
            }
            Deletion::Bucket(id) => {
                self.deletable_bucket(id).await?;
                self.engine.refuse_foreign_directory()?;
                counter.preview.buckets = 1;
                let key = DatabaseMappings::grant_key_of_bucket(id);
                for (mappings, _) in self.engine.mappings_in(Index::Grant(Kind::Dbrp, key)).await? {
                    let of_bucket = mappings.mappings().filter(|mapping| mapping.bucket == id);
                    counter.preview.dbrps += of_bucket.count() as u64;
                }
                counter.count_grants(Named::Resource(ResourceType::Buckets, id.untyped())).await?;
            }
            Deletion::Dbrp(org, id) => {
                self.changeable_dbrp(org, id).await?;
                counter.preview.dbrps = 1;
            }
            Deletion::Org(id) => {
                self.require(Permission::write(Resource::org(id)))?;
                self.engine.refuse_foreign_directory()?;
                self.engine.directory().org(id).await?.ok_or_else(|| missing(Kind::Org))?;
                counter.count_org(id).await?;
            }
            Deletion::User(id) => {
                self.require(Permission::write(Resource::user(id)))?;
                self.engine.refuse_foreign_directory()?;
                self.engine.directory().user(id).await?.ok_or_else(|| missing(Kind::User))?;
                counter.count_user(id).await?;
            }
        }
        Ok(counter.preview)
    }
}

/// What permissions of other credentials may name.
#[derive(Clone, Copy)]
enum Named {
    /// A resource, by its id.
    Resource(ResourceType, Id),
    /// An org: by its id, or as that of resources.
    Org(OrgId),
    /// A user, by its id.
    User(UserId),
}

impl Named {
    /// Tells whether the permission names it.
    fn is_in(self, permission: &Permission) -> bool {
        let Resource { resource_type, id, org } = permission.resource;
        match self {
            Self::Resource(of_type, of_id) => resource_type == of_type && id == Some(of_id),
            Self::Org(of) => {
                org == Some(of) || resource_type == ResourceType::Orgs && id == Some(of.untyped())
            }
            Self::User(of) => resource_type == ResourceType::Users && id == Some(of.untyped()),
        }
    }

    /// Tells whether a credential of the user and org is deleted with it.
    fn takes_along(self, user: UserId, org: OrgId) -> bool {
        match self {
            Self::Resource(..) => false,
            Self::Org(of) => of == org,
            Self::User(of) => of == user,
        }
    }

    /// Returns the keys under which authorizations are listed that name it. A permission on one resource
    /// of an org is listed by that resource alone, and not under the org.
    fn keys(self) -> Vec<GrantKey> {
        let resources: Vec<Resource> = match self {
            Self::Resource(of_type, id) => vec![Resource::all(of_type).with_id(id)],
            Self::Org(org) => ResourceType::ALL
                .into_iter()
                .filter(|of_type| *of_type != ResourceType::Instance)
                .map(|of_type| Resource::all(of_type).in_org(org))
                .chain([Resource::org(org)])
                .collect(),
            Self::User(user) => vec![Resource::user(user)],
        };
        let both = |resource| Action::ALL.map(|action| Permission::new(action, resource));
        resources.into_iter().flat_map(both).map(GrantKey::of).collect()
    }
}

/// Counts records, up to a bound.
struct Counter<'a> {
    engine: &'a Engine,
    preview: DeletionPreview,
    /// How many more records may be read.
    left: usize,
}

impl<'a> Counter<'a> {
    fn new(engine: &'a Engine) -> Self {
        let preview = DeletionPreview { is_complete: true, ..DeletionPreview::default() };
        Self { engine, preview, left: MAX_READ }
    }

    async fn count_org(&mut self, org: OrgId) -> Result<(), Error> {
        self.preview.authorizations = self.number_in(Index::Org(Kind::Authorization, org)).await?;
        self.preview.api_tokens = self.number_in(Index::Org(Kind::ApiToken, org)).await?;
        self.preview.buckets = self.number_in(Index::Org(Kind::Bucket, org)).await?;
        let mut dbrps = 0;
        let add = |record: &Record| match DatabaseMappings::from_record(record) {
            Ok(mappings) => dbrps += mappings.mappings().count() as u64,
            Err(error) => log_corrupt(error),
        };
        self.for_each(Index::Org(Kind::Dbrp, org), add).await?;
        self.preview.dbrps = dbrps;
        self.count_grants(Named::Org(org)).await
    }

    async fn count_user(&mut self, user: UserId) -> Result<(), Error> {
        self.preview.authorizations =
            self.number_in(Index::User(Kind::Authorization, user)).await?;
        self.preview.api_tokens = self.number_in(Index::User(Kind::ApiToken, user)).await?;
        self.count_grants(Named::User(user)).await
    }

    /// Counts the permissions of other credentials that name what is deleted. Authorizations are listed by
    /// what they are granted; API tokens are few, and read in full.
    async fn count_grants(&mut self, named: Named) -> Result<(), Error> {
        let mut grants = 0;
        for key in named.keys() {
            let add = |record: &Record| match Authorization::from_record(record) {
                Ok(authorization) if named.takes_along(authorization.user, authorization.org) => {}
                Ok(authorization) => {
                    let of_key = |held: &&Permission| GrantKey::of(**held) == key;
                    grants += authorization.permissions.iter().filter(of_key).count() as u64;
                }
                Err(error) => log_corrupt(error),
            };
            self.for_each(Index::Grant(Kind::Authorization, key), add).await?;
        }
        let add = |record: &Record| match ApiToken::from_record(record) {
            Ok(token) if named.takes_along(token.user, token.org) => {}
            Ok(token) => {
                let names_it = |held: &&Permission| named.is_in(held);
                grants += token.permissions.iter().filter(names_it).count() as u64;
            }
            Err(error) => log_corrupt(error),
        };
        self.for_each(Index::All(Kind::ApiToken), add).await?;
        self.preview.grants = grants;
        Ok(())
    }

    async fn number_in(&mut self, index: Index) -> Result<u64, Error> {
        let mut number = 0;
        self.for_each(index, |_| number += 1).await?;
        Ok(number)
    }

    /// Calls `each` for the records of the index, as long as more may be read.
    async fn for_each(
        &mut self,
        index: Index,
        mut each: impl FnMut(&Record) + Send,
    ) -> Result<(), Error> {
        let mut after = None;
        loop {
            if self.left == 0 {
                self.preview.is_complete = false;
                return Ok(());
            }
            let limit = PAGE.min(NonZeroUsize::new(self.left).unwrap_or(PAGE));
            let page = self.engine.store().list(index, PageRequest { after, limit }).await?;
            self.left = self.left.saturating_sub(page.records.len());
            page.records.iter().for_each(&mut each);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
            // Lets other tasks run, even if every read is ready at once.
            tokio::task::yield_now().await;
        }
    }
}
