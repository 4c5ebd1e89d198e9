//! One line of a snapshot.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::model::{PolicyMapping, PolicyMappings};
use crate::password::PasswordHash;
use crate::{
    AllowedNetworks, ApiToken, ApiTokenId, ApiTokenUse, Authorization, AuthorizationId,
    AuthorizationUse, Bucket, BucketId, DatabaseMappings, DbrpId, DbrpName, Id, LastUse, Name, Org,
    OrgId, Permission, PreviousPassword, Status, Timestamp, TokenDigest, TokenSecret,
    UncheckedPermission, User, UserId, Username,
};

/// A line. Unknown types and members are refused, so that no data is lost unnoticed.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", deny_unknown_fields)]
pub(super) enum Line {
    Snapshot(SnapshotLine),
    Org(#[serde(with = "OrgLine")] Org),
    User(#[serde(with = "UserLine")] User),
    Bucket(#[serde(with = "BucketLine")] Bucket),
    Dbrp(DbrpLine),
    ApiToken(ApiTokenLine),
    Authorization(#[serde(with = "AuthorizationLine")] Authorization),
    ApiTokenUse(UseLine),
    AuthorizationUse(UseLine),
    End(EndLine),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SnapshotLine {
    pub(super) version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndLine {
    pub(super) count: u64,
    pub(super) sha256: String,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Org", deny_unknown_fields)]
struct OrgLine {
    id: OrgId,
    name: Name,
    #[serde(default)]
    status: Status,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "User", deny_unknown_fields)]
struct UserLine {
    id: UserId,
    name: Name,
    #[serde(default)]
    status: Status,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Bucket", deny_unknown_fields)]
struct BucketLine {
    id: BucketId,
    #[serde(rename = "orgID")]
    org: OrgId,
    name: Name,
}

/// The mappings of a database.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DbrpLine {
    id: Id,
    #[serde(rename = "orgID")]
    org: OrgId,
    database: DbrpName,
    mappings: Vec<MappingObject>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MappingObject {
    id: DbrpId,
    retention_policy: DbrpName,
    #[serde(rename = "bucketID")]
    bucket: BucketId,
    #[serde(default)]
    default: bool,
}

impl From<&DatabaseMappings> for DbrpLine {
    fn from(mappings: &DatabaseMappings) -> Self {
        let object = |policy: &PolicyMapping| MappingObject {
            id: policy.id,
            retention_policy: policy.retention_policy.clone(),
            bucket: policy.bucket,
            default: policy.is_default,
        };
        Self {
            id: mappings.id,
            org: mappings.org,
            database: mappings.database.clone(),
            mappings: mappings.policies.iter().map(object).collect(),
        }
    }
}

impl TryFrom<DbrpLine> for DatabaseMappings {
    type Error = String;

    fn try_from(line: DbrpLine) -> Result<Self, String> {
        let policy = |object: MappingObject| PolicyMapping {
            id: object.id,
            retention_policy: object.retention_policy,
            bucket: object.bucket,
            is_default: object.default,
        };
        let policies = PolicyMappings::new(line.mappings.into_iter().map(policy).collect());
        let policies = policies.map_err(|error| error.to_string())?;
        Ok(Self { id: line.id, org: line.org, database: line.database, policies })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Authorization", rename_all = "camelCase", deny_unknown_fields)]
struct AuthorizationLine {
    id: AuthorizationId,
    #[serde(rename = "token")]
    username: Username,
    #[serde(rename = "orgID")]
    org: OrgId,
    #[serde(rename = "userID")]
    user: UserId,
    #[serde(default)]
    status: Status,
    #[serde(default)]
    description: String,
    #[serde(default, with = "permissions")]
    permissions: Vec<Permission>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password_hash: Option<PasswordHash>,
    #[serde(default = "year_one")]
    created_at: Timestamp,
    #[serde(default = "year_one")]
    updated_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password_set_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password_expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "AllowedNetworks::is_empty")]
    allowed_networks: AllowedNetworks,
    #[serde(default, with = "previous_password", skip_serializing_if = "Option::is_none")]
    previous_password: Option<Box<PreviousPassword>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    password_history: Vec<PasswordHash>,
}

/// The password before the present one.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PreviousPasswordObject {
    hash: PasswordHash,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    set_at: Option<Timestamp>,
    ends_at: Timestamp,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    ends_when_new_is_used: bool,
}

mod previous_password {
    use super::*;

    #[expect(clippy::ref_option, reason = "serde calls it with this type")]
    pub(super) fn serialize<S: Serializer>(
        previous: &Option<Box<PreviousPassword>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let object = previous.clone().map(|previous| {
            let PreviousPassword { hash, set_at, ends_at, ends_when_new_is_used } = *previous;
            PreviousPasswordObject { hash, set_at, ends_at, ends_when_new_is_used }
        });
        object.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Box<PreviousPassword>>, D::Error> {
        let object = Option::<PreviousPasswordObject>::deserialize(deserializer)?;
        Ok(object.map(|object| {
            let PreviousPasswordObject { hash, set_at, ends_at, ends_when_new_is_used } = object;
            Box::new(PreviousPassword { hash, set_at, ends_at, ends_when_new_is_used })
        }))
    }
}

/// The time of records without times: the reference shows it for them.
fn year_one() -> Timestamp {
    const YEAR_ONE_MILLIS: i64 = -62_135_596_800_000;
    Timestamp::from_unix_millis(YEAR_ONE_MILLIS).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// An API token, with either its digest or, only on input, its secret.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ApiTokenLine {
    id: ApiTokenId,
    #[serde(rename = "orgID")]
    org: OrgId,
    #[serde(rename = "userID")]
    user: UserId,
    #[serde(default)]
    status: Status,
    #[serde(default)]
    description: String,
    #[serde(default, with = "permissions")]
    permissions: Vec<Permission>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_digest: Option<TokenDigest>,
    #[serde(default, skip_serializing)]
    token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "AllowedNetworks::is_empty")]
    allowed_networks: AllowedNetworks,
}

impl From<&ApiToken> for ApiTokenLine {
    fn from(token: &ApiToken) -> Self {
        Self {
            id: token.id,
            org: token.org,
            user: token.user,
            status: token.status,
            description: token.description.clone(),
            permissions: token.permissions.clone(),
            token_digest: Some(token.digest),
            token: None,
            expires_at: token.expires_at,
            allowed_networks: token.allowed_networks.clone(),
        }
    }
}

impl TryFrom<ApiTokenLine> for ApiToken {
    type Error = String;

    fn try_from(line: ApiTokenLine) -> Result<Self, String> {
        let digest = match (line.token_digest, line.token) {
            (Some(digest), None) => digest,
            (None, Some(token)) if token.is_empty() => {
                return Err("`token` must not be empty".to_owned());
            }
            (None, Some(token)) => TokenSecret::new(token).digest(),
            (Some(_), Some(_)) => {
                return Err("give either `token` or `tokenDigest`, not both".to_owned());
            }
            (None, None) => return Err("missing `tokenDigest` (or `token`)".to_owned()),
        };
        Ok(Self {
            id: line.id,
            digest,
            status: line.status,
            description: line.description,
            org: line.org,
            user: line.user,
            permissions: line.permissions,
            expires_at: line.expires_at,
            allowed_networks: line.allowed_networks,
        })
    }
}

/// The last use of an authorization or an API token.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UseLine {
    id: Id,
    #[serde(rename = "orgID")]
    org: OrgId,
    #[serde(rename = "userID")]
    user: UserId,
    last_used_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_used_from: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous_used_at: Option<Timestamp>,
}

impl UseLine {
    fn new(id: Id, org: OrgId, user: UserId, last: &LastUse) -> Self {
        Self {
            id,
            org,
            user,
            last_used_at: last.at,
            last_used_from: last.from,
            previous_used_at: last.previous_at,
        }
    }

    const fn last(&self) -> LastUse {
        LastUse {
            at: self.last_used_at,
            from: self.last_used_from,
            previous_at: self.previous_used_at,
        }
    }
}

impl From<&ApiTokenUse> for UseLine {
    fn from(used: &ApiTokenUse) -> Self {
        Self::new(used.id.untyped(), used.org, used.user, &used.last)
    }
}

impl From<&AuthorizationUse> for UseLine {
    fn from(used: &AuthorizationUse) -> Self {
        Self::new(used.id.untyped(), used.org, used.user, &used.last)
    }
}

impl From<UseLine> for ApiTokenUse {
    fn from(line: UseLine) -> Self {
        Self { id: line.id.into(), org: line.org, user: line.user, last: line.last() }
    }
}

impl From<UseLine> for AuthorizationUse {
    fn from(line: UseLine) -> Self {
        Self { id: line.id.into(), org: line.org, user: line.user, last: line.last() }
    }
}

/// A permission as the API writes it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PermissionObject {
    action: String,
    resource: ResourceObject,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResourceObject {
    #[serde(rename = "type")]
    resource_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<Id>,
    #[serde(rename = "orgID", default, skip_serializing_if = "Option::is_none")]
    org: Option<OrgId>,
}

impl From<&Permission> for PermissionObject {
    fn from(permission: &Permission) -> Self {
        let Permission { action, resource } = permission;
        Self {
            action: action.to_string(),
            resource: ResourceObject {
                resource_type: resource.resource_type.to_string(),
                id: resource.id,
                org: resource.org,
            },
        }
    }
}

/// Permissions as the API writes them.
mod permissions {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        permissions: &[Permission],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(permissions.iter().map(PermissionObject::from))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Permission>, D::Error> {
        let permission = |object: PermissionObject| {
            let ResourceObject { resource_type, id, org } = object.resource;
            UncheckedPermission::new(object.action, resource_type, id, org).validate()
        };
        let objects = Vec::<PermissionObject>::deserialize(deserializer)?;
        objects.into_iter().map(permission).collect::<Result<_, _>>().map_err(de::Error::custom)
    }
}
