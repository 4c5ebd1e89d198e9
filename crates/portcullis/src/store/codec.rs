//! The one format of records' bodies, for all kinds and all stores: JSON with a version.
//!
//! A body begins with `"v":1`. Members are only ever added, with a default for the records
//! written before; anything else gets a new version, and the old one stays readable. Snapshots in
//! this file's tests pin the format.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use super::{InvalidUniqueKey, Kind, Record, Revision, StoreError, UniqueKey};
use crate::password::PasswordHash;
use crate::{
    ApiToken, ApiTokenId, Authorization, AuthorizationId, Bucket, BucketId, GrantKey, Id, Name,
    Org, OrgId, Permission, Status, Timestamp, TokenDigest, User, UserId, Username,
};

/// Something that is kept as one record.
pub trait Entity: Sized + Send + Sync {
    /// What its records are records of.
    const KIND: Kind;

    /// The format of the body.
    #[doc(hidden)]
    type Body: Serialize + DeserializeOwned;

    /// Returns its id.
    fn id(&self) -> Id;

    /// Returns what is unique about it.
    ///
    /// # Errors
    ///
    /// [`InvalidUniqueKey`] when it would be empty or too long; the types of this crate rule that
    /// out.
    fn unique_key(&self) -> Result<UniqueKey, InvalidUniqueKey>;

    /// Returns the org it is in.
    fn org(&self) -> Option<OrgId> {
        None
    }

    /// Returns the user it belongs to.
    fn user(&self) -> Option<UserId> {
        None
    }

    /// Tells whether it is in use.
    fn status(&self) -> Status {
        Status::Active
    }

    /// Returns the grant keys it is listed under.
    fn grants(&self) -> Vec<GrantKey> {
        Vec::new()
    }

    #[doc(hidden)]
    fn to_body(&self) -> Self::Body;

    #[doc(hidden)]
    fn from_body(body: Self::Body) -> Self;

    /// Makes the record with the revision.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`] when it cannot be encoded, which the types of this crate rule out.
    fn to_record(&self, revision: Revision) -> Result<Record, StoreError> {
        Ok(Record {
            kind: Self::KIND,
            id: self.id(),
            revision,
            unique_key: self.unique_key().map_err(StoreError::backend)?,
            org: self.org(),
            user: self.user(),
            status: self.status(),
            body: serde_json::to_string(&self.to_body()).map_err(StoreError::backend)?.into(),
        })
    }

    /// Reads the record, and checks that its body says what stands beside it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] when the body cannot be read or contradicts the rest.
    fn from_record(record: &Record) -> Result<Self, StoreError> {
        let decoded = serde_json::from_str(&record.body)
            .map(Self::from_body)
            .map_err(BadBody::Json)
            .and_then(|entity| match entity.contradiction(record) {
                Some(field) => Err(BadBody::Contradicts { field }),
                None => Ok(entity),
            });
        decoded.map_err(|source| StoreError::Corrupt {
            kind: record.kind,
            id: record.id,
            source: source.into(),
        })
    }

    /// Names a field of the record that says something else than the body does.
    #[doc(hidden)]
    fn contradiction(&self, record: &Record) -> Option<&'static str> {
        let same = [
            ("kind", record.kind == Self::KIND),
            ("id", record.id == self.id()),
            ("unique key", self.unique_key().is_ok_and(|key| key == record.unique_key)),
            ("org", record.org == self.org()),
            ("user", record.user == self.user()),
            ("status", record.status == self.status()),
        ];
        same.into_iter().find(|(_, same)| !same).map(|(field, _)| field)
    }
}

/// What is wrong with a body. Never holds the body.
#[derive(Debug, Error)]
enum BadBody {
    #[error("its body contradicts its {field}")]
    Contradicts { field: &'static str },
    #[error("its body cannot be read: {}", describe(.0))]
    Json(serde_json::Error),
}

/// Says where a body is wrong without quoting it: it may hold a password hash.
fn describe(error: &serde_json::Error) -> String {
    format!("{:?} error at column {}", error.classify(), error.column())
}

/// The version of the format, always 1 so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version1;

impl Serialize for Version1 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(1)
    }
}

impl<'de> Deserialize<'de> for Version1 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            1 => Ok(Self),
            _ => Err(de::Error::custom("unknown version")),
        }
    }
}

#[doc(hidden)]
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizationBody {
    v: Version1,
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
            v: Version1,
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
        }
    }
}

#[doc(hidden)]
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiTokenBody {
    v: Version1,
    id: ApiTokenId,
    token_digest: TokenDigest,
    status: Status,
    description: String,
    #[serde(rename = "orgID")]
    org: OrgId,
    #[serde(rename = "userID")]
    user: UserId,
    permissions: Vec<Permission>,
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
            v: Version1,
            id: self.id,
            token_digest: self.digest,
            status: self.status,
            description: self.description.clone(),
            org: self.org,
            user: self.user,
            permissions: self.permissions.clone(),
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

/// A user or org that is gone and whose credentials are still being deleted. It is written in the
/// commit that deletes the user or org, so that a crash in between is made good at the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Its own id: an org and a user may have the same one.
    pub id: Id,
    /// What is gone.
    pub gone: Gone,
}

/// What a [`Deletion`] is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gone {
    /// The org that is gone.
    Org(OrgId),
    /// The user that is gone.
    User(UserId),
}

#[doc(hidden)]
#[derive(Serialize, Deserialize)]
pub struct DeletionBody {
    v: Version1,
    id: Id,
    gone: Gone,
}

impl Entity for Deletion {
    const KIND: Kind = Kind::Deletion;

    type Body = DeletionBody;

    fn id(&self) -> Id {
        self.id
    }

    fn unique_key(&self) -> Result<UniqueKey, InvalidUniqueKey> {
        UniqueKey::new(match self.gone {
            Gone::Org(org) => format!("org/{org}"),
            Gone::User(user) => format!("user/{user}"),
        })
    }

    fn to_body(&self) -> DeletionBody {
        DeletionBody { v: Version1, id: self.id, gone: self.gone }
    }

    fn from_body(body: DeletionBody) -> Self {
        Self { id: body.id, gone: body.gone }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;
    use crate::TokenSecret;

    fn authorization() -> Authorization {
        Authorization {
            id: AuthorizationId::from_u64(0x0d0d_0000_0000_0001),
            username: Username::new("grafana").unwrap(),
            status: Status::Inactive,
            description: "dashboards".to_owned(),
            org: OrgId::from_u64(1),
            user: UserId::from_u64(2),
            permissions: vec![
                "read:orgs/0000000000000001/buckets/0000000000000003".parse().unwrap(),
                "write:instance".parse().unwrap(),
            ],
            password_hash: Some(
                PasswordHash::parse("$2b$04$fVervtjyD90Q9bqnQzgeHeG2Z3shVkpd4l/yrOWDD9erFFhGg5Ml6")
                    .unwrap(),
            ),
            created_at: "2024-01-02T03:04:05.000000006Z".parse().unwrap(),
            updated_at: "2024-02-02T03:04:05Z".parse().unwrap(),
        }
    }

    /// Asserts the exact body, and that reading it gives the same back.
    fn assert_format<E: Entity + PartialEq + Debug>(entity: E, body: &str, key: &str) {
        let record = entity.to_record(Revision::from_u128(1)).unwrap();
        assert_eq!(&*record.body, body);
        assert_eq!(record.unique_key.as_str(), key);
        assert_eq!(E::from_record(&record).unwrap(), entity);
    }

    #[test]
    fn snapshot_of_an_authorization() {
        assert_format(
            authorization(),
            r#"{"v":1,"id":"0d0d000000000001","token":"grafana","status":"inactive","description":"dashboards","orgID":"0000000000000001","userID":"0000000000000002","permissions":["read:orgs/0000000000000001/buckets/0000000000000003","write:instance"],"passwordHash":"$2b$04$fVervtjyD90Q9bqnQzgeHeG2Z3shVkpd4l/yrOWDD9erFFhGg5Ml6","createdAt":"2024-01-02T03:04:05.000000006Z","updatedAt":"2024-02-02T03:04:05Z"}"#,
            "grafana",
        );
        let grants = authorization().grants();
        let grants: Vec<_> = grants.iter().map(GrantKey::to_string).collect();
        assert_eq!(grants, ["read:buckets/0000000000000003", "write:instance"]);
    }

    #[test]
    fn snapshot_of_an_authorization_without_a_password() {
        assert_format(
            Authorization { password_hash: None, permissions: Vec::new(), ..authorization() },
            r#"{"v":1,"id":"0d0d000000000001","token":"grafana","status":"inactive","description":"dashboards","orgID":"0000000000000001","userID":"0000000000000002","permissions":[],"createdAt":"2024-01-02T03:04:05.000000006Z","updatedAt":"2024-02-02T03:04:05Z"}"#,
            "grafana",
        );
    }

    #[test]
    fn snapshot_of_an_api_token() {
        let token = ApiToken {
            id: ApiTokenId::from_u64(4),
            digest: TokenSecret::new("op-token-7f3a").digest(),
            status: Status::Active,
            description: String::new(),
            org: OrgId::from_u64(1),
            user: UserId::from_u64(2),
            permissions: vec!["read:users".parse().unwrap()],
        };
        let digest = token.digest.to_text();
        assert_format(
            token,
            &format!(
                r#"{{"v":1,"id":"0000000000000004","tokenDigest":"{digest}","status":"active","description":"","orgID":"0000000000000001","userID":"0000000000000002","permissions":["read:users"]}}"#
            ),
            &digest,
        );
    }

    #[test]
    fn snapshots_of_tenants_and_deletions() {
        let name = |name: &str| Name::new(name).unwrap();
        assert_format(
            User { id: UserId::from_u64(2), name: name("ada"), status: Status::Active },
            r#"{"v":1,"id":"0000000000000002","name":"ada","status":"active"}"#,
            "ada",
        );
        assert_format(
            Org { id: OrgId::from_u64(1), name: name("acme"), status: Status::Inactive },
            r#"{"v":1,"id":"0000000000000001","name":"acme","status":"inactive"}"#,
            "acme",
        );
        assert_format(
            Bucket { id: BucketId::from_u64(3), org: OrgId::from_u64(1), name: name("a/b") },
            r#"{"v":1,"id":"0000000000000003","orgID":"0000000000000001","name":"a/b"}"#,
            "0000000000000001/a/b",
        );
        assert_format(
            Deletion { id: Id::from_u64(4), gone: Gone::Org(OrgId::from_u64(1)) },
            r#"{"v":1,"id":"0000000000000004","gone":{"org":"0000000000000001"}}"#,
            "org/0000000000000001",
        );
        assert_format(
            Deletion { id: Id::from_u64(5), gone: Gone::User(UserId::from_u64(1)) },
            r#"{"v":1,"id":"0000000000000005","gone":{"user":"0000000000000001"}}"#,
            "user/0000000000000001",
        );
    }

    #[test]
    fn a_record_that_contradicts_its_body_is_corrupt() {
        let good = authorization().to_record(Revision::from_u128(1)).unwrap();
        let bad = [
            ("kind", Record { kind: Kind::User, ..good.clone() }),
            ("id", Record { id: Id::from_u64(9), ..good.clone() }),
            ("unique key", Record { unique_key: UniqueKey::new("x").unwrap(), ..good.clone() }),
            ("org", Record { org: None, ..good.clone() }),
            ("user", Record { user: Some(UserId::from_u64(9)), ..good.clone() }),
            ("status", Record { status: Status::Active, ..good.clone() }),
        ];
        for (field, record) in bad {
            let error = Authorization::from_record(&record).unwrap_err();
            let StoreError::Corrupt { source, .. } = error else { panic!("{error:?}") };
            assert_eq!(source.to_string(), format!("its body contradicts its {field}"));
        }
    }

    #[test]
    fn a_body_that_cannot_be_read_is_corrupt_and_not_quoted() {
        let good = authorization().to_record(Revision::from_u128(1)).unwrap();
        for body in [
            String::new(),
            "null".to_owned(),
            good.body.trim_end_matches('}').to_owned(),
            good.body.replace("\"v\":1", "\"v\":2"),
            good.body.replace("\"v\":1,", ""),
            good.body.replace("$2b$04$", "$2b$99$"),
        ] {
            let error = Authorization::from_record(&Record { body: body.into(), ..good.clone() });
            let Err(StoreError::Corrupt { source, .. }) = error else { panic!("{error:?}") };
            assert!(!format!("{source}").contains('$'), "{source}");
        }
    }

    #[test]
    fn members_added_later_are_ignored_by_this_version() {
        let good = authorization().to_record(Revision::from_u128(1)).unwrap();
        let body = good.body.replace("{\"v\":1,", "{\"v\":1,\"later\":[1],");
        let read = Authorization::from_record(&Record { body: body.into(), ..good }).unwrap();
        assert_eq!(read, authorization());
    }
}
