//! Resolving the ids of users, orgs and buckets for one response.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use futures_util::future::{BoxFuture, TryFutureExt};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::engine::Engine;
use crate::{
    ApiToken, Authorization, Bucket, BucketId, Directory, Error, Org, OrgId, Permission,
    ResourceType, User, UserId,
};

/// Looks up users, orgs and buckets for one response, each of them once.
///
/// [`Engine::name_resolver`] makes it. It caches a bounded number of them, so a response may have
/// any length.
#[derive(Debug)]
pub struct NameResolver {
    directory: Arc<dyn Directory>,
    users: NameCache<UserId, User>,
    orgs: NameCache<OrgId, Org>,
    buckets: NameCache<BucketId, Bucket>,
}

impl Engine {
    /// Begins a response that shows the names of users, orgs and buckets.
    pub fn name_resolver(&self) -> NameResolver {
        NameResolver {
            directory: Arc::clone(&self.0.directory),
            users: NameCache::default(),
            orgs: NameCache::default(),
            buckets: NameCache::default(),
        }
    }
}

/// About how many users, orgs and buckets are cached together. They take about 100 bytes each, most
/// of the 8 MiB that a list may take. With half as many, a list of a million needs twice as many
/// lookups.
const CAPACITY: usize = 56 * 1024;

/// How many lookups run at the same time.
const BATCH: usize = 16;

impl NameResolver {
    /// Looks up everything that the views of these authorizations show, many at once.
    pub(super) async fn prefetch(&mut self, authorizations: &[Authorization]) -> Result<(), Error> {
        let mut named = Named::default();
        for Authorization { user, org, permissions, .. } in authorizations {
            named.add(*user, *org, permissions);
        }
        self.fill(named).await
    }

    /// Looks up everything that the views of these API tokens show, as [`NameResolver::prefetch`] does.
    pub(super) async fn prefetch_tokens(&mut self, tokens: &[ApiToken]) -> Result<(), Error> {
        let mut named = Named::default();
        for ApiToken { user, org, permissions, .. } in tokens {
            named.add(*user, *org, permissions);
        }
        self.fill(named).await
    }

    async fn fill(&mut self, named: Named) -> Result<(), Error> {
        self.make_room();
        let directory = &self.directory;
        fill(&mut self.users, named.users, |id| directory.user(id)).await?;
        fill(&mut self.orgs, named.orgs, |id| directory.org(id)).await?;
        fill(&mut self.buckets, named.buckets, |id| directory.bucket(id)).await
    }

    /// Removes what was not used lately, when the caches are full.
    fn make_room(&mut self) {
        if self.users.recent() + self.orgs.recent() + self.buckets.recent() > CAPACITY / 2 {
            self.users.age();
            self.orgs.age();
            self.buckets.age();
        }
    }

    /// Returns the user with the id, `None` if there is none.
    ///
    /// # Errors
    ///
    /// Those of [`Directory::user`].
    pub async fn user(&mut self, id: UserId) -> Result<Option<&User>, Error> {
        if !self.users.contains(id) {
            self.make_room();
            self.users.insert(id, self.directory.user(id).await?);
        }
        Ok(self.users.get(id))
    }

    /// Returns the org with the id, `None` if there is none.
    ///
    /// # Errors
    ///
    /// Those of [`Directory::org`].
    pub async fn org(&mut self, id: OrgId) -> Result<Option<&Org>, Error> {
        if !self.orgs.contains(id) {
            self.make_room();
            self.orgs.insert(id, self.directory.org(id).await?);
        }
        Ok(self.orgs.get(id))
    }

    /// Returns the bucket with the id, `None` if there is none.
    ///
    /// # Errors
    ///
    /// Those of [`Directory::bucket`].
    pub async fn bucket(&mut self, id: BucketId) -> Result<Option<&Bucket>, Error> {
        if !self.buckets.contains(id) {
            self.make_room();
            self.buckets.insert(id, self.directory.bucket(id).await?);
        }
        Ok(self.buckets.get(id))
    }
}

/// The ids whose names credentials show.
#[derive(Default)]
struct Named {
    users: Vec<UserId>,
    orgs: Vec<OrgId>,
    buckets: Vec<BucketId>,
}

impl Named {
    /// Adds what a credential of the user and org shows.
    fn add(&mut self, user: UserId, org: OrgId, permissions: &[Permission]) {
        self.users.push(user);
        self.orgs.push(org);
        for Permission { resource, .. } in permissions {
            // It is nearly always the org of the credential.
            self.orgs.extend(resource.org.filter(|of| *of != org));
            match (resource.resource_type, resource.id) {
                (ResourceType::Buckets, Some(id)) => self.buckets.push(id.into()),
                (ResourceType::Orgs, Some(id)) => self.orgs.push(id.into()),
                (ResourceType::Users, Some(id)) => self.users.push(id.into()),
                _ => {}
            }
        }
    }
}

/// Looks up the ids that the cache does not contain.
async fn fill<'a, I: Copy + Ord + Hash, T>(
    cache: &mut NameCache<I, T>,
    mut ids: Vec<I>,
    lookup: impl Fn(I) -> BoxFuture<'a, Result<Option<T>, Error>>,
) -> Result<(), Error> {
    ids.sort_unstable();
    ids.dedup();
    ids.retain(|id| !cache.contains(*id));
    let lookups: Vec<_> =
        ids.into_iter().map(|id| lookup(id).map_ok(move |found| (id, found))).collect();
    let mut lookups = stream::iter(lookups).buffer_unordered(BATCH);
    while let Some((id, found)) = lookups.try_next().await? {
        cache.insert(id, found);
    }
    Ok(())
}

/// A cache of lookups, also of ids that do not exist, in two generations: an entry that is not used
/// for a whole generation is evicted.
#[derive(Debug)]
struct NameCache<I, T> {
    recent: HashMap<I, Option<T>>,
    earlier: HashMap<I, Option<T>>,
}

impl<I, T> Default for NameCache<I, T> {
    fn default() -> Self {
        Self { recent: HashMap::new(), earlier: HashMap::new() }
    }
}

impl<I: Eq + Hash, T> NameCache<I, T> {
    /// Returns the number of entries that were used in this generation.
    fn recent(&self) -> usize {
        self.recent.len()
    }

    /// Begins a generation, and evicts what the last one did not use.
    fn age(&mut self) {
        self.earlier = std::mem::take(&mut self.recent);
    }

    /// Tells whether there is an entry for the id, and uses it.
    fn contains(&mut self, id: I) -> bool {
        if self.recent.contains_key(&id) {
            return true;
        }
        let earlier = self.earlier.remove_entry(&id);
        earlier.map(|(id, found)| self.recent.insert(id, found)).is_some()
    }

    fn insert(&mut self, id: I, found: Option<T>) {
        self.recent.insert(id, found);
    }

    /// Returns what has the id, if the cache [contains](Self::contains) it and it exists.
    fn get(&self, id: I) -> Option<&T> {
        self.recent.get(&id).and_then(Option::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_is_used_is_kept_and_every_other_one_is_evicted() {
        let mut cache = NameCache::default();
        for id in 0..100 {
            if !cache.contains(0) {
                assert_eq!(id, 0, "looked up again");
                cache.insert(0, Some("used every time"));
            }
            cache.insert(id + 1, None);
            if id % 10 == 9 {
                cache.age();
            }
            assert!(cache.recent() <= 11);
        }
        assert!(cache.contains(0));
        assert_eq!(cache.get(0), Some(&"used every time"));
        assert!(cache.contains(91), "used in the last generation");
        assert_eq!(cache.get(91), None);
        assert!(!cache.contains(90));
    }
}
