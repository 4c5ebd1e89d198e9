//! Who and what authorizations refer to: users, orgs, buckets, and where they are known.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::sync::Arc;

use async_trait::async_trait;

use crate::store::{Entity, Index, PageRequest, Store, StoreExt};
use crate::{Bucket, BucketId, Error, ErrorKind, Id, Org, OrgId, User, UserId};

/// Knows users, orgs and buckets.
///
/// By default they are records in the engine's own store. A server that has its own implements
/// this. A name or an id that does not exist is `None`, never an error; an error means that
/// nothing is known, and whoever asks is refused.
///
/// Lists are ascending by id and begin after the given one; an empty list is the end.
#[async_trait]
pub trait Directory: Debug + Send + Sync + 'static {
    /// Returns the user with the id.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) or
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal); so for all of them.
    async fn user(&self, id: UserId) -> Result<Option<User>, Error>;

    /// Returns the user with the name, compared byte by byte.
    async fn user_by_name(&self, name: &str) -> Result<Option<User>, Error>;

    /// Returns at most so many users.
    async fn users(&self, after: Option<UserId>, limit: NonZeroUsize) -> Result<Vec<User>, Error>;

    /// Returns the org with the id.
    async fn org(&self, id: OrgId) -> Result<Option<Org>, Error>;

    /// Returns the org with the name, compared byte by byte.
    async fn org_by_name(&self, name: &str) -> Result<Option<Org>, Error>;

    /// Returns at most so many orgs.
    async fn orgs(&self, after: Option<OrgId>, limit: NonZeroUsize) -> Result<Vec<Org>, Error>;

    /// Returns the bucket with the id.
    async fn bucket(&self, id: BucketId) -> Result<Option<Bucket>, Error>;

    /// Returns the bucket with the name in the org, compared byte by byte.
    async fn bucket_by_name(&self, org: OrgId, name: &str) -> Result<Option<Bucket>, Error>;

    /// Returns at most so many buckets, of one org or of all.
    async fn buckets(
        &self,
        org: Option<OrgId>,
        after: Option<BucketId>,
        limit: NonZeroUsize,
    ) -> Result<Vec<Bucket>, Error>;
}

/// A host's directory. What it says of its failures is for the log: clients are told in our words.
#[derive(Debug)]
pub(crate) struct HostDirectory<D>(pub(crate) D);

fn in_our_words(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Unavailable | ErrorKind::TooManyRequests => Error::unavailable(error),
        _ => Error::internal(error),
    }
}

#[async_trait]
impl<D: Directory> Directory for HostDirectory<D> {
    async fn user(&self, id: UserId) -> Result<Option<User>, Error> {
        self.0.user(id).await.map_err(in_our_words)
    }

    async fn user_by_name(&self, name: &str) -> Result<Option<User>, Error> {
        self.0.user_by_name(name).await.map_err(in_our_words)
    }

    async fn users(&self, after: Option<UserId>, limit: NonZeroUsize) -> Result<Vec<User>, Error> {
        self.0.users(after, limit).await.map_err(in_our_words)
    }

    async fn org(&self, id: OrgId) -> Result<Option<Org>, Error> {
        self.0.org(id).await.map_err(in_our_words)
    }

    async fn org_by_name(&self, name: &str) -> Result<Option<Org>, Error> {
        self.0.org_by_name(name).await.map_err(in_our_words)
    }

    async fn orgs(&self, after: Option<OrgId>, limit: NonZeroUsize) -> Result<Vec<Org>, Error> {
        self.0.orgs(after, limit).await.map_err(in_our_words)
    }

    async fn bucket(&self, id: BucketId) -> Result<Option<Bucket>, Error> {
        self.0.bucket(id).await.map_err(in_our_words)
    }

    async fn bucket_by_name(&self, org: OrgId, name: &str) -> Result<Option<Bucket>, Error> {
        self.0.bucket_by_name(org, name).await.map_err(in_our_words)
    }

    async fn buckets(
        &self,
        org: Option<OrgId>,
        after: Option<BucketId>,
        limit: NonZeroUsize,
    ) -> Result<Vec<Bucket>, Error> {
        self.0.buckets(org, after, limit).await.map_err(in_our_words)
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

/// Reads the next entities: so many, unless there are no more. Those that cannot be read are left out.
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

/// Tells the operator about a record that is left out because it cannot be read.
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

/// Users, orgs and buckets that never change: for hosts with a handful of them, and for tests.
#[derive(Clone, Debug, Default)]
pub struct StaticDirectory {
    users: BTreeMap<UserId, User>,
    orgs: BTreeMap<OrgId, Org>,
    buckets: BTreeMap<BucketId, Bucket>,
}

impl StaticDirectory {
    /// Knows nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the user, in place of one with the same id.
    #[must_use]
    pub fn with_user(mut self, user: User) -> Self {
        self.users.insert(user.id, user);
        self
    }

    /// Adds the org, in place of one with the same id.
    #[must_use]
    pub fn with_org(mut self, org: Org) -> Self {
        self.orgs.insert(org.id, org);
        self
    }

    /// Adds the bucket, in place of one with the same id.
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
