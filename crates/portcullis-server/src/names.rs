//! Names for ids, and ids for names.

use std::collections::HashMap;

use anyhow::anyhow;
use portcullis::{
    Bucket, BucketId, Engine, Error, ErrorKind, InvalidName, Name, Org, OrgId, Permission,
    ResourceType, User, UserId,
};

/// Reads a name for something new.
pub(crate) fn parse(text: &str) -> Result<Name, InvalidName> {
    Name::new(text)
}

/// Finds the org that was named by id or name.
pub(crate) async fn org(engine: &Engine, named: &str) -> anyhow::Result<Org> {
    let found = engine.resolve_org(named).await;
    found.map_err(|error| or_missing(error, || format!("there is no org `{named}`")))
}

/// Finds the user that was named by id or name.
pub(crate) async fn user(engine: &Engine, named: &str) -> anyhow::Result<User> {
    let found = engine.resolve_user(named).await;
    found.map_err(|error| or_missing(error, || format!("there is no user `{named}`")))
}

/// Finds the bucket of the org that was named by id or name.
pub(crate) async fn bucket(engine: &Engine, org: &Org, named: &str) -> anyhow::Result<Bucket> {
    let found = engine.resolve_bucket(org.id, named).await;
    found.map_err(|error| {
        or_missing(error, || format!("there is no bucket `{named}` in the org `{}`", org.name))
    })
}

/// The same, of an org that is known by its id.
pub(crate) async fn bucket_of(engine: &Engine, org: OrgId, named: &str) -> anyhow::Result<Bucket> {
    let found = engine.resolve_bucket(org, named).await;
    found.map_err(|error| {
        or_missing(error, || format!("there is no bucket `{named}` in the credential's org"))
    })
}

fn or_missing(error: Error, message: impl FnOnce() -> String) -> anyhow::Error {
    match error.kind() {
        ErrorKind::NotFound => anyhow!(message()),
        _ => error.into(),
    }
}

/// Looks names up, each once. What is gone has none.
pub(crate) struct Names<'a> {
    engine: &'a Engine,
    orgs: HashMap<OrgId, Option<Name>>,
    users: HashMap<UserId, Option<Name>>,
    buckets: HashMap<BucketId, Option<Name>>,
}

impl<'a> Names<'a> {
    pub(crate) fn new(engine: &'a Engine) -> Self {
        Self { engine, orgs: HashMap::new(), users: HashMap::new(), buckets: HashMap::new() }
    }

    pub(crate) fn engine(&self) -> &'a Engine {
        self.engine
    }

    pub(crate) async fn of_org(&mut self, id: OrgId) -> Result<Option<String>, Error> {
        if !self.orgs.contains_key(&id) {
            let name = self.engine.directory().org(id).await?.map(|org| org.name);
            self.orgs.insert(id, name);
        }
        Ok(text(self.orgs.get(&id)))
    }

    pub(crate) async fn of_user(&mut self, id: UserId) -> Result<Option<String>, Error> {
        if !self.users.contains_key(&id) {
            let name = self.engine.directory().user(id).await?.map(|user| user.name);
            self.users.insert(id, name);
        }
        Ok(text(self.users.get(&id)))
    }

    pub(crate) async fn of_bucket(&mut self, id: BucketId) -> Result<Option<String>, Error> {
        if !self.buckets.contains_key(&id) {
            let name = self.engine.directory().bucket(id).await?.map(|bucket| bucket.name);
            self.buckets.insert(id, name);
        }
        Ok(text(self.buckets.get(&id)))
    }

    /// The name of the one resource that a permission is about.
    pub(crate) async fn of_resource(
        &mut self,
        permission: &Permission,
    ) -> Result<Option<String>, Error> {
        match (permission.resource.resource_type, permission.resource.id) {
            (ResourceType::Buckets, Some(id)) => self.of_bucket(id.into()).await,
            (ResourceType::Orgs, Some(id)) => self.of_org(id.into()).await,
            (ResourceType::Users, Some(id)) => self.of_user(id.into()).await,
            _ => Ok(None),
        }
    }
}

fn text(name: Option<&Option<Name>>) -> Option<String> {
    name?.as_ref().map(ToString::to_string)
}
