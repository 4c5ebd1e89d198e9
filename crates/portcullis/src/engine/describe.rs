//! Authorizations with the names of what they refer to, as the API shows them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use futures_util::future::{BoxFuture, TryFutureExt};
use futures_util::{StreamExt, TryStreamExt, stream};

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

/// Looks users, orgs and buckets up, each once for as long as one answer takes to make.
///
/// [`Engine::lookups`] makes it. It remembers a bounded number of them, so that an answer may be of
/// any length.
#[derive(Debug)]
pub struct NameResolver {
    directory: Arc<dyn Directory>,
    users: Remembered<UserId, User>,
    orgs: Remembered<OrgId, Org>,
    buckets: Remembered<BucketId, Bucket>,
}

impl Engine {
    /// Begins to look users, orgs and buckets up for one answer.
    pub fn lookups(&self) -> NameResolver {
        NameResolver {
            directory: Arc::clone(&self.0.directory),
            users: Remembered::default(),
            orgs: Remembered::default(),
            buckets: Remembered::default(),
        }
    }
}

/// About how many users, orgs and buckets are remembered together. They take about 100 bytes each, most
/// of the 8 MiB that a list may take; with half as many a list of a million looked twice as many up.
const MOST_REMEMBERED: usize = 56 * 1024;

/// How many are looked up at the same time.
const AT_ONCE: usize = 16;

impl NameResolver {
    /// Looks up what describing these will ask for, many at once.
    pub(super) async fn prepare(&mut self, described: &[Authorization]) -> Result<(), Error> {
        if self.users.recent() + self.orgs.recent() + self.buckets.recent() > MOST_REMEMBERED / 2 {
            self.users.age();
            self.orgs.age();
            self.buckets.age();
        }
        let (mut users, mut orgs, mut buckets) = (Vec::new(), Vec::new(), Vec::new());
        for Authorization { user, org, permissions, .. } in described {
            users.push(*user);
            orgs.push(*org);
            for Permission { resource, .. } in permissions {
                // Nearly always the one that it is in.
                orgs.extend(resource.org.filter(|of| of != org));
                match (resource.resource_type, resource.id) {
                    (ResourceType::Buckets, Some(id)) => buckets.push(id.into()),
                    (ResourceType::Orgs, Some(id)) => orgs.push(id.into()),
                    (ResourceType::Users, Some(id)) => users.push(id.into()),
                    _ => {}
                }
            }
        }
        let directory = &self.directory;
        find(&mut self.users, users, |id| directory.user(id)).await?;
        find(&mut self.orgs, orgs, |id| directory.org(id)).await?;
        find(&mut self.buckets, buckets, |id| directory.bucket(id)).await
    }

    pub(super) async fn user(&mut self, id: UserId) -> Result<Option<&User>, Error> {
        if !self.users.is_known(id) {
            self.users.keep(id, self.directory.user(id).await?);
        }
        Ok(self.users.get(id))
    }

    pub(super) async fn org(&mut self, id: OrgId) -> Result<Option<&Org>, Error> {
        if !self.orgs.is_known(id) {
            self.orgs.keep(id, self.directory.org(id).await?);
        }
        Ok(self.orgs.get(id))
    }

    pub(super) async fn bucket(&mut self, id: BucketId) -> Result<Option<&Bucket>, Error> {
        if !self.buckets.is_known(id) {
            self.buckets.keep(id, self.directory.bucket(id).await?);
        }
        Ok(self.buckets.get(id))
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
        let mut last: Option<(OrgId, Option<Name>)> = None;
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
            let org = match (resource.org, &last) {
                (None, _) => None,
                // Nearly always the one of the permission before.
                (Some(org), Some((of, name))) if *of == org => name.clone(),
                (Some(org), _) => {
                    let name = self.org(org).await?.map(|org| org.name.clone());
                    last = Some((org, name.clone()));
                    name
                }
            };
            names.push(ResourceNames { name, org });
        }
        Ok(names)
    }
}

/// Looks those up that are not known yet.
async fn find<'a, I: Copy + Ord + Hash, T>(
    known: &mut Remembered<I, T>,
    mut wanted: Vec<I>,
    lookup: impl Fn(I) -> BoxFuture<'a, Result<Option<T>, Error>>,
) -> Result<(), Error> {
    wanted.sort_unstable();
    wanted.dedup();
    let unknown = wanted.into_iter().filter(|id| !known.is_known(*id));
    let found: Vec<_> = unknown.map(|id| lookup(id).map_ok(move |found| (id, found))).collect();
    let mut found = stream::iter(found).buffer_unordered(AT_ONCE);
    while let Some((id, found)) = found.try_next().await? {
        known.keep(id, found);
    }
    Ok(())
}

/// What was looked up, and whether it is there. What nobody has asked for in a while is forgotten, and
/// not what every record of a list refers to.
#[derive(Debug)]
struct Remembered<I, T> {
    recent: HashMap<I, Option<T>>,
    earlier: HashMap<I, Option<T>>,
}

impl<I, T> Default for Remembered<I, T> {
    fn default() -> Self {
        Self { recent: HashMap::new(), earlier: HashMap::new() }
    }
}

impl<I: Eq + Hash, T> Remembered<I, T> {
    /// How many were asked for since it has aged.
    fn recent(&self) -> usize {
        self.recent.len()
    }

    /// Forgets what was not asked for since it has aged before.
    fn age(&mut self) {
        self.earlier = std::mem::take(&mut self.recent);
    }

    /// Tells whether it was looked up; then it was asked for just now.
    fn is_known(&mut self, id: I) -> bool {
        if self.recent.contains_key(&id) {
            return true;
        }
        let earlier = self.earlier.remove_entry(&id);
        earlier.map(|(id, found)| self.recent.insert(id, found)).is_some()
    }

    fn keep(&mut self, id: I, found: Option<T>) {
        self.recent.insert(id, found);
    }

    /// What was found, where it [is known](Self::is_known).
    fn get(&self, id: I) -> Option<&T> {
        self.recent.get(&id).and_then(Option::as_ref)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_now_and_then_is_never_forgotten_and_everything_else_is() {
        let mut remembered = Remembered::default();
        for id in 0..100 {
            if !remembered.is_known(0) {
                assert_eq!(id, 0, "looked up again");
                remembered.keep(0, Some("asked for every time"));
            }
            remembered.keep(id + 1, None);
            if id % 10 == 9 {
                remembered.age();
            }
            assert!(remembered.recent() <= 11);
        }
        assert!(remembered.is_known(0));
        assert_eq!(remembered.get(0), Some(&"asked for every time"));
        assert!(remembered.is_known(91), "asked for since it has aged before");
        assert_eq!(remembered.get(91), None);
        assert!(!remembered.is_known(90));
    }
}
