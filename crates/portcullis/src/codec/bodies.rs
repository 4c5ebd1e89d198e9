//! The bodies of each kind, as they are stored.

use serde::{Deserialize, Serialize};

use super::{CredentialVersion, Entity, Version1, compact, fast_json};
use crate::model::PolicyMappings;
use crate::password::PasswordHash;
use crate::store::{InvalidUniqueKey, Kind, Record, UniqueKey};
use crate::{
    AllowedNetworks, ApiToken, ApiTokenId, Authorization, AuthorizationId, Bucket, BucketId,
    DatabaseMappings, DbrpId, DbrpName, GrantKey, Id, Name, Org, OrgId, Permission,
    PreviousPassword, Resource, ResourceType, Status, Timestamp, TokenDigest, User, UserId,
    Username,
};

#[doc(hidden)]
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizationBody {
    v: CredentialVersion,
    id: AuthorizationId,
    token: Username,
    status: Status,
    description: String,
    #[serde(rename = "orgID")]
    org: OrgId,
    #[serde(rename = "userID")]
    user: UserId,
    permissions: Vec<Permission>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password_hash: Option<PasswordHash>,
    created_at: Timestamp,
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

/// The password before the present one, as it is stored.
pub(super) mod previous_password {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::password::PasswordHash;
    use crate::{PreviousPassword, Timestamp};

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        hash: PasswordHash,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        set_at: Option<Timestamp>,
        ends_at: Timestamp,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ends_when_new_is_used: bool,
    }

    #[expect(clippy::ref_option, reason = "serde calls it with this type")]
    pub(in super::super) fn serialize<S: Serializer>(
        previous: &Option<Box<PreviousPassword>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let body = previous.clone().map(|previous| {
            let PreviousPassword { hash, set_at, ends_at, ends_when_new_is_used } = *previous;
            Body { hash, set_at, ends_at, ends_when_new_is_used }
        });
        body.serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Box<PreviousPassword>>, D::Error> {
        let body = Option::<Body>::deserialize(deserializer)?;
        Ok(body.map(|body| {
            let Body { hash, set_at, ends_at, ends_when_new_is_used } = body;
            Box::new(PreviousPassword { hash, set_at, ends_at, ends_when_new_is_used })
        }))
    }
}

impl Entity for Authorization {
    const KIND: Kind = Kind::Authorization;

    type Body = AuthorizationBody;

    fn id(&self) -> Id {
        self.id.untyped()
    }

    fn unique_key(&self) -> Result<UniqueKey, InvalidUniqueKey> {
        UniqueKey::new(self.username.as_str())
    }

    // Without a copy, as every list and every login calls it.
    fn has_unique_key(&self, key: &UniqueKey) -> bool {
        self.username.as_str() == key.as_str()
    }

    fn org(&self) -> Option<OrgId> {
        Some(self.org)
    }

    fn user(&self) -> Option<UserId> {
        Some(self.user)
    }

    fn status(&self) -> Status {
        self.status
    }

    fn grants(&self) -> Vec<GrantKey> {
        let mut keys: Vec<_> = self.permissions.iter().copied().map(GrantKey::of).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    fn to_body(&self) -> AuthorizationBody {
        AuthorizationBody {
            v: CredentialVersion::of(self.needs_version_2()),
            id: self.id,
            token: self.username.clone(),
            status: self.status,
            description: self.description.clone(),
            org: self.org,
            user: self.user,
            permissions: self.permissions.clone(),
            password_hash: self.password_hash.clone(),
            created_at: self.created_at,
            updated_at: self.updated_at,
            password_set_at: self.password_set_at,
            expires_at: self.expires_at,
            password_expires_at: self.password_expires_at,
            allowed_networks: self.allowed_networks.clone(),
            previous_password: self.previous_password.clone(),
            password_history: self.password_history.clone(),
        }
    }

    fn parse_fast(record: &Record) -> Option<Self> {
        let key = &record.unique_key;
        match record.body.compact() {
            Some(bytes) => compact::authorization(bytes, key),
            None => fast_json::authorization(&record.body, Some(key)),
        }
    }

    fn from_body(body: AuthorizationBody) -> Self {
        Self {
            id: body.id,
            username: body.token,
            status: body.status,
            description: body.description,
            org: body.org,
            user: body.user,
            permissions: body.permissions,
            password_hash: body.password_hash,
            created_at: body.created_at,
            updated_at: body.updated_at,
            expires_at: body.expires_at,
            allowed_networks: body.allowed_networks,
            password_set_at: body.password_set_at,
            password_expires_at: body.password_expires_at,
            previous_password: body.previous_password,
            password_history: body.password_history,
        }
    }
}

#[doc(hidden)]
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiTokenBody {
    v: CredentialVersion,
    id: ApiTokenId,
    token_digest: TokenDigest,
    status: Status,
    description: String,
    #[serde(rename = "orgID")]
    org: OrgId,
    #[serde(rename = "userID")]
    user: UserId,
    permissions: Vec<Permission>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "AllowedNetworks::is_empty")]
    allowed_networks: AllowedNetworks,
}

impl Entity for ApiToken {
    const KIND: Kind = Kind::ApiToken;

    type Body = ApiTokenBody;

    fn id(&self) -> Id {
        self.id.untyped()
    }

    fn unique_key(&self) -> Result<UniqueKey, InvalidUniqueKey> {
        UniqueKey::new(self.digest.to_text())
    }

    fn org(&self) -> Option<OrgId> {
        Some(self.org)
    }

    fn user(&self) -> Option<UserId> {
        Some(self.user)
    }

    fn status(&self) -> Status {
        self.status
    }

    fn to_body(&self) -> ApiTokenBody {
        ApiTokenBody {
            v: CredentialVersion::of(self.needs_version_2()),
            id: self.id,
            token_digest: self.digest,
            status: self.status,
            description: self.description.clone(),
            org: self.org,
            user: self.user,
            permissions: self.permissions.clone(),
            expires_at: self.expires_at,
            allowed_networks: self.allowed_networks.clone(),
        }
    }

    fn from_body(body: ApiTokenBody) -> Self {
        Self {
            id: body.id,
            digest: body.token_digest,
            status: body.status,
            description: body.description,
            org: body.org,
            user: body.user,
            permissions: body.permissions,
            expires_at: body.expires_at,
            allowed_networks: body.allowed_networks,
        }
    }
}

#[doc(hidden)]
#[derive(Serialize, Deserialize)]
pub struct UserBody {
    v: Version1,
    id: UserId,
    name: Name,
    status: Status,
}

impl Entity for User {
    const KIND: Kind = Kind::User;

    type Body = UserBody;

    fn id(&self) -> Id {
        self.id.untyped()
    }

    fn unique_key(&self) -> Result<UniqueKey, InvalidUniqueKey> {
        UniqueKey::new(self.name.as_str())
    }

    fn status(&self) -> Status {
        self.status
    }

    fn to_body(&self) -> UserBody {
        UserBody { v: Version1, id: self.id, name: self.name.clone(), status: self.status }
    }

    fn from_body(body: UserBody) -> Self {
        Self { id: body.id, name: body.name, status: body.status }
    }
}

#[doc(hidden)]
#[derive(Serialize, Deserialize)]
pub struct OrgBody {
    v: Version1,
    id: OrgId,
    name: Name,
    status: Status,
}

impl Entity for Org {
    const KIND: Kind = Kind::Org;

    type Body = OrgBody;

    fn id(&self) -> Id {
        self.id.untyped()
    }

    fn unique_key(&self) -> Result<UniqueKey, InvalidUniqueKey> {
        UniqueKey::new(self.name.as_str())
    }

    fn status(&self) -> Status {
        self.status
    }

    fn to_body(&self) -> OrgBody {
        OrgBody { v: Version1, id: self.id, name: self.name.clone(), status: self.status }
    }

    fn from_body(body: OrgBody) -> Self {
        Self { id: body.id, name: body.name, status: body.status }
    }
}

#[doc(hidden)]
#[derive(Serialize, Deserialize)]
pub struct BucketBody {
    v: Version1,
    id: BucketId,
    #[serde(rename = "orgID")]
    org: OrgId,
    name: Name,
}

impl Bucket {
    /// Returns the unique key of the bucket with the name in the org: names are unique per org.
    pub(crate) fn key_of(org: OrgId, name: &str) -> String {
        format!("{org}/{name}")
    }
}

impl Entity for Bucket {
    const KIND: Kind = Kind::Bucket;

    type Body = BucketBody;

    fn id(&self) -> Id {
        self.id.untyped()
    }

    fn unique_key(&self) -> Result<UniqueKey, InvalidUniqueKey> {
        UniqueKey::new(Self::key_of(self.org, self.name.as_str()))
    }

    fn org(&self) -> Option<OrgId> {
        Some(self.org)
    }

    fn to_body(&self) -> BucketBody {
        BucketBody { v: Version1, id: self.id, org: self.org, name: self.name.clone() }
    }

    fn from_body(body: BucketBody) -> Self {
        Self { id: body.id, org: body.org, name: body.name }
    }
}

#[doc(hidden)]
#[derive(Serialize, Deserialize)]
pub struct DatabaseMappingsBody {
    v: Version1,
    id: Id,
    #[serde(rename = "orgID")]
    org: OrgId,
    database: DbrpName,
    #[serde(with = "policy_mappings")]
    mappings: PolicyMappings,
}

impl DatabaseMappings {
    /// Returns the unique key of the database with the name in the org. No other text has a slash at the
    /// same place.
    pub(crate) fn key_of(org: OrgId, database: &str) -> String {
        format!("{org}/{database}")
    }

    /// Returns the key by which the mapping with the id is listed.
    pub(crate) fn grant_key_of(id: DbrpId) -> GrantKey {
        GrantKey::of(Permission::read(Resource::all(ResourceType::Dbrp).with_id(id.untyped())))
    }

    /// Returns the key by which the mappings of the bucket are listed.
    pub(crate) fn grant_key_of_bucket(bucket: BucketId) -> GrantKey {
        GrantKey::of(Permission::read(
            Resource::all(ResourceType::Buckets).with_id(bucket.untyped()),
        ))
    }
}

impl Entity for DatabaseMappings {
    const KIND: Kind = Kind::Dbrp;

    type Body = DatabaseMappingsBody;

    fn id(&self) -> Id {
        self.id
    }

    fn unique_key(&self) -> Result<UniqueKey, InvalidUniqueKey> {
        UniqueKey::new(Self::key_of(self.org, self.database.as_str()))
    }

    fn org(&self) -> Option<OrgId> {
        Some(self.org)
    }

    /// A record has several mappings, and is listed by the id and by the bucket of each.
    fn grants(&self) -> Vec<GrantKey> {
        let mut keys: Vec<_> = self
            .policies
            .iter()
            .flat_map(|policy| {
                [Self::grant_key_of(policy.id), Self::grant_key_of_bucket(policy.bucket)]
            })
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    fn to_body(&self) -> DatabaseMappingsBody {
        DatabaseMappingsBody {
            v: Version1,
            id: self.id,
            org: self.org,
            database: self.database.clone(),
            mappings: self.policies.clone(),
        }
    }

    fn from_body(body: DatabaseMappingsBody) -> Self {
        Self { id: body.id, org: body.org, database: body.database, policies: body.mappings }
    }
}

/// The mappings of a database, as they are stored.
mod policy_mappings {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    use crate::model::{PolicyMapping, PolicyMappings};
    use crate::{BucketId, DbrpId, DbrpName};

    #[derive(Serialize, Deserialize)]
    struct Body {
        id: DbrpId,
        #[serde(rename = "retentionPolicy")]
        retention_policy: DbrpName,
        #[serde(rename = "bucketID")]
        bucket: BucketId,
        #[serde(rename = "default")]
        is_default: bool,
    }

    pub(super) fn serialize<S: Serializer>(
        mappings: &PolicyMappings,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(mappings.iter().cloned().map(|mapping| {
            let PolicyMapping { id, retention_policy, bucket, is_default } = mapping;
            Body { id, retention_policy, bucket, is_default }
        }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<PolicyMappings, D::Error> {
        let mappings = Vec::<Body>::deserialize(deserializer)?.into_iter().map(|mapping| {
            let Body { id, retention_policy, bucket, is_default } = mapping;
            PolicyMapping { id, retention_policy, bucket, is_default }
        });
        PolicyMappings::new(mappings.collect()).map_err(de::Error::custom)
    }
}

/// A deleted user or org whose credentials are still being deleted.
///
/// It is written in the commit that deletes the user or org, so that the next start completes the
/// deletion after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// Its own id: an org and a user may have the same one.
    pub id: Id,
    /// The deleted user or org.
    pub gone: DeletedTenant,
}

/// The user or org that a [`Tombstone`] stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeletedTenant {
    /// An org.
    Org(OrgId),
    /// A user.
    User(UserId),
}

#[doc(hidden)]
#[derive(Serialize, Deserialize)]
pub struct TombstoneBody {
    v: Version1,
    id: Id,
    gone: DeletedTenant,
}

impl Entity for Tombstone {
    const KIND: Kind = Kind::Tombstone;

    type Body = TombstoneBody;

    fn id(&self) -> Id {
        self.id
    }

    fn unique_key(&self) -> Result<UniqueKey, InvalidUniqueKey> {
        UniqueKey::new(match self.gone {
            DeletedTenant::Org(org) => format!("org/{org}"),
            DeletedTenant::User(user) => format!("user/{user}"),
        })
    }

    fn to_body(&self) -> TombstoneBody {
        TombstoneBody { v: Version1, id: self.id, gone: self.gone }
    }

    fn from_body(body: TombstoneBody) -> Self {
        Self { id: body.id, gone: body.gone }
    }
}
