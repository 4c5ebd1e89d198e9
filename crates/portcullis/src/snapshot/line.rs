//! One line of a snapshot.

use serde::{Deserialize, Serialize};

use crate::password::PasswordHash;
use crate::{
    ApiToken, ApiTokenId, Authorization, AuthorizationId, Bucket, BucketId, Id, Name, Org, OrgId,
    Permission, Status, Timestamp, TokenDigest, TokenSecret, UncheckedPermission, User, UserId,
    Username,
};

/// A line. Unknown types and members are refused, so that no data is lost unnoticed.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", deny_unknown_fields)]
pub(super) enum Line {
    Snapshot(SnapshotLine),
    Org(OrgLine),
    User(UserLine),
    Bucket(BucketLine),
    ApiToken(ApiTokenLine),
    Authorization(AuthorizationLine),
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
#[serde(deny_unknown_fields)]
pub(super) struct OrgLine {
    id: OrgId,
    name: Name,
    #[serde(default)]
    status: Status,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserLine {
    id: UserId,
    name: Name,
    #[serde(default)]
    status: Status,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BucketLine {
    id: BucketId,
    #[serde(rename = "orgID")]
    org: OrgId,
    name: Name,
}

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
    #[serde(default)]
    permissions: Vec<PermissionObject>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_digest: Option<TokenDigest>,
    #[serde(default, skip_serializing)]
    token: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AuthorizationLine {
    id: AuthorizationId,
    token: Username,
    #[serde(rename = "orgID")]
    org: OrgId,
    #[serde(rename = "userID")]
    user: UserId,
    #[serde(default)]
    status: Status,
    #[serde(default)]
    description: String,
    #[serde(default)]
    permissions: Vec<PermissionObject>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password_hash: Option<PasswordHash>,
    #[serde(default = "year_one")]
    created_at: Timestamp,
    #[serde(default = "year_one")]
    updated_at: Timestamp,
}

/// The time of records without times: the reference shows it for them.
fn year_one() -> Timestamp {
    const YEAR_ONE_MILLIS: i64 = -62_135_596_800_000;
    Timestamp::from_unix_millis(YEAR_ONE_MILLIS).unwrap_or(Timestamp::UNIX_EPOCH)
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

fn permissions(objects: Vec<PermissionObject>) -> Result<Vec<Permission>, String> {
    let permission = |object: PermissionObject| {
        let ResourceObject { resource_type, id, org } = object.resource;
        UncheckedPermission::new(object.action, resource_type, id, org).validate()
    };
    objects.into_iter().map(permission).collect::<Result<_, _>>().map_err(|e| e.to_string())
}

impl From<&Org> for Line {
    fn from(org: &Org) -> Self {
        Self::Org(OrgLine { id: org.id, name: org.name.clone(), status: org.status })
    }
}

impl From<&User> for Line {
    fn from(user: &User) -> Self {
        Self::User(UserLine { id: user.id, name: user.name.clone(), status: user.status })
    }
}

impl From<&Bucket> for Line {
    fn from(bucket: &Bucket) -> Self {
        Self::Bucket(BucketLine { id: bucket.id, org: bucket.org, name: bucket.name.clone() })
    }
}

impl From<&ApiToken> for Line {
    fn from(token: &ApiToken) -> Self {
        Self::ApiToken(ApiTokenLine {
            id: token.id,
            org: token.org,
            user: token.user,
            status: token.status,
            description: token.description.clone(),
            permissions: token.permissions.iter().map(Into::into).collect(),
            token_digest: Some(token.digest),
            token: None,
        })
    }
}

impl From<&Authorization> for Line {
    fn from(authorization: &Authorization) -> Self {
        Self::Authorization(AuthorizationLine {
            id: authorization.id,
            token: authorization.username.clone(),
            org: authorization.org,
            user: authorization.user,
            status: authorization.status,
            description: authorization.description.clone(),
            permissions: authorization.permissions.iter().map(Into::into).collect(),
            password_hash: authorization.password_hash.clone(),
            created_at: authorization.created_at,
            updated_at: authorization.updated_at,
        })
    }
}

impl From<OrgLine> for Org {
    fn from(OrgLine { id, name, status }: OrgLine) -> Self {
        Self { id, name, status }
    }
}

impl From<UserLine> for User {
    fn from(UserLine { id, name, status }: UserLine) -> Self {
        Self { id, name, status }
    }
}

impl From<BucketLine> for Bucket {
    fn from(BucketLine { id, org, name }: BucketLine) -> Self {
        Self { id, org, name }
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
            permissions: permissions(line.permissions)?,
        })
    }
}

impl TryFrom<AuthorizationLine> for Authorization {
    type Error = String;

    fn try_from(line: AuthorizationLine) -> Result<Self, String> {
        Ok(Self {
            id: line.id,
            username: line.token,
            status: line.status,
            description: line.description,
            org: line.org,
            user: line.user,
            permissions: permissions(line.permissions)?,
            password_hash: line.password_hash,
            created_at: line.created_at,
            updated_at: line.updated_at,
        })
    }
}
