//! The names of orgs, users and buckets, for views.

use std::collections::HashMap;

use portcullis::{BucketId, Engine, Error, Name, OrgId, Permission, ResourceType, UserId};

/// Looks names up, each once. A record that does not exist has no name.
pub(crate) struct NameCache<'a> {
    engine: &'a Engine,
    orgs: HashMap<OrgId, Option<Name>>,
    users: HashMap<UserId, Option<Name>>,
    buckets: HashMap<BucketId, Option<Name>>,
}

impl<'a> NameCache<'a> {
    pub(crate) fn new(engine: &'a Engine) -> Self {
        Self { engine, orgs: HashMap::new(), users: HashMap::new(), buckets: HashMap::new() }
    }

    pub(crate) fn engine(&self) -> &'a Engine {
        self.engine
    }

    pub(crate) async fn org(&mut self, id: OrgId) -> Result<Option<String>, Error> {
        if !self.orgs.contains_key(&id) {
            let name = self.engine.directory().org(id).await?.map(|org| org.name);
            self.orgs.insert(id, name);
        }
        Ok(text(self.orgs.get(&id)))
    }

    pub(crate) async fn user(&mut self, id: UserId) -> Result<Option<String>, Error> {
        if !self.users.contains_key(&id) {
            let name = self.engine.directory().user(id).await?.map(|user| user.name);
            self.users.insert(id, name);
        }
        Ok(text(self.users.get(&id)))
    }

    pub(crate) async fn bucket(&mut self, id: BucketId) -> Result<Option<String>, Error> {
        if !self.buckets.contains_key(&id) {
            let name = self.engine.directory().bucket(id).await?.map(|bucket| bucket.name);
            self.buckets.insert(id, name);
        }
        Ok(text(self.buckets.get(&id)))
    }

    /// Returns the name of the one resource to which a permission applies.
    pub(crate) async fn resource(
        &mut self,
        permission: &Permission,
    ) -> Result<Option<String>, Error> {
        match (permission.resource.resource_type, permission.resource.id) {
            (ResourceType::Buckets, Some(id)) => self.bucket(id.into()).await,
            (ResourceType::Orgs, Some(id)) => self.org(id.into()).await,
            (ResourceType::Users, Some(id)) => self.user(id.into()).await,
            _ => Ok(None),
        }
    }
}

fn text(name: Option<&Option<Name>>) -> Option<String> {
    name?.as_ref().map(ToString::to_string)
}
