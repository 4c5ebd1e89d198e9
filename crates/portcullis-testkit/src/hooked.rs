//! Stores and directories with something around each call.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use portcullis::store::{
    Batch, Change, Index, Lookup, Lookups, Page, PageRequest, Position, Record, Store, StoreError,
};
use portcullis::{Bucket, BucketId, Directory, Error, Org, OrgId, StaticDirectory, User, UserId};

use crate::method::Method;

/// What a [`HookedStore`] does around each call of the inner store.
#[async_trait]
pub trait Hook: fmt::Debug + Send + Sync + 'static {
    /// Awaits the call of the method, which has not begun, or returns something in its place.
    async fn around<T: Send>(
        &self,
        method: Method,
        call: BoxFuture<'_, Result<T, StoreError>>,
    ) -> Result<T, StoreError>;
}

/// Forwards all calls to the inner store, through a [`Hook`].
#[derive(Debug)]
pub struct HookedStore<H> {
    inner: Arc<dyn Store>,
    hook: H,
}

impl<H: Hook + Clone> HookedStore<H> {
    /// Wraps a store.
    pub fn new(inner: Arc<dyn Store>, hook: &H) -> Self {
        Self { inner, hook: hook.clone() }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<H: Hook> Store for HookedStore<H> {
    async fn get(&self, lookup: Lookup<'_>) -> Result<Option<Record>, StoreError> {
        self.hook.around(Method::Get, self.inner.get(lookup)).await
    }

    async fn get_many(&self, lookups: Lookups<'_>) -> Result<Vec<Option<Record>>, StoreError> {
        self.hook.around(Method::GetMany, self.inner.get_many(lookups)).await
    }

    async fn list(&self, index: Index, page: PageRequest) -> Result<Page, StoreError> {
        self.hook.around(Method::List, self.inner.list(index, page)).await
    }

    async fn commit(&self, batch: Batch) -> Result<Position, StoreError> {
        self.hook.around(Method::Commit, self.inner.commit(batch)).await
    }

    async fn position(&self) -> Result<Position, StoreError> {
        self.hook.around(Method::Position, self.inner.position()).await
    }

    async fn watch(
        &self,
        after: Position,
    ) -> Result<BoxStream<'static, Result<Change, StoreError>>, StoreError> {
        self.hook.around(Method::Watch, self.inner.watch(after)).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.hook.around(Method::Close, self.inner.close()).await
    }
}

/// A host's directory whose responses a closure determines: it gets the name of the method, and returns
/// the directory that responds, or the error.
///
/// ```
/// use portcullis::{Directory, Error, ErrorKind, StaticDirectory};
/// use portcullis_testkit::HookedDirectory;
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let directory = HookedDirectory(|method: &str| match method {
///     "org_by_name" => Err(Error::new(ErrorKind::Unavailable, "no connection")),
///     _ => Ok(StaticDirectory::new()),
/// });
/// assert_eq!(directory.org_by_name("acme").await.unwrap_err().kind(), ErrorKind::Unavailable);
/// assert_eq!(directory.user_by_name("ada").await?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct HookedDirectory<F>(pub F);

impl<F> fmt::Debug for HookedDirectory<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookedDirectory")
    }
}

#[async_trait]
impl<F> Directory for HookedDirectory<F>
where
    F: Fn(&'static str) -> Result<StaticDirectory, Error> + Send + Sync + 'static,
{
    async fn user(&self, id: UserId) -> Result<Option<User>, Error> {
        (self.0)("user")?.user(id).await
    }

    async fn user_by_name(&self, name: &str) -> Result<Option<User>, Error> {
        (self.0)("user_by_name")?.user_by_name(name).await
    }

    async fn users(&self, after: Option<UserId>, limit: NonZeroUsize) -> Result<Vec<User>, Error> {
        (self.0)("users")?.users(after, limit).await
    }

    async fn org(&self, id: OrgId) -> Result<Option<Org>, Error> {
        (self.0)("org")?.org(id).await
    }

    async fn org_by_name(&self, name: &str) -> Result<Option<Org>, Error> {
        (self.0)("org_by_name")?.org_by_name(name).await
    }

    async fn orgs(&self, after: Option<OrgId>, limit: NonZeroUsize) -> Result<Vec<Org>, Error> {
        (self.0)("orgs")?.orgs(after, limit).await
    }

    async fn bucket(&self, id: BucketId) -> Result<Option<Bucket>, Error> {
        (self.0)("bucket")?.bucket(id).await
    }

    async fn bucket_by_name(&self, org: OrgId, name: &str) -> Result<Option<Bucket>, Error> {
        (self.0)("bucket_by_name")?.bucket_by_name(org, name).await
    }

    async fn buckets(
        &self,
        org: Option<OrgId>,
        after: Option<BucketId>,
        limit: NonZeroUsize,
    ) -> Result<Vec<Bucket>, Error> {
        (self.0)("buckets")?.buckets(org, after, limit).await
    }
}
