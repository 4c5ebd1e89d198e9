//! The permissions of the file, on records that may have to be created first.

use std::collections::{BTreeMap, HashMap};

use portcullis::{Action, BucketId, Error, Id, OrgId, Permission, Resource, ResourceType, UserId};

use super::desired::{Desired, DesiredOrg, Granted};
use super::file::Mistake;
use super::state::{OrgState, State};
use crate::failure::describe;
use crate::permissions::PermissionArg;
use crate::session::Session;

/// The ids of the records that the file names, as far as they exist.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids {
    pub(super) orgs: HashMap<String, OrgId>,
    pub(super) users: HashMap<String, UserId>,
    /// By the names of org and bucket.
    pub(super) buckets: HashMap<(String, String), BucketId>,
}

impl Ids {
    pub(super) fn of(state: &State) -> Self {
        let mut ids = Self::default();
        ids.users.extend(state.users.iter().map(|(name, user)| (name.clone(), user.id)));
        for (name, OrgState { org, buckets, .. }) in &state.orgs {
            ids.orgs.insert(name.clone(), org.id);
            let buckets = buckets.iter().map(|(bucket, id)| ((name.clone(), bucket.clone()), *id));
            ids.buckets.extend(buckets);
        }
        ids
    }

    pub(super) fn bucket(&self, org: &str, name: &str) -> Option<BucketId> {
        self.buckets.get(&(org.to_owned(), name.to_owned())).copied()
    }
}

/// A permission that the file wants for a credential of an org.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// With ids of records that exist, or with none.
    Known(Permission),
    /// On a bucket of the org.
    Bucket(Action, String),
    /// On resources of a type in the org: all of them, or one.
    InOrg(Action, ResourceType, Option<Id>),
    /// On an org of the file.
    Org(Action, String),
    /// On a user of the file.
    User(Action, String),
}

impl Wanted {
    /// Returns the permission for a credential of the org; `None` as long as what it names does not exist.
    pub(super) fn permission(&self, org: &str, ids: &Ids) -> Option<Permission> {
        let own = || ids.orgs.get(org).copied();
        Some(match self {
            Self::Known(permission) => *permission,
            Self::Bucket(action, name) => {
                Permission::new(*action, Resource::bucket(own()?, ids.bucket(org, name)?))
            }
            Self::InOrg(action, resource_type, id) => {
                let resource = Resource::all(*resource_type).in_org(own()?);
                Permission::new(*action, id.map_or(resource, |id| resource.with_id(id)))
            }
            Self::Org(action, name) => {
                Permission::new(*action, Resource::org(*ids.orgs.get(name)?))
            }
            Self::User(action, name) => {
                Permission::new(*action, Resource::user(*ids.users.get(name)?))
            }
        })
    }

    /// Returns the text form with names.
    pub(super) fn shown(&self, org: &str, names: &BucketNames) -> String {
        match self {
            Self::Known(permission) => names.shown(*permission),
            Self::Bucket(action, name) => {
                format!("{}:orgs/{org}/buckets/{name}", action.as_str())
            }
            Self::InOrg(action, resource_type, id) => {
                let id = id.map(|id| format!("/{id}")).unwrap_or_default();
                format!("{}:orgs/{org}/{}{id}", action.as_str(), resource_type.as_str())
            }
            Self::Org(action, name) => format!("{}:orgs/{name}", action.as_str()),
            Self::User(action, name) => format!("{}:users/{name}", action.as_str()),
        }
    }
}

/// The names of an org and of its buckets, by their ids.
pub(super) struct BucketNames {
    org: Option<(OrgId, String)>,
    buckets: BTreeMap<Id, String>,
}

impl BucketNames {
    pub(super) fn of(state: Option<&OrgState>) -> Self {
        let org = state.map(|state| (state.org.id, state.org.name.to_string()));
        let buckets = state.into_iter().flat_map(|state| &state.buckets);
        let buckets = buckets.map(|(name, id)| (id.untyped(), name.clone())).collect();
        Self { org, buckets }
    }

    /// Returns the text form of a permission, with names where they are at hand.
    pub(super) fn shown(&self, permission: Permission) -> String {
        let Permission { action, resource } = permission;
        let own = self.org.as_ref().filter(|(id, _)| resource.org == Some(*id));
        let Some((_, name)) = own else { return permission.to_string() };
        let id = match resource.id {
            Some(id) if resource.resource_type == ResourceType::Buckets => {
                let name = self.buckets.get(&id).cloned();
                format!("/{}", name.unwrap_or_else(|| id.to_string()))
            }
            Some(id) => format!("/{id}"),
            None => String::new(),
        };
        format!("{}:orgs/{name}/{}{id}", action.as_str(), resource.resource_type.as_str())
    }
}

/// Returns the permissions of every credential of the file, by username.
///
/// # Errors
///
/// Those of the store or the server. What a permission names and does not exist is a mistake.
pub(super) async fn of_credentials(
    session: &Session,
    desired: &Desired,
    state: &State,
    mistakes: &mut Vec<Mistake>,
) -> anyhow::Result<HashMap<String, Vec<Wanted>>> {
    let mut all = HashMap::new();
    for org in &desired.orgs {
        for credential in org.credentials.iter().flatten() {
            let mut permissions = Vec::new();
            for grant in &credential.grants {
                let resolver = Resolver { session, desired, state, org };
                match resolver.wanted(&grant.what).await {
                    Ok(wanted) if permissions.contains(&wanted) => {}
                    Ok(wanted) => permissions.push(wanted),
                    Err(Refused::Mistake(text)) => mistakes.push(Mistake::new(grant.place, text)),
                    Err(Refused::Failed(error)) => return Err(error.into()),
                }
            }
            all.insert(credential.username.to_string(), permissions);
        }
    }
    Ok(all)
}

/// Why there is no permission.
enum Refused {
    /// The file has a mistake.
    Mistake(String),
    /// The store or the server fails.
    Failed(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Resolves the permissions of credentials of one org.
struct Resolver<'a> {
    session: &'a Session,
    desired: &'a Desired,
    state: &'a State,
    org: &'a DesiredOrg,
}

impl Resolver<'_> {
    async fn wanted(&self, granted: &Granted) -> Result<Wanted, Refused> {
        match granted {
            Granted::Bucket(action, name) => self.bucket(*action, name),
            Granted::AllBuckets(action) => Ok(Wanted::InOrg(*action, ResourceType::Buckets, None)),
            Granted::Text(text) => self.text(text).await,
        }
    }

    fn bucket(&self, action: Action, name: &str) -> Result<Wanted, Refused> {
        match self.org.bucket(name, self.state) {
            Ok(()) => Ok(Wanted::Bucket(action, name.to_owned())),
            Err(text) => Err(Refused::Mistake(text)),
        }
    }

    async fn text(&self, text: &PermissionArg) -> Result<Wanted, Refused> {
        let PermissionArg::Names { action, org, resource_type, resource, .. } = text else {
            return self.known(text).await;
        };
        let own = self.org.name.as_str();
        let is_own = org.as_deref() == Some(own);
        match (resource_type, resource) {
            (ResourceType::Buckets, Some(name))
                if (is_own || org.is_none()) && self.org.bucket(name, self.state).is_ok() =>
            {
                Ok(Wanted::Bucket(*action, name.clone()))
            }
            (_, None) if is_own => Ok(Wanted::InOrg(*action, *resource_type, None)),
            (ResourceType::Orgs, Some(name))
                if org.is_none() && self.desired.orgs.iter().any(|o| o.name.as_str() == name) =>
            {
                Ok(Wanted::Org(*action, name.clone()))
            }
            (ResourceType::Users, Some(name))
                if org.is_none() && self.desired.users.iter().any(|u| u.name.as_str() == name) =>
            {
                Ok(Wanted::User(*action, name.clone()))
            }
            _ => self.known(text).await,
        }
    }

    /// Resolves a permission on records that exist.
    async fn known(&self, text: &PermissionArg) -> Result<Wanted, Refused> {
        let own = self.state.orgs.get(self.org.name.as_str());
        let own_id = own.map(|state| state.org.id);
        let resolved = text.with_ids(self.session, own_id).await;
        let mut permission = resolved.map_err(|error| match error.downcast::<Error>() {
            Ok(error) => Refused::Failed(error),
            Err(error) => Refused::Mistake(describe(&error)),
        })?;
        let refuse = |why: &str| Err(Refused::Mistake(format!("`{text}` {why}")));
        let resource = permission.resource;
        if resource.resource_type == ResourceType::Instance {
            return refuse("is never granted to a credential");
        }
        if resource.org.is_some() && resource.org != own_id {
            return refuse("is in another org than the credential");
        }
        if let (ResourceType::Buckets, Some(id)) = (resource.resource_type, resource.id) {
            let Some(bucket) = self.session.bucket(id.into()).await? else {
                return refuse("names a bucket that does not exist");
            };
            if Some(bucket.org) == own_id {
                self.bucket(permission.action, bucket.name.as_str())?;
                permission = Permission::new(permission.action, resource.in_org(bucket.org));
            }
        }
        Ok(Wanted::Known(permission))
    }
}

impl DesiredOrg {
    /// Checks that the org has the bucket of the name once the file is applied.
    ///
    /// # Errors
    ///
    /// The text of the mistake that it has not.
    pub(super) fn bucket(&self, name: &str, state: &State) -> Result<(), String> {
        let org = &self.name;
        let exists = state.orgs.get(org.as_str()).is_some_and(|org| org.buckets.contains_key(name));
        match &self.buckets {
            Some(listed) if listed.iter().any(|bucket| bucket.as_str() == name) => Ok(()),
            Some(_) if self.is_managed => Err(format!(
                "the bucket `{name}` is not in `buckets` of the org `{org}`, which the file manages"
            )),
            _ if exists => Ok(()),
            _ => {
                Err(format!("there is no bucket `{name}` in the org `{org}`: add it to `buckets`"))
            }
        }
    }
}
