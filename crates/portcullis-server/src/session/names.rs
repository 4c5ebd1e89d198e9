//! The names of users, orgs and buckets that a command shows.

use portcullis::{BucketId, Error, NameResolver, OrgId, UserId};

use crate::remote::Client;

/// Looks up names for one result, each of them once.
pub(crate) enum Names<'a> {
    /// In a store.
    Store(Box<NameResolver>),
    /// On a server.
    Server(&'a Client),
}

impl Names<'_> {
    /// Returns the name of the org; `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// Those of the store or the server; the same for all methods.
    pub(crate) async fn org(&mut self, id: OrgId) -> Result<Option<String>, Error> {
        match self {
            Self::Store(names) => Ok(names.org(id).await?.map(|org| org.name.to_string())),
            Self::Server(client) => client.org_name(id).await,
        }
    }

    /// Returns the name of the user; `None` if it does not exist.
    pub(crate) async fn user(&mut self, id: UserId) -> Result<Option<String>, Error> {
        match self {
            Self::Store(names) => Ok(names.user(id).await?.map(|user| user.name.to_string())),
            Self::Server(client) => client.user_name(id).await,
        }
    }

    /// Returns the name of the bucket; `None` if it does not exist.
    pub(crate) async fn bucket(&mut self, id: BucketId) -> Result<Option<String>, Error> {
        match self {
            Self::Store(names) => Ok(names.bucket(id).await?.map(|bucket| bucket.name.to_string())),
            Self::Server(client) => client.bucket_name(id).await,
        }
    }
}
