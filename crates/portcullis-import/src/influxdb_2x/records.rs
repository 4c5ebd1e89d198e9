//! The records, which are JSON. Members that are not needed are left out.

use std::fmt;
use std::str::FromStr;

use portcullis::{Action, Id, Permission, Resource, ResourceType, Status, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, de};

use crate::item::Secret;

/// A record of `organizationsv1`.
#[derive(Deserialize)]
pub(super) struct Org {
    pub(super) name: String,
}

/// A record of `usersv1`.
#[derive(Deserialize)]
pub(super) struct User {
    pub(super) name: String,
    #[serde(default, deserialize_with = "status")]
    pub(super) status: Status,
}

/// A record of `bucketsv1`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bucket {
    #[serde(rename = "orgID")]
    pub(super) org: Id,
    pub(super) name: String,
    /// 1 for a bucket of InfluxDB itself.
    #[serde(rename = "type", default)]
    pub(super) bucket_type: i64,
}

/// A record of `dbrpv1`.
#[derive(Deserialize)]
pub(super) struct Dbrp {
    #[serde(rename = "orgID")]
    pub(super) org: Id,
    pub(super) database: String,
    pub(super) retention_policy: String,
    #[serde(rename = "bucketID")]
    pub(super) bucket: Id,
    #[serde(default)]
    pub(super) default: bool,
}

/// A record of `authorizationsv1` or `legacy/authorizationsv1`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Authorization {
    /// The secret of an API token, or the username of a credential.
    #[serde(default, deserialize_with = "secret")]
    pub(super) token: Secret,
    #[serde(default, deserialize_with = "secret")]
    pub(super) hashed_token: Secret,
    #[serde(default, deserialize_with = "status")]
    pub(super) status: Status,
    #[serde(default)]
    pub(super) description: String,
    #[serde(rename = "orgID")]
    pub(super) org: Id,
    #[serde(rename = "userID", default)]
    pub(super) user: Option<Id>,
    #[serde(default)]
    pub(super) permissions: Option<Vec<PermissionRecord>>,
    #[serde(default)]
    pub(super) created_at: Option<Timestamp>,
    #[serde(default)]
    pub(super) updated_at: Option<Timestamp>,
}

/// A permission, whose parts may be none of Portcullis.
#[derive(Deserialize)]
pub(super) struct PermissionRecord {
    #[serde(default)]
    action: String,
    #[serde(default)]
    resource: ResourceRecord,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResourceRecord {
    #[serde(rename = "type")]
    resource_type: String,
    id: Option<String>,
    #[serde(rename = "orgID")]
    org: Option<String>,
}

impl PermissionRecord {
    /// Returns the permission, or why there is none like it.
    pub(super) fn parse(&self) -> Result<Permission, String> {
        let Self { action, resource } = self;
        let action: Action = action.parse().map_err(|_| "there is no such action".to_owned())?;
        let resource_type: ResourceType = resource
            .resource_type
            .parse()
            .map_err(|_| "Portcullis has no such type of resources".to_owned())?;
        let id = |text: &Option<String>| text.as_deref().map(Id::from_str).transpose();
        let mut parsed = Resource::all(resource_type);
        if let Some(org) = id(&resource.org).map_err(|error| error.to_string())? {
            parsed = parsed.in_org(org.into());
        }
        if let Some(id) = id(&resource.id).map_err(|error| error.to_string())? {
            parsed = parsed.with_id(id);
        }
        Ok(Permission::new(action, parsed))
    }
}

impl fmt::Display for PermissionRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ResourceRecord { resource_type, id, org } = &self.resource;
        write!(f, "{}:", self.action)?;
        if let Some(org) = org {
            write!(f, "orgs/{org}/")?;
        }
        f.write_str(resource_type)?;
        match id {
            Some(id) => write!(f, "/{id}"),
            None => Ok(()),
        }
    }
}

/// A record of `userresourcemappingsv1`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Membership {
    #[serde(rename = "userID")]
    pub(super) user: Id,
    pub(super) user_type: String,
    pub(super) resource_type: String,
    #[serde(rename = "resourceID")]
    pub(super) resource: Id,
}

/// Decodes a record, or says where it is not one. The message holds nothing of the record.
pub(super) fn decode<T: DeserializeOwned>(record: &[u8]) -> Result<T, String> {
    serde_json::from_slice(record).map_err(|error| {
        let problem = match error.classify() {
            serde_json::error::Category::Data => "has an unexpected value",
            _ => "is not JSON",
        };
        format!("its record {problem} at byte {}", error.column())
    })
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::from)
}

/// Records of early versions have an empty status, which is `active`.
fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Status, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "" => Ok(Status::Active),
        text => text.parse().map_err(de::Error::custom),
    }
}
