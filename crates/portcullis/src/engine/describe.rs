//! Authorizations with the names of what they refer to, as the API shows them.

use std::collections::HashMap;

use super::Engine;
use crate::{
    Authorization, Bucket, BucketId, Directory, Error, Name, Org, OrgId, Permission, ResourceType,
    User, UserId,
};

/// An authorization with the names of what it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Described {
    /// The authorization.
    pub authorization: Authorization,
    /// Name of its org.
    pub org: Name,
    /// Name of its user.
    pub user: Name,
    /// The names in each of its permissions, in their order.
    pub resources: Vec<ResourceNames>,
}

/// The names in a permission. What does not exist has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResourceNames {
    /// Name of the bucket, org or user that the permission names by id.
    pub name: Option<Name>,
    /// Name of the org that the permission names.
    pub org: Option<Name>,
}

/// Looks every user, org and bucket up once, for as long as one answer takes to make.
pub(super) struct Lookups<'a> {
    directory: &'a dyn Directory,
    users: HashMap<UserId, Option<User>>,
    orgs: HashMap<OrgId, Option<Org>>,
    buckets: HashMap<BucketId, Option<Bucket>>,
}

impl Engine {
    pub(super) fn lookups(&self) -> Lookups<'_> {
        Lookups {
            directory: self.0.directory.as_ref(),
            users: HashMap::new(),
            orgs: HashMap::new(),
            buckets: HashMap::new(),
        }
    }
}

impl Lookups<'_> {
    pub(super) async fn user(&mut self, id: UserId) -> Result<Option<&User>, Error> {
        if !self.users.contains_key(&id) {
            self.users.insert(id, self.directory.user(id).await?);
        }
        Ok(self.users.get(&id).and_then(Option::as_ref))
    }

    pub(super) async fn org(&mut self, id: OrgId) -> Result<Option<&Org>, Error> {
        if !self.orgs.contains_key(&id) {
            self.orgs.insert(id, self.directory.org(id).await?);
        }
        Ok(self.orgs.get(&id).and_then(Option::as_ref))
    }

    pub(super) async fn bucket(&mut self, id: BucketId) -> Result<Option<&Bucket>, Error> {
        if !self.buckets.contains_key(&id) {
            self.buckets.insert(id, self.directory.bucket(id).await?);
        }
        Ok(self.buckets.get(&id).and_then(Option::as_ref))
    }

    /// Adds the names to an authorization whose org and user are there.
    pub(super) async fn describe(
        &mut self,
        authorization: Authorization,
    ) -> Result<Result<Described, Dangling>, Error> {
        let Some(org) = self.org(authorization.org).await?.map(|org| org.name.clone()) else {
            return Ok(Err(Dangling::Org));
        };
        let Some(user) = self.user(authorization.user).await?.map(|user| user.name.clone()) else {
            return Ok(Err(Dangling::User));
        };
        let resources = self.resource_names(&authorization.permissions).await?;
        Ok(Ok(Described { authorization, org, user, resources }))
    }

    pub(super) async fn resource_names(
        &mut self,
        permissions: &[Permission],
    ) -> Result<Vec<ResourceNames>, Error> {
        let mut names = Vec::with_capacity(permissions.len());
        for Permission { resource, .. } in permissions {
            let name = match (resource.resource_type, resource.id) {
                (ResourceType::Buckets, Some(id)) => {
                    self.bucket(id.into()).await?.map(|bucket| bucket.name.clone())
                }
                (ResourceType::Orgs, Some(id)) => {
                    self.org(id.into()).await?.map(|org| org.name.clone())
                }
                (ResourceType::Users, Some(id)) => {
                    self.user(id.into()).await?.map(|user| user.name.clone())
                }
                _ => None,
            };
            let org = match resource.org {
                Some(org) => self.org(org).await?.map(|org| org.name.clone()),
                None => None,
            };
            names.push(ResourceNames { name, org });
        }
        Ok(names)
    }
}

/// What is gone that an authorization refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dangling {
    Org,
    User,
}

impl From<Dangling> for Error {
    fn from(dangling: Dangling) -> Self {
        Self::not_found(match dangling {
            Dangling::Org => "organization not found",
            Dangling::User => "user not found",
        })
    }
}
