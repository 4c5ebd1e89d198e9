//! Credentials as commands know them: without secrets and hashes, from a store or from a server.

use portcullis::{
    AllowedNetworks, ApiToken, ApiTokenId, Authorization, AuthorizationId, LastUse, OrgId,
    Permission, Status, Timestamp, UserId, Username,
};

/// An authorization without the hash of its password.
#[derive(Clone, Debug)]
pub(crate) struct AuthorizationRecord {
    pub(crate) id: AuthorizationId,
    pub(crate) username: Username,
    pub(crate) status: Status,
    pub(crate) description: String,
    pub(crate) org: OrgId,
    pub(crate) user: UserId,
    pub(crate) permissions: Vec<Permission>,
    /// Without a password, every login is refused.
    pub(crate) has_password: bool,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) password_expires_at: Option<Timestamp>,
    pub(crate) allowed_networks: AllowedNetworks,
    /// When it was last used, if that is known and was read.
    pub(crate) last_use: Option<LastUse>,
    /// Its two passwords, while there is a previous one.
    pub(crate) rotation: Option<RotationRecord>,
}

/// When the two passwords of a rotation were set, and when the previous one ends.
#[derive(Clone, Debug)]
pub(crate) struct RotationRecord {
    pub(crate) password_set_at: Option<Timestamp>,
    pub(crate) previous_set_at: Option<Timestamp>,
    pub(crate) previous_ends_at: Timestamp,
    /// Whether it ends earlier: at the first login with the present one.
    pub(crate) ends_on_use: bool,
    /// When it was last used since the present one was set.
    pub(crate) previous_used_at: Option<Timestamp>,
}

impl AuthorizationRecord {
    /// Adds the last use, as it was read.
    pub(crate) fn with_last_use(mut self, last_use: Option<LastUse>) -> Self {
        if let (Some(rotation), Some(last_use)) = (&mut self.rotation, last_use) {
            let set_at = rotation.password_set_at;
            rotation.previous_used_at = last_use.of_previous_password(set_at);
        }
        Self { last_use, ..self }
    }
}

impl From<Authorization> for AuthorizationRecord {
    fn from(authorization: Authorization) -> Self {
        let password_set_at = authorization.password_set_at;
        let rotation = authorization.previous_password.map(|previous| RotationRecord {
            password_set_at,
            previous_set_at: previous.set_at,
            previous_ends_at: previous.ends_at,
            ends_on_use: previous.ends_when_new_is_used,
            previous_used_at: None,
        });
        Self {
            id: authorization.id,
            username: authorization.username,
            status: authorization.status,
            description: authorization.description,
            org: authorization.org,
            user: authorization.user,
            permissions: authorization.permissions,
            has_password: authorization.password_hash.is_some(),
            created_at: authorization.created_at,
            updated_at: authorization.updated_at,
            expires_at: authorization.expires_at,
            password_expires_at: authorization.password_expires_at,
            allowed_networks: authorization.allowed_networks,
            last_use: None,
            rotation,
        }
    }
}

/// An API token without its digest.
#[derive(Clone, Debug)]
pub(crate) struct ApiTokenRecord {
    pub(crate) id: ApiTokenId,
    pub(crate) status: Status,
    pub(crate) description: String,
    pub(crate) org: OrgId,
    pub(crate) user: UserId,
    pub(crate) permissions: Vec<Permission>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) allowed_networks: AllowedNetworks,
}

impl From<ApiToken> for ApiTokenRecord {
    fn from(token: ApiToken) -> Self {
        Self {
            id: token.id,
            status: token.status,
            description: token.description,
            org: token.org,
            user: token.user,
            permissions: token.permissions,
            expires_at: token.expires_at,
            allowed_networks: token.allowed_networks,
        }
    }
}
