//! New records, as lines of a snapshot (`docs/spec/snapshots.md`).

use portcullis::{
    ApiTokenId, AuthorizationId, BucketId, DbrpId, Id, OrgId, Permission, Status, Timestamp, UserId,
};
use serde::{Serialize, Serializer};

/// A record.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum Line<'a> {
    Org {
        id: OrgId,
        name: &'a str,
        status: Status,
    },
    User {
        id: UserId,
        name: &'a str,
        status: Status,
    },
    Bucket {
        id: BucketId,
        #[serde(rename = "orgID")]
        org: OrgId,
        name: &'a str,
    },
    Dbrp {
        id: Id,
        #[serde(rename = "orgID")]
        org: OrgId,
        database: &'a str,
        mappings: Vec<Mapping<'a>>,
    },
    ApiToken {
        id: ApiTokenId,
        #[serde(rename = "orgID")]
        org: OrgId,
        #[serde(rename = "userID")]
        user: UserId,
        status: Status,
        description: &'a str,
        #[serde(serialize_with = "permission_objects")]
        permissions: &'a [Permission],
        token_digest: String,
    },
    Authorization {
        id: AuthorizationId,
        #[serde(rename = "token")]
        username: &'a str,
        #[serde(rename = "orgID")]
        org: OrgId,
        #[serde(rename = "userID")]
        user: UserId,
        status: Status,
        description: &'a str,
        #[serde(serialize_with = "permission_objects")]
        permissions: &'a [Permission],
        #[serde(skip_serializing_if = "Option::is_none")]
        password_hash: Option<&'a str>,
        created_at: Timestamp,
        updated_at: Timestamp,
    },
}

/// The mapping of a retention policy.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Mapping<'a> {
    pub(crate) id: DbrpId,
    pub(crate) retention_policy: &'a str,
    #[serde(rename = "bucketID")]
    pub(crate) bucket: BucketId,
    #[serde(rename = "default")]
    pub(crate) is_default: bool,
}

#[derive(Serialize)]
struct PermissionObject {
    action: &'static str,
    resource: ResourceObject,
}

#[derive(Serialize)]
struct ResourceObject {
    #[serde(rename = "type")]
    resource_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Id>,
    #[serde(rename = "orgID", skip_serializing_if = "Option::is_none")]
    org: Option<OrgId>,
}

fn permission_objects<S: Serializer>(permissions: &[Permission], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(permissions.iter().map(|permission| {
        let resource = &permission.resource;
        PermissionObject {
            action: permission.action.as_str(),
            resource: ResourceObject {
                resource_type: resource.resource_type.as_str(),
                id: resource.id,
                org: resource.org,
            },
        }
    }))
}
