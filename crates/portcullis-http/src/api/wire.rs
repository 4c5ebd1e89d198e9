//! The JSON of requests and responses. Member names and their order are the API's.

use std::fmt::Display;

use portcullis::{
    AuthorizationDraft, AuthorizationId, AuthorizationUpdateDraft, AuthorizationView, Bucket,
    BucketId, DbrpId, DbrpMapping, DbrpUpdate, Id, Org, OrgId, Permission, ResourceNames, Status,
    Timestamp, UncheckedPermission, User, UserId,
};
use serde::{Serialize, Serializer};

use crate::extract::body::{InvalidJson, Members};

/// The prefix in links, whichever of the two the request had.
pub(crate) const PREFIX: &str = "/private/legacy/authorizations";

/// An authorization in a response, without password and hash.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Authorization<'a> {
    id: AuthorizationId,
    token: &'a str,
    status: Status,
    description: &'a str,
    #[serde(rename = "orgID")]
    org_id: OrgId,
    org: &'a str,
    #[serde(rename = "userID")]
    user_id: UserId,
    user: &'a str,
    permissions: Vec<PermissionWithNames<'a>>,
    links: AuthorizationLinks,
    created_at: Timestamp,
    updated_at: Timestamp,
}

#[derive(Serialize)]
struct AuthorizationLinks {
    #[serde(rename = "self")]
    this: Link<AuthorizationId>,
    user: Link<UserId>,
}

/// The path of the entity with this id.
struct Link<I> {
    prefix: &'static str,
    id: I,
}

impl<I: Display> Serialize for Link<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { prefix, id } = self;
        serializer.collect_str(&format_args!("{prefix}/{id}"))
    }
}

#[derive(Serialize)]
struct PermissionWithNames<'a> {
    action: &'static str,
    resource: ResourceWithNames<'a>,
}

#[derive(Serialize)]
struct ResourceWithNames<'a> {
    #[serde(rename = "type")]
    resource_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Id>,
    #[serde(rename = "orgID", skip_serializing_if = "Option::is_none")]
    org_id: Option<OrgId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    org: Option<&'a str>,
}

impl<'a> From<&'a AuthorizationView> for Authorization<'a> {
    fn from(described: &'a AuthorizationView) -> Self {
        let authorization = &described.authorization;
        let permissions = authorization.permissions.iter().zip(&described.resources);
        Self {
            id: authorization.id,
            token: authorization.username.as_str(),
            status: authorization.status,
            description: &authorization.description,
            org_id: authorization.org,
            org: described.org.as_str(),
            user_id: authorization.user,
            user: described.user.as_str(),
            permissions: permissions.map(PermissionWithNames::from).collect(),
            links: AuthorizationLinks {
                this: Link { prefix: PREFIX, id: authorization.id },
                user: Link { prefix: "/api/v2/users", id: authorization.user },
            },
            created_at: authorization.created_at,
            updated_at: authorization.updated_at,
        }
    }
}

impl<'a> From<(&'a Permission, &'a ResourceNames)> for PermissionWithNames<'a> {
    fn from((permission, names): (&'a Permission, &'a ResourceNames)) -> Self {
        let resource = &permission.resource;
        Self {
            action: permission.action.as_str(),
            resource: ResourceWithNames {
                resource_type: resource.resource_type.as_str(),
                id: resource.id,
                org_id: resource.org,
                name: names.name.as_ref().map(|name| name.as_str()),
                org: names.org.as_ref().map(|name| name.as_str()),
            },
        }
    }
}

/// Parses the body of a creation.
pub(crate) fn authorization_draft(body: &[u8]) -> Result<AuthorizationDraft, InvalidJson> {
    let mut members = Members::parse(body)?;
    Ok(AuthorizationDraft {
        username: members.string("token")?,
        org: members.id("orgID")?,
        user: members.id("userID")?,
        permissions: permissions(&mut members)?,
        status: members.string("status")?,
        description: members.string("description")?,
    })
}

/// Parses the body of an update.
pub(crate) fn update_draft(body: &[u8]) -> Result<AuthorizationUpdateDraft, InvalidJson> {
    let mut members = Members::parse(body)?;
    Ok(AuthorizationUpdateDraft {
        status: members.string("status")?,
        description: members.string("description")?,
    })
}

/// Parses the body that replaces permissions.
pub(crate) fn permissions_body(body: &[u8]) -> Result<Vec<UncheckedPermission>, InvalidJson> {
    permissions(&mut Members::parse(body)?)
}

/// The body that creates a DBRP mapping. Ids are not parsed yet: each has an error of its own.
pub(crate) struct DbrpDraft {
    pub(crate) database: Option<String>,
    pub(crate) retention_policy: Option<String>,
    pub(crate) is_default: Option<bool>,
    pub(crate) org: Option<String>,
    pub(crate) org_id: Option<String>,
    pub(crate) bucket_id: Option<String>,
}

/// Parses the body that creates a DBRP mapping.
pub(crate) fn dbrp_draft(body: &[u8]) -> Result<DbrpDraft, InvalidJson> {
    let mut members = Members::parse(body)?;
    Ok(DbrpDraft {
        database: members.string("database")?,
        retention_policy: members.string("retention_policy")?,
        is_default: members.bool("default")?,
        org: members.string("org")?,
        org_id: members.string("orgID")?,
        bucket_id: members.string("bucketID")?,
    })
}

/// Parses the body that changes a DBRP mapping.
pub(crate) fn dbrp_update(body: &[u8]) -> Result<DbrpUpdate, InvalidJson> {
    let mut members = Members::parse(body)?;
    Ok(DbrpUpdate {
        retention_policy: members.string("retention_policy")?,
        is_default: members.bool("default")?,
    })
}

/// Parses the body that sets a password; a missing password is an empty one.
pub(crate) fn password_body(body: &[u8]) -> Result<zeroize::Zeroizing<String>, InvalidJson> {
    let password = Members::parse(body)?.string("password")?;
    Ok(zeroize::Zeroizing::new(password.unwrap_or_default()))
}

fn permissions(members: &mut Members) -> Result<Vec<UncheckedPermission>, InvalidJson> {
    let permission = |mut members: Members| {
        let action = members.string("action")?.unwrap_or_default();
        let mut resource = members.object("resource")?;
        let resource_type = resource.string("type")?.unwrap_or_default();
        let (id, org) = (resource.id("id")?, resource.id("orgID")?);
        Ok(UncheckedPermission::new(action, resource_type, id, org))
    };
    members.objects("permissions")?.into_iter().map(permission).collect()
}

/// A link of an entity to itself.
#[derive(Serialize)]
pub(crate) struct SelfLink {
    #[serde(rename = "self")]
    pub(crate) this: String,
}

/// An org in the shape of the v2 API.
#[derive(Serialize)]
pub(crate) struct OrgView {
    links: SelfLink,
    id: String,
    name: String,
    description: &'static str,
    status: Status,
}

impl From<Org> for OrgView {
    fn from(org: Org) -> Self {
        Self {
            links: SelfLink { this: format!("/api/v2/orgs/{}", org.id) },
            id: org.id.to_string(),
            name: org.name.to_string(),
            description: "",
            status: org.status,
        }
    }
}

/// A user in the shape of the v2 API.
#[derive(Serialize)]
pub(crate) struct UserView {
    links: SelfLink,
    id: String,
    name: String,
    status: Status,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            links: SelfLink { this: format!("/api/v2/users/{}", user.id) },
            id: user.id.to_string(),
            name: user.name.to_string(),
            status: user.status,
        }
    }
}

/// A bucket in the shape of the v2 API.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BucketView {
    id: String,
    #[serde(rename = "orgID")]
    org_id: String,
    #[serde(rename = "type")]
    bucket_type: &'static str,
    name: String,
    retention_rules: [(); 0],
    links: BucketLinks,
}

#[derive(Serialize)]
struct BucketLinks {
    #[serde(rename = "self")]
    this: String,
    org: String,
}

impl From<Bucket> for BucketView {
    fn from(bucket: Bucket) -> Self {
        Self {
            id: bucket.id.to_string(),
            org_id: bucket.org.to_string(),
            bucket_type: "user",
            name: bucket.name.to_string(),
            retention_rules: [],
            links: BucketLinks {
                this: format!("/api/v2/buckets/{}", bucket.id),
                org: format!("/api/v2/orgs/{}", bucket.org),
            },
        }
    }
}

/// A DBRP mapping in the shape of the v2 API.
#[derive(Serialize)]
pub(crate) struct DbrpView<'a> {
    id: DbrpId,
    database: &'a str,
    retention_policy: &'a str,
    #[serde(rename = "default")]
    is_default: bool,
    #[serde(rename = "virtual")]
    is_virtual: bool,
    #[serde(rename = "orgID")]
    org_id: OrgId,
    #[serde(rename = "bucketID")]
    bucket_id: BucketId,
}

impl<'a> From<&'a DbrpMapping> for DbrpView<'a> {
    fn from(mapping: &'a DbrpMapping) -> Self {
        Self {
            id: mapping.id,
            database: &mapping.database,
            retention_policy: &mapping.retention_policy,
            is_default: mapping.is_default,
            is_virtual: mapping.is_virtual,
            org_id: mapping.org,
            bucket_id: mapping.bucket,
        }
    }
}
