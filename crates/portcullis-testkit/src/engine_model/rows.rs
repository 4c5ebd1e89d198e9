//! Records of the model: compared with the engine's, and written as lines of a snapshot.

use portcullis::password::PasswordHash;
use portcullis::{
    ApiToken, ApiTokenId, Authorization, AuthorizationId, Bucket, Org, OrgId, Permission, Status,
    Timestamp, User, UserId,
};
use serde_json::{Value, json};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TokenRow {
    pub(super) id: ApiTokenId,
    pub(super) digest: String,
    pub(super) active: bool,
    pub(super) description: String,
    pub(super) org: OrgId,
    pub(super) user: UserId,
    pub(super) permissions: Vec<Permission>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AuthorizationRow {
    pub(super) id: AuthorizationId,
    pub(super) username: String,
    pub(super) active: bool,
    pub(super) description: String,
    pub(super) org: OrgId,
    pub(super) user: UserId,
    pub(super) permissions: Vec<Permission>,
    pub(super) hash: Option<PasswordHash>,
    pub(super) password_set: Option<Timestamp>,
    pub(super) created: Timestamp,
    pub(super) updated: Timestamp,
}

/// A record of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Row {
    Org(Org),
    User(User),
    Bucket(Bucket),
    /// With its secret.
    Token(TokenRow, String),
    /// With its password.
    Authorization(AuthorizationRow, Option<Vec<u8>>),
}

impl From<&ApiToken> for TokenRow {
    fn from(token: &ApiToken) -> Self {
        Self {
            id: token.id,
            digest: token.digest.to_text(),
            active: token.status.is_active(),
            description: token.description.clone(),
            org: token.org,
            user: token.user,
            permissions: token.permissions.clone(),
        }
    }
}

impl From<&Authorization> for AuthorizationRow {
    fn from(authorization: &Authorization) -> Self {
        Self {
            id: authorization.id,
            username: authorization.username.to_string(),
            active: authorization.status.is_active(),
            description: authorization.description.clone(),
            org: authorization.org,
            user: authorization.user,
            permissions: authorization.permissions.clone(),
            hash: authorization.password_hash.clone(),
            password_set: authorization.password_set_at,
            created: authorization.created_at,
            updated: authorization.updated_at,
        }
    }
}

pub(super) fn status(active: bool) -> Status {
    if active { Status::Active } else { Status::Inactive }
}

fn permissions(permissions: &[Permission]) -> Value {
    let object = |permission: &Permission| {
        let mut resource = json!({"type": permission.resource.resource_type.as_str()});
        if let Some(id) = permission.resource.id {
            resource["id"] = id.to_string().into();
        }
        if let Some(org) = permission.resource.org {
            resource["orgID"] = org.to_string().into();
        }
        json!({"action": permission.action.as_str(), "resource": resource})
    };
    permissions.iter().map(object).collect()
}

impl Row {
    /// Writes it as a line of a snapshot, without members that have their default.
    pub(super) fn to_line(&self) -> String {
        let mut line = match self {
            Self::Org(org) => json!({
                "type": "org", "id": org.id.to_string(), "name": org.name,
                "status": org.status.as_str(),
            }),
            Self::User(user) => json!({
                "type": "user", "id": user.id.to_string(), "name": user.name,
                "status": user.status.as_str(),
            }),
            Self::Bucket(bucket) => json!({
                "type": "bucket", "id": bucket.id.to_string(), "name": bucket.name,
                "orgID": bucket.org.to_string(),
            }),
            Self::Token(token, secret) => json!({
                "type": "apiToken", "id": token.id.to_string(), "token": secret,
                "orgID": token.org.to_string(), "userID": token.user.to_string(),
                "status": status(token.active).as_str(), "description": token.description,
                "permissions": permissions(&token.permissions),
            }),
            Self::Authorization(authorization, _) => json!({
                "type": "authorization", "id": authorization.id.to_string(),
                "token": authorization.username,
                "orgID": authorization.org.to_string(), "userID": authorization.user.to_string(),
                "status": status(authorization.active).as_str(),
                "description": authorization.description,
                "permissions": permissions(&authorization.permissions),
                "passwordHash": authorization.hash.as_ref().map(PasswordHash::expose),
                "passwordSetAt": authorization.password_set.map(|at| at.to_string()),
                "createdAt": authorization.created.to_string(),
                "updatedAt": authorization.updated.to_string(),
            }),
        };
        if let Value::Object(members) = &mut line {
            let defaults = [
                ("status", json!("active")),
                ("description", json!("")),
                ("permissions", json!([])),
                ("passwordHash", json!(null)),
                ("passwordSetAt", json!(null)),
                ("createdAt", json!(YEAR_ONE)),
                ("updatedAt", json!(YEAR_ONE)),
            ];
            for (name, value) in defaults {
                if members.get(name) == Some(&value) {
                    members.remove(name);
                }
            }
        }
        line.to_string()
    }
}

/// The time of records without times.
pub(super) const YEAR_ONE: &str = "0001-01-01T00:00:00Z";
