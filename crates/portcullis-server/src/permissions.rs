//! Permissions on the command line.

use std::fmt;
use std::str::FromStr;

use anyhow::bail;
use portcullis::{
    Action, BucketId, Error, Id, Org, OrgId, ParsePermissionError, Permission, Resource,
    ResourceType,
};

use crate::resolve;
use crate::session::Session;

/// A permission as an argument: `read` or `write`, a colon, and `TYPE`, `TYPE/ID`, `orgs/ORG/TYPE` or
/// `orgs/ORG/TYPE/ID`. An org, a user or a bucket may be named by its name instead of its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PermissionArg {
    /// A permission with ids, or with none.
    Ids(Permission),
    /// One in which at least one name stands for an id.
    Names {
        /// The text as it was given.
        text: String,
        /// What is permitted.
        action: Action,
        /// The org, by id or name.
        org: Option<String>,
        /// The type of the resource.
        resource_type: ResourceType,
        /// The resource, by id or name.
        resource: Option<String>,
    },
}

impl FromStr for PermissionArg {
    type Err = ParsePermissionError;

    fn from_str(text: &str) -> Result<Self, ParsePermissionError> {
        match text.parse() {
            Ok(permission) => Ok(Self::Ids(permission)),
            Err(error) => Self::parse_names(text).ok_or(error),
        }
    }
}

impl fmt::Display for PermissionArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ids(permission) => permission.fmt(f),
            Self::Names { text, .. } => f.write_str(text),
        }
    }
}

impl PermissionArg {
    fn parse_names(text: &str) -> Option<Self> {
        let (action, path) = match text.split_once(':')? {
            ("read", path) => (Action::Read, path),
            ("write", path) => (Action::Write, path),
            _ => return None,
        };
        let (org, path) = split_org(path);
        let (resource_type, resource) = match path.split_once('/') {
            Some((resource_type, resource)) => (resource_type, Some(resource)),
            None => (path, None),
        };
        let resource_type = resource_type.parse().ok()?;
        if let Some(resource) = resource {
            let has_name = matches!(
                resource_type,
                ResourceType::Buckets | ResourceType::Orgs | ResourceType::Users
            );
            if resource.is_empty() || !(has_name || resource.parse::<Id>().is_ok()) {
                return None;
            }
        }
        Some(Self::Names {
            text: text.to_owned(),
            action,
            org: org.map(str::to_owned),
            resource_type,
            resource: resource.map(str::to_owned),
        })
    }

    /// Returns the permission, with the ids of what is named. A bucket that is given by its name alone
    /// is one of `default_org`.
    ///
    /// # Errors
    ///
    /// Where something that is named does not exist, and where a bucket is named without an org.
    pub(crate) async fn with_ids(
        &self,
        session: &Session,
        default_org: Option<OrgId>,
    ) -> anyhow::Result<Permission> {
        let (action, org, resource_type, resource) = match self {
            Self::Ids(permission) => return Ok(*permission),
            Self::Names { action, org, resource_type, resource, .. } => {
                (*action, org, *resource_type, resource)
            }
        };
        let mut org = resolve::optional_org(session, org.as_deref()).await?;
        let id = match (resource_type, resource) {
            (_, None) => None,
            (ResourceType::Buckets, Some(bucket)) => {
                let Some(its_org) = org.or(default_org) else {
                    bail!(
                        "`{self}` names a bucket without its org: write orgs/ORG/buckets/{bucket}"
                    );
                };
                org = Some(its_org);
                let shown = format_args!("the org {its_org}");
                Some(resolve::bucket(session, its_org, bucket, shown).await?.id.untyped())
            }
            (ResourceType::Orgs, Some(org)) => Some(resolve::org(session, org).await?.id.untyped()),
            (ResourceType::Users, Some(user)) => {
                Some(resolve::user(session, user).await?.id.untyped())
            }
            (_, Some(id)) => Some(id.parse()?),
        };
        let mut resource = Resource::all(resource_type);
        if let Some(id) = id {
            resource = resource.with_id(id);
        }
        if let Some(org) = org {
            resource = resource.in_org(org);
        }
        Ok(Permission::new(action, resource))
    }

    /// Returns the permission to query: like [`PermissionArg::with_ids`], and with the org of a bucket
    /// that is given by its id alone, or `default_org` if there is no such bucket. Without an org, a
    /// grant on all buckets of an org would not cover the bucket.
    pub(crate) async fn to_query(
        &self,
        session: &Session,
        default_org: Option<OrgId>,
    ) -> anyhow::Result<Permission> {
        let permission = self.with_ids(session, default_org).await?;
        if !is_bucket_without_org(&permission) {
            return Ok(permission);
        }
        let org = bucket_org(session, &permission).await?.or(default_org);
        Ok(org.map_or(permission, |org| in_org(permission, org)))
    }

    /// Returns the permission to grant to an API token of the org: with the org of a bucket that is
    /// given by its id alone, if there is such a bucket.
    pub(crate) async fn to_grant(
        &self,
        session: &Session,
        org: OrgId,
    ) -> anyhow::Result<Permission> {
        let permission = self.with_ids(session, Some(org)).await?;
        let bucket_org = bucket_org(session, &permission).await?;
        Ok(bucket_org.map_or(permission, |org| in_org(permission, org)))
    }
}

/// Splits `orgs/ORG/` off a path in which a type of resource follows it.
fn split_org(path: &str) -> (Option<&str>, &str) {
    let split = || {
        let (org, rest) = path.strip_prefix("orgs/")?.split_once('/')?;
        let resource_type = rest.split('/').next()?;
        resource_type.parse::<ResourceType>().ok()?;
        (!org.is_empty()).then_some((Some(org), rest))
    };
    split().unwrap_or((None, path))
}

/// The permissions that a credential is granted.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "grants", required = true, multiple = true)]
pub(crate) struct GrantArgs {
    /// Grant this permission: read or write, a colon, and TYPE, TYPE/ID, orgs/ORG/TYPE or
    /// orgs/ORG/TYPE/ID, with ids or names (can be repeated)
    #[arg(long, value_name = "TEXT")]
    permission: Vec<PermissionArg>,

    /// Grant read on this bucket of the org, by id or name (can be repeated)
    #[arg(long, value_name = "BUCKET")]
    read_bucket: Vec<String>,

    /// Grant write on this bucket of the org, by id or name (can be repeated)
    #[arg(long, value_name = "BUCKET")]
    write_bucket: Vec<String>,
}

impl GrantArgs {
    /// Returns the permissions, each once.
    pub(crate) async fn resolve(
        &self,
        session: &Session,
        org: &Org,
    ) -> anyhow::Result<Vec<Permission>> {
        let mut permissions = Vec::new();
        let mut add = |permission| {
            if !permissions.contains(&permission) {
                permissions.push(permission);
            }
        };
        for permission in &self.permission {
            let permission = permission.with_ids(session, Some(org.id)).await?;
            // A bucket of another org stays as it was given: the engine accepts or refuses it.
            add(match bucket_org(session, &permission).await? {
                Some(its_org) if its_org == org.id => in_org(permission, org.id),
                _ => permission,
            });
        }
        for bucket in &self.read_bucket {
            let bucket = resolve::bucket_of(session, org, bucket).await?;
            add(Permission::read(Resource::bucket(org.id, bucket.id)));
        }
        for bucket in &self.write_bucket {
            let bucket = resolve::bucket_of(session, org, bucket).await?;
            add(Permission::write(Resource::bucket(org.id, bucket.id)));
        }
        Ok(permissions)
    }
}

/// Returns the org of a bucket that is given by its id alone.
async fn bucket_org(session: &Session, permission: &Permission) -> Result<Option<OrgId>, Error> {
    match permission.resource.id {
        Some(id) if is_bucket_without_org(permission) => {
            let bucket = session.bucket(BucketId::from(id)).await?;
            Ok(bucket.map(|bucket| bucket.org))
        }
        _ => Ok(None),
    }
}

fn is_bucket_without_org(permission: &Permission) -> bool {
    let resource = &permission.resource;
    resource.resource_type == ResourceType::Buckets
        && resource.id.is_some()
        && resource.org.is_none()
}

fn in_org(permission: Permission, org: OrgId) -> Permission {
    Permission::new(permission.action, permission.resource.in_org(org))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Option<(Option<String>, ResourceType, Option<String>)> {
        match text.parse() {
            Ok(PermissionArg::Names { org, resource_type, resource, .. }) => {
                Some((org, resource_type, resource))
            }
            Ok(PermissionArg::Ids(_)) | Err(_) => None,
        }
    }

    #[test]
    fn ids_are_read_as_permissions_and_names_where_there_are_any() {
        for text in
            ["read:buckets", "write:buckets/0000000000000001", "read:orgs/0000000000000001/tasks"]
        {
            let permission = PermissionArg::Ids(text.parse().unwrap());
            assert_eq!(text.parse::<PermissionArg>().unwrap(), permission);
            assert_eq!(permission.to_string(), text);
        }
        let some = |text: &str| Some(text.to_owned());
        for (text, org, resource_type, resource) in [
            ("write:buckets/telemetry", None, ResourceType::Buckets, some("telemetry")),
            ("write:buckets/db/rp", None, ResourceType::Buckets, some("db/rp")),
            ("read:orgs/acme", None, ResourceType::Orgs, some("acme")),
            ("read:users/ada", None, ResourceType::Users, some("ada")),
            ("read:orgs/acme/tasks", some("acme"), ResourceType::Tasks, None),
            ("read:orgs/acme/buckets/db/rp", some("acme"), ResourceType::Buckets, some("db/rp")),
            (
                "read:orgs/acme/tasks/0000000000000001",
                some("acme"),
                ResourceType::Tasks,
                some("0000000000000001"),
            ),
        ] {
            assert_eq!(names(text), Some((org, resource_type, resource)), "{text}");
            assert_eq!(text.parse::<PermissionArg>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_permission_is_refused_as_before() {
        for text in
            ["", "read", "own:buckets/x", "read:pizzas/x", "read:tasks/x", "read:buckets/", "x:y:z"]
        {
            let error = text.parse::<PermissionArg>().unwrap_err();
            assert_eq!(error.to_string(), text.parse::<Permission>().unwrap_err().to_string());
        }
    }
}
