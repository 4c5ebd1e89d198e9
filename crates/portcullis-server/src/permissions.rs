//! Permissions on the command line.

use portcullis::{BucketId, Engine, Error, Org, OrgId, Permission, Resource, ResourceType};

use crate::names;

/// What a credential is granted.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "grants", required = true, multiple = true)]
pub(crate) struct GrantArgs {
    /// Grant this: read or write, a colon, and TYPE, TYPE/ID, orgs/ORG/TYPE or orgs/ORG/TYPE/ID
    /// (can be repeated)
    #[arg(long, value_name = "TEXT")]
    permission: Vec<Permission>,

    /// Grant read on this bucket of the org, by id or name (can be repeated)
    #[arg(long, value_name = "BUCKET")]
    read_bucket: Vec<String>,

    /// Grant write on this bucket of the org, by id or name (can be repeated)
    #[arg(long, value_name = "BUCKET")]
    write_bucket: Vec<String>,
}

impl GrantArgs {
    /// Returns the permissions that are meant, each once.
    pub(crate) async fn resolve(
        &self,
        engine: &Engine,
        org: &Org,
    ) -> anyhow::Result<Vec<Permission>> {
        let mut permissions = Vec::new();
        let mut add = |permission| {
            if !permissions.contains(&permission) {
                permissions.push(permission);
            }
        };
        for permission in &self.permission {
            // A bucket of another org is left as it is written: the engine knows what to think
            // of it.
            add(match bucket_org(engine, permission).await? {
                Some(its_org) if its_org == org.id => in_org(*permission, org.id),
                _ => *permission,
            });
        }
        for bucket in &self.read_bucket {
            let bucket = names::bucket(engine, org, bucket).await?;
            add(Permission::read(Resource::bucket(org.id, bucket.id)));
        }
        for bucket in &self.write_bucket {
            let bucket = names::bucket(engine, org, bucket).await?;
            add(Permission::write(Resource::bucket(org.id, bucket.id)));
        }
        Ok(permissions)
    }
}

/// Completes what is asked: a bucket that is named by its id alone is in its own org, or in this
/// one when nobody knows the bucket. Without an org, a grant on all buckets of an org would not
/// be seen to cover it.
pub(crate) async fn complete(
    engine: &Engine,
    asked: Permission,
    otherwise: Option<OrgId>,
) -> Result<Permission, Error> {
    if !is_bucket_without_org(&asked) {
        return Ok(asked);
    }
    let org = bucket_org(engine, &asked).await?.or(otherwise);
    Ok(org.map_or(asked, |org| in_org(asked, org)))
}

/// Returns the org of the bucket that is named by its id alone.
async fn bucket_org(engine: &Engine, permission: &Permission) -> Result<Option<OrgId>, Error> {
    match permission.resource.id {
        Some(id) if is_bucket_without_org(permission) => {
            let bucket = engine.directory().bucket(BucketId::from(id)).await?;
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
