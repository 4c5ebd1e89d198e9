//! The JSON of the management API, as a client reads it. Members that it does not need are ignored.

use std::net::IpAddr;

use portcullis::{
    AllowedNetworks, ApiTokenId, AuthorizationId, AuthorizationUpdate, Bucket, BucketId, DbrpId,
    DbrpMapping, DeletionPreview, Error, ErrorKind, Id, LastUse, Name, Org, OrgId, Permission,
    Status, Timestamp, UncheckedPermission, User, UserId, Username,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::session::{ApiTokenRecord, AuthorizationRecord, RotationRecord};

#[derive(Deserialize)]
pub(super) struct OrgBody {
    pub(super) id: OrgId,
    name: Name,
    status: Status,
}

impl From<OrgBody> for Org {
    fn from(OrgBody { id, name, status }: OrgBody) -> Self {
        Self { id, name, status }
    }
}

#[derive(Deserialize)]
pub(super) struct UserBody {
    id: UserId,
    name: Name,
    status: Status,
}

impl From<UserBody> for User {
    fn from(UserBody { id, name, status }: UserBody) -> Self {
        Self { id, name, status }
    }
}

#[derive(Deserialize)]
pub(super) struct BucketBody {
    id: BucketId,
    #[serde(rename = "orgID")]
    org: OrgId,
    name: Name,
}

impl From<BucketBody> for Bucket {
    fn from(BucketBody { id, org, name }: BucketBody) -> Self {
        Self { id, org, name }
    }
}

#[derive(Deserialize)]
pub(super) struct Orgs {
    pub(super) orgs: Vec<OrgBody>,
}

#[derive(Deserialize)]
pub(super) struct Users {
    pub(super) users: Vec<UserBody>,
}

#[derive(Deserialize)]
pub(super) struct Buckets {
    pub(super) buckets: Vec<BucketBody>,
}

#[derive(Deserialize)]
pub(super) struct DbrpBody {
    id: DbrpId,
    database: String,
    retention_policy: String,
    default: bool,
    r#virtual: bool,
    #[serde(rename = "orgID")]
    org: OrgId,
    #[serde(rename = "bucketID")]
    bucket: BucketId,
}

impl From<DbrpBody> for DbrpMapping {
    fn from(body: DbrpBody) -> Self {
        Self {
            id: body.id,
            org: body.org,
            database: body.database.into(),
            retention_policy: body.retention_policy.into(),
            is_default: body.default,
            is_virtual: body.r#virtual,
            bucket: body.bucket,
        }
    }
}

/// What wraps a mapping, or several.
#[derive(Deserialize)]
pub(super) struct Content<T> {
    pub(super) content: T,
}

#[derive(Deserialize)]
pub(super) struct PermissionBody {
    action: String,
    resource: ResourceBody,
}

#[derive(Deserialize)]
pub(super) struct ResourceBody {
    #[serde(rename = "type")]
    resource_type: String,
    id: Option<Id>,
    #[serde(rename = "orgID")]
    org_id: Option<OrgId>,
    pub(super) name: Option<String>,
    pub(super) org: Option<String>,
}

/// Names that a response shows beside ids.
pub(super) struct SeenNames {
    pub(super) org: (OrgId, String),
    pub(super) user: (UserId, String),
    pub(super) resources: Vec<NamedPermission>,
}

/// A permission with the names of its resource and of the org of that.
pub(super) struct NamedPermission {
    pub(super) permission: Permission,
    pub(super) name: Option<String>,
    pub(super) org: Option<String>,
}

/// Parses permissions with the names of their resources.
fn permissions(bodies: Vec<PermissionBody>) -> Result<Vec<NamedPermission>, Error> {
    let permission = |PermissionBody { action, resource }: PermissionBody| {
        let ResourceBody { resource_type, id, org_id, name, org } = resource;
        let permission = UncheckedPermission::new(action, resource_type, id, org_id).validate()?;
        Ok(NamedPermission { permission, name, org })
    };
    bodies
        .into_iter()
        .map(permission)
        .collect::<Result<_, portcullis::InvalidPermission>>()
        .map_err(|error| {
            let message = format!("the response of the server cannot be read: {error}");
            Error::new(ErrorKind::Internal, message)
        })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuthorizationBody {
    id: AuthorizationId,
    #[serde(rename = "token")]
    username: Username,
    status: Status,
    description: String,
    #[serde(rename = "orgID")]
    org_id: OrgId,
    org: String,
    #[serde(rename = "userID")]
    user_id: UserId,
    user: String,
    permissions: Vec<PermissionBody>,
    has_password: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
    expires_at: Option<Timestamp>,
    password_expires_at: Option<Timestamp>,
    #[serde(default)]
    allowed_networks: AllowedNetworks,
    last_used_at: Option<Timestamp>,
    last_used_from: Option<IpAddr>,
    password_set_at: Option<Timestamp>,
    previous_password: Option<PreviousPasswordBody>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PreviousPasswordBody {
    set_at: Option<Timestamp>,
    ends_at: Timestamp,
    #[serde(default)]
    ends_on_use: bool,
    last_used_at: Option<Timestamp>,
}

impl AuthorizationBody {
    pub(super) fn read(self) -> Result<(AuthorizationRecord, SeenNames), Error> {
        let resources = permissions(self.permissions)?;
        let record = AuthorizationRecord {
            id: self.id,
            username: self.username,
            status: self.status,
            description: self.description,
            org: self.org_id,
            user: self.user_id,
            permissions: resources.iter().map(|named| named.permission).collect(),
            has_password: self.has_password,
            created_at: self.created_at,
            updated_at: self.updated_at,
            expires_at: self.expires_at,
            password_expires_at: self.password_expires_at,
            allowed_networks: self.allowed_networks,
            last_use: self.last_used_at.map(|at| LastUse::new(at, self.last_used_from)),
            rotation: self.previous_password.map(|previous| RotationRecord {
                password_set_at: self.password_set_at,
                previous_set_at: previous.set_at,
                previous_ends_at: previous.ends_at,
                ends_on_use: previous.ends_on_use,
                previous_used_at: previous.last_used_at,
            }),
        };
        let (org, user) = ((self.org_id, self.org), (self.user_id, self.user));
        Ok((record, SeenNames { org, user, resources }))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiTokenBody {
    id: ApiTokenId,
    /// Only in the response that creates it.
    pub(super) token: Option<String>,
    status: Status,
    description: String,
    #[serde(rename = "orgID")]
    org_id: OrgId,
    org: String,
    #[serde(rename = "userID")]
    user_id: UserId,
    user: String,
    permissions: Vec<PermissionBody>,
    expires_at: Option<Timestamp>,
    #[serde(default)]
    allowed_networks: AllowedNetworks,
}

impl ApiTokenBody {
    pub(super) fn read(self) -> Result<(ApiTokenRecord, SeenNames), Error> {
        let resources = permissions(self.permissions)?;
        let record = ApiTokenRecord {
            id: self.id,
            status: self.status,
            description: self.description,
            org: self.org_id,
            user: self.user_id,
            permissions: resources.iter().map(|named| named.permission).collect(),
            expires_at: self.expires_at,
            allowed_networks: self.allowed_networks,
        };
        let (org, user) = ((self.org_id, self.org), (self.user_id, self.user));
        Ok((record, SeenNames { org, user, resources }))
    }
}

#[derive(Deserialize)]
pub(super) struct Page<T> {
    #[serde(default)]
    pub(super) links: PageLinks,
    pub(super) authorizations: Vec<T>,
}

#[derive(Default, Deserialize)]
pub(super) struct PageLinks {
    pub(super) next: Option<String>,
}

/// What a deletion would delete.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PreviewBody {
    authorizations: u64,
    api_tokens: u64,
    buckets: u64,
    dbrps: u64,
    grants: u64,
    complete: bool,
}

impl From<PreviewBody> for DeletionPreview {
    fn from(body: PreviewBody) -> Self {
        let mut preview = Self::default();
        preview.authorizations = body.authorizations;
        preview.api_tokens = body.api_tokens;
        preview.buckets = body.buckets;
        preview.dbrps = body.dbrps;
        preview.grants = body.grants;
        preview.is_complete = body.complete;
        preview
    }
}

/// The only member of a response to a change that is needed.
#[derive(Deserialize)]
pub(super) struct Created<I> {
    pub(super) id: I,
}

/// The members of a change of a credential that are given.
pub(super) fn update_json(update: &AuthorizationUpdate) -> Value {
    let members = [
        ("status", update.status.map(|status| json!(status))),
        ("description", update.description.as_ref().map(|text| json!(text))),
        ("expiresAt", update.expires_at.map(|end| json!(end))),
        ("passwordExpiresAt", update.password_expires_at.map(|end| json!(end))),
        ("allowedNetworks", update.allowed_networks.as_ref().map(|networks| json!(networks))),
    ];
    super::members(members)
}

/// Adds the restrictions of a new credential to its body.
pub(super) fn restrict(
    body: &mut Value,
    expires_at: Option<Timestamp>,
    allowed_networks: &AllowedNetworks,
) {
    if let Value::Object(members) = body {
        members.extend(expires_at.map(|end| ("expiresAt".to_owned(), json!(end))));
        if !allowed_networks.is_empty() {
            members.insert("allowedNetworks".to_owned(), json!(allowed_networks));
        }
    }
}

/// Permissions as a request has them.
pub(super) fn permissions_json(permissions: &[Permission]) -> Value {
    let object = |Permission { action, resource }: &Permission| {
        let mut object = json!({ "type": resource.resource_type.as_str() });
        if let Value::Object(members) = &mut object {
            members.extend(resource.id.map(|id| ("id".to_owned(), json!(id))));
            members.extend(resource.org.map(|org| ("orgID".to_owned(), json!(org))));
        }
        json!({ "action": action.as_str(), "resource": object })
    };
    permissions.iter().map(object).collect()
}
