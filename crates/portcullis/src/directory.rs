//! Directories: where the engine looks up users, orgs and buckets.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::sync::Arc;

use async_trait::async_trait;

use crate::store::{Entity, Index, PageRequest, Store, StoreExt};
use crate::{Bucket, BucketId, Error, ErrorKind, Id, Org, OrgId, User, UserId};

/// Looks up users, orgs and buckets.
///
/// By default they are records in the engine's own store. A server that has users and orgs of its
/// own implements this. A name or an id that does not exist is `None`, never an error. After an
/// error, the engine refuses the request.
///
/// Lists are ascending by id and begin after the given one; an empty list is the end.
#[async_trait]
pub trait Directory: Debug + Send + Sync + 'static {
    /// Returns the user with the id.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) or
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal); the same for all methods.
    async fn user(&self, id: UserId) -> Result<Option<User>, Error>;

    /// Returns the user with the name, compared byte by byte.
    async fn user_by_name(&self, name: &str) -> Result<Option<User>, Error>;

    /// Returns at most `limit` users.
    async fn users(&self, after: Option<UserId>, limit: NonZeroUsize) -> Result<Vec<User>, Error>;

    /// Returns the org with the id.
    async fn org(&self, id: OrgId) -> Result<Option<Org>, Error>;

    /// Returns the org with the name, compared byte by byte.
    async fn org_by_name(&self, name: &str) -> Result<Option<Org>, Error>;

    /// Returns at most `limit` orgs.
    async fn orgs(&self, after: Option<OrgId>, limit: NonZeroUsize) -> Result<Vec<Org>, Error>;

    /// Returns the bucket with the id.
    async fn bucket(&self, id: BucketId) -> Result<Option<Bucket>, Error>;

    /// Returns the bucket with the name in the org, compared byte by byte.
    async fn bucket_by_name(&self, org: OrgId, name: &str) -> Result<Option<Bucket>, Error>;

    /// Returns at most `limit` buckets, of one org or of all.
    async fn buckets(
        &self,
        org: Option<OrgId>,
        after: Option<BucketId>,
        limit: NonZeroUsize,
    ) -> Result<Vec<Bucket>, Error>;
}

/// A host's directory. The messages of its errors are for the log; clients receive the engine's own.
#[derive(Debug)]
pub(crate) struct HostDirectory<D>(pub(crate) D);

fn as_engine_error(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Unavailable | ErrorKind::TooManyRequests => Error::unavailable(error),
        _ => Error::internal(error),
    }
}

#[async_trait]
impl<D: Directory> Directory for HostDirectory<D> {
    async fn user(&self, id: UserId) -> Result<Option<User>, Error> {
        self.0.user(id).await.map_err(as_engine_error)
    }

    async fn user_by_name(&self, name: &str) -> Result<Option<User>, Error> {
        self.0.user_by_name(name).await.map_err(as_engine_error)
    }

    async fn users(&self, after: Option<UserId>, limit: NonZeroUsize) -> Result<Vec<User>, Error> {
        self.0.users(after, limit).await.map_err(as_engine_error)
    }

    async fn org(&self, id: OrgId) -> Result<Option<Org>, Error> {
        self.0.org(id).await.map_err(as_engine_error)
    }

    async fn org_by_name(&self, name: &str) -> Result<Option<Org>, Error> {
        self.0.org_by_name(name).await.map_err(as_engine_error)
    }

    async fn orgs(&self, after: Option<OrgId>, limit: NonZeroUsize) -> Result<Vec<Org>, Error> {
        self.0.orgs(after, limit).await.map_err(as_engine_error)
    }

    async fn bucket(&self, id: BucketId) -> Result<Option<Bucket>, Error> {
        self.0.bucket(id).await.map_err(as_engine_error)
    }

    async fn bucket_by_name(&self, org: OrgId, name: &str) -> Result<Option<Bucket>, Error> {
        self.0.bucket_by_name(org, name).await.map_err(as_engine_error)
    }

    async fn buckets(
        &self,
        org: Option<OrgId>,
        after: Option<BucketId>,
        limit: NonZeroUsize,
    ) -> Result<Vec<Bucket>, Error> {
        self.0.buckets(org, after, limit).await.map_err(as_engine_error)
    }
}

/// Users, orgs and buckets as records of a store.
#[derive(Debug)]
pub(crate) struct StoreDirectory {
    store: Arc<dyn Store>,
}

impl StoreDirectory {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    async fn by_id<E: Entity>(&self, id: Id) -> Result<Option<E>, Error> {
        Ok(self.store.find(id).await?.map(|(entity, _)| entity))
    }

    async fn by_key<E: Entity>(&self, key: &str) -> Result<Option<E>, Error> {
        Ok(self.store.find_by_key(key).await?.map(|(entity, _)| entity))
    }
}

/// Returns the next `limit` entities, or fewer at the end. Unreadable records are left out.
pub(crate) async fn next_entities<E: Entity>(
    store: &dyn Store,
    index: Index,
    mut after: Option<Id>,
    limit: NonZeroUsize,
) -> Result<Vec<E>, Error> {
    let mut found = Vec::new();
    while let Some(limit) = NonZeroUsize::new(limit.get() - found.len()) {
        let page = store.list(index, PageRequest { after, limit }).await?;
        let records = page.records.iter();
        found.extend(records.filter_map(|record| E::from_record(record).map_err(log_corrupt).ok()));
        if page.next.is_none() {
            break;
        }
        after = page.next;
    }
    Ok(found)
}

/// Logs a record that is left out because it cannot be read.
pub(crate) fn log_corrupt(error: crate::store::StoreError) {
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    tracing::error!(cause, "{error}, and is left out");
}

#[async_trait]
impl Directory for StoreDirectory {
    async fn user(&self, id: UserId) -> Result<Option<User>, Error> {
        self.by_id(id.untyped()).await
    }

    async fn user_by_name(&self, name: &str) -> Result<Option<User>, Error> {
        self.by_key(name).await
    }

    async fn users(&self, after: Option<UserId>, limit: NonZeroUsize) -> Result<Vec<User>, Error> {
        next_entities(&*self.store, Index::All(User::KIND), after.map(UserId::untyped), limit).await
    }

    async fn org(&self, id: OrgId) -> Result<Option<Org>, Error> {
        self.by_id(id.untyped()).await
    }

    async fn org_by_name(&self, name: &str) -> Result<Option<Org>, Error> {
        self.by_key(name).await
    }

    async fn orgs(&self, after: Option<OrgId>, limit: NonZeroUsize) -> Result<Vec<Org>, Error> {
        next_entities(&*self.store, Index::All(Org::KIND), after.map(OrgId::untyped), limit).await
    }

    async fn bucket(&self, id: BucketId) -> Result<Option<Bucket>, Error> {
        self.by_id(id.untyped()).await
    }

    async fn bucket_by_name(&self, org: OrgId, name: &str) -> Result<Option<Bucket>, Error> {
        self.by_key(&Bucket::key_of(org, name)).await
    }

    async fn buckets(
        &self,
        org: Option<OrgId>,
        after: Option<BucketId>,
        limit: NonZeroUsize,
    ) -> Result<Vec<Bucket>, Error> {
        let index = match org {
            Some(org) => Index::Org(Bucket::KIND, org),
            None => Index::All(Bucket::KIND),
        };
        next_entities(&*self.store, index, after.map(BucketId::untyped), limit).await
    }
}

/// A directory that never changes, for hosts with few users and orgs, and for tests.
#[derive(Clone, Debug, Default)]
pub struct StaticDirectory {
    users: BTreeMap<UserId, User>,
    orgs: BTreeMap<OrgId, Org>,
    buckets: BTreeMap<BucketId, Bucket>,
}

impl StaticDirectory {
    /// Makes an empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the user, or replaces the one with the same id.
    #[must_use]
    pub fn with_user(mut self, user: User) -> Self {
        self.users.insert(user.id, user);
        self
    }

    /// Adds the org, or replaces the one with the same id.
    #[must_use]
    pub fn with_org(mut self, org: Org) -> Self {
        self.orgs.insert(org.id, org);
        self
    }

    /// Adds the bucket, or replaces the one with the same id.
    #[must_use]
    pub fn with_bucket(mut self, bucket: Bucket) -> Self {
        self.buckets.insert(bucket.id, bucket);
        self
    }
}

fn after<K: Ord, T: Clone>(map: &BTreeMap<K, T>, after: Option<K>) -> impl Iterator<Item = T> {
    use std::ops::Bound::{Excluded, Unbounded};

    map.range((after.map_or(Unbounded, Excluded), Unbounded)).map(|(_, value)| value.clone())
}

#[async_trait]
impl Directory for StaticDirectory {
    async fn user(&self, id: UserId) -> Result<Option<User>, Error> {
        Ok(self.users.get(&id).cloned())
    }

    async fn user_by_name(&self, name: &str) -> Result<Option<User>, Error> {
        Ok(self.users.values().find(|user| user.name.as_str() == name).cloned())
    }

    async fn users(&self, from: Option<UserId>, limit: NonZeroUsize) -> Result<Vec<User>, Error> {
        Ok(after(&self.users, from).take(limit.get()).collect())
    }

    async fn org(&self, id: OrgId) -> Result<Option<Org>, Error> {
        Ok(self.orgs.get(&id).cloned())
    }

    async fn org_by_name(&self, name: &str) -> Result<Option<Org>, Error> {
        Ok(self.orgs.values().find(|org| org.name.as_str() == name).cloned())
    }

    async fn orgs(&self, from: Option<OrgId>, limit: NonZeroUsize) -> Result<Vec<Org>, Error> {
        Ok(after(&self.orgs, from).take(limit.get()).collect())
    }

    async fn bucket(&self, id: BucketId) -> Result<Option<Bucket>, Error> {
        Ok(self.buckets.get(&id).cloned())
    }

    async fn bucket_by_name(&self, org: OrgId, name: &str) -> Result<Option<Bucket>, Error> {
        let is_it = |bucket: &&Bucket| bucket.org == org && bucket.name.as_str() == name;
        Ok(self.buckets.values().find(is_it).cloned())
    }

    async fn buckets(
        &self,
        org: Option<OrgId>,
        from: Option<BucketId>,
        limit: NonZeroUsize,
    ) -> Result<Vec<Bucket>, Error> {
        let in_org = |bucket: &Bucket| org.is_none_or(|org| bucket.org == org);
        Ok(after(&self.buckets, from).filter(in_org).take(limit.get()).collect())
    }
}
