//! The JSON of requests and responses. Member names and their order are the API's.

use std::fmt::Display;
use std::net::IpAddr;

use portcullis::{
    AllowedNetworks, ApiToken, ApiTokenDraft, ApiTokenId, ApiTokenView, AuthorizationDraft,
    AuthorizationId, AuthorizationUpdateDraft, AuthorizationView, Bucket, BucketId, DbrpId,
    DbrpMapping, DbrpUpdate, DeletionPreview, Error, ErrorKind, Id, Name, Org, OrgId, Permission,
    PreviousPassword, ResourceNames, Setup, SetupDone, Status, TenantUpdate, Timestamp,
    TokenSecret, UncheckedPermission, User, UserId,
};
use serde::{Serialize, Serializer};

use crate::extract::body::{InvalidJson, Members};
use crate::respond::ErrorBody;

/// The prefix in links, whichever of the two the request had.
pub(crate) const PREFIX: &str = "/private/legacy/authorizations";

/// The path of API tokens.
pub(crate) const API_TOKENS: &str = "/api/v2/authorizations";

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
    links: CredentialLinks<AuthorizationId>,
    /// Only in a response to a request that asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    has_password: Option<bool>,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "AllowedNetworks::is_empty")]
    allowed_networks: &'a AllowedNetworks,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_from: Option<IpAddr>,
    /// Only beside a previous password.
    #[serde(skip_serializing_if = "Option::is_none")]
    password_set_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_password: Option<PreviousPasswordBody>,
}

/// A previous password that still works for a time.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PreviousPasswordBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    set_at: Option<Timestamp>,
    ends_at: Timestamp,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ends_on_use: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<Timestamp>,
}

impl PreviousPasswordBody {
    fn new(previous: &PreviousPassword, last_used_at: Option<Timestamp>) -> Self {
        Self {
            set_at: previous.set_at,
            ends_at: previous.ends_at,
            ends_on_use: previous.ends_when_new_is_used,
            last_used_at,
        }
    }
}

/// The links of an authorization or an API token.
#[derive(Serialize)]
struct CredentialLinks<I: Display> {
    #[serde(rename = "self")]
    this: Link<I>,
    user: Link<UserId>,
}

/// An API token in a response, with its secret only in the response that creates it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApiTokenBody<'a> {
    id: ApiTokenId,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    status: Status,
    description: &'a str,
    #[serde(rename = "orgID")]
    org_id: OrgId,
    org: &'a str,
    #[serde(rename = "userID")]
    user_id: UserId,
    user: &'a str,
    permissions: Vec<PermissionWithNames<'a>>,
    links: CredentialLinks<ApiTokenId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "AllowedNetworks::is_empty")]
    allowed_networks: &'a AllowedNetworks,
    #[serde(rename = "lastUsedAt", skip_serializing_if = "Option::is_none")]
    last_used_at: Option<Timestamp>,
    #[serde(rename = "lastUsedFrom", skip_serializing_if = "Option::is_none")]
    last_used_from: Option<IpAddr>,
}

impl<'a> ApiTokenBody<'a> {
    fn new(
        token: &'a ApiToken,
        org: &'a Name,
        user: &'a Name,
        permissions: Vec<PermissionWithNames<'a>>,
    ) -> Self {
        Self {
            id: token.id,
            token: None,
            status: token.status,
            description: &token.description,
            org_id: token.org,
            org: org.as_str(),
            user_id: token.user,
            user: user.as_str(),
            permissions,
            links: CredentialLinks {
                this: Link { prefix: API_TOKENS, id: token.id },
                user: Link { prefix: "/api/v2/users", id: token.user },
            },
            expires_at: token.expires_at,
            allowed_networks: &token.allowed_networks,
            last_used_at: None,
            last_used_from: None,
        }
    }

    /// Adds the secret, which no later response shows.
    pub(crate) fn with_secret(self, secret: &'a TokenSecret) -> Self {
        Self { token: Some(secret.expose()), ..self }
    }
}

impl<'a> From<&'a ApiTokenView> for ApiTokenBody<'a> {
    fn from(view: &'a ApiTokenView) -> Self {
        let permissions = view.token.permissions.iter().zip(&view.resources);
        let permissions = permissions.map(PermissionWithNames::from).collect();
        Self {
            last_used_at: view.last_use.map(|last| last.at),
            last_used_from: view.last_use.and_then(|last| last.from),
            ..Self::new(&view.token, &view.org, &view.user, permissions)
        }
    }
}

/// The response to a setup.
#[derive(Serialize)]
pub(crate) struct SetupBody<'a> {
    user: UserView,
    org: OrgView,
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket: Option<BucketView>,
    auth: ApiTokenBody<'a>,
}

impl<'a> From<&'a SetupDone> for SetupBody<'a> {
    fn from(done: &'a SetupDone) -> Self {
        let SetupDone { org, user, buckets, token, secret, .. } = done;
        let permissions = token.permissions.iter().map(PermissionWithNames::without_names);
        let auth = ApiTokenBody::new(token, &org.name, &user.name, permissions.collect());
        Self {
            user: user.clone().into(),
            org: org.clone().into(),
            bucket: buckets.first().cloned().map(BucketView::from),
            auth: auth.with_secret(secret),
        }
    }
}

/// What a `DELETE` with `dryRun=true` would delete.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PreviewBody {
    /// Always true: nothing was deleted.
    dry_run: bool,
    /// Authorizations, which are v1 credentials.
    authorizations: u64,
    api_tokens: u64,
    buckets: u64,
    /// DBRP mappings, without virtual ones.
    dbrps: u64,
    /// Permissions of other credentials that would allow nothing afterwards.
    grants: u64,
    /// Whether everything was counted; otherwise the counts are lower bounds.
    complete: bool,
}

impl From<DeletionPreview> for PreviewBody {
    fn from(preview: DeletionPreview) -> Self {
        Self {
            dry_run: true,
            authorizations: preview.authorizations,
            api_tokens: preview.api_tokens,
            buckets: preview.buckets,
            dbrps: preview.dbrps,
            grants: preview.grants,
            complete: preview.is_complete,
        }
    }
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
        let previous = authorization.previous_password.as_deref();
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
            links: CredentialLinks {
                this: Link { prefix: PREFIX, id: authorization.id },
                user: Link { prefix: "/api/v2/users", id: authorization.user },
            },
            has_password: None,
            created_at: authorization.created_at,
            updated_at: authorization.updated_at,
            expires_at: authorization.expires_at,
            password_expires_at: authorization.password_expires_at,
            allowed_networks: &authorization.allowed_networks,
            last_used_at: described.last_use.map(|last| last.at),
            last_used_from: described.last_use.and_then(|last| last.from),
            password_set_at: previous.and(authorization.password_set_at),
            previous_password: previous.map(|previous| {
                let last_use = described.last_use.as_ref();
                let set_at = authorization.password_set_at;
                let used = last_use.and_then(|last| last.of_previous_password(set_at));
                PreviousPasswordBody::new(previous, used)
            }),
        }
    }
}

impl<'a> Authorization<'a> {
    /// Makes the body, with or without the member `hasPassword`.
    pub(crate) fn new(described: &'a AuthorizationView, shows_password: bool) -> Self {
        let has_password = described.authorization.password_hash.is_some();
        Self { has_password: shows_password.then_some(has_password), ..described.into() }
    }
}

impl PermissionWithNames<'_> {
    fn without_names(permission: &Permission) -> Self {
        let resource = &permission.resource;
        Self {
            action: permission.action.as_str(),
            resource: ResourceWithNames {
                resource_type: resource.resource_type.as_str(),
                id: resource.id,
                org_id: resource.org,
                name: None,
                org: None,
            },
        }
    }
}

impl<'a> From<(&'a Permission, &'a ResourceNames)> for PermissionWithNames<'a> {
    fn from((permission, names): (&'a Permission, &'a ResourceNames)) -> Self {
        let mut with_names = Self::without_names(permission);
        with_names.resource.name = names.name.as_ref().map(|name| name.as_str());
        with_names.resource.org = names.org.as_ref().map(|name| name.as_str());
        with_names
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
        expires_at: members.string("expiresAt")?,
        allowed_networks: members.strings("allowedNetworks")?,
    })
}

/// Parses the body of a creation of an API token.
pub(crate) fn api_token_draft(body: &[u8]) -> Result<ApiTokenDraft, InvalidJson> {
    let mut members = Members::parse(body)?;
    Ok(ApiTokenDraft {
        org: members.id("orgID")?,
        user: members.id("userID")?,
        permissions: permissions(&mut members)?,
        status: members.string("status")?,
        description: members.string("description")?,
        expires_at: members.string("expiresAt")?,
        allowed_networks: members.strings("allowedNetworks")?,
    })
}

/// The body that creates or changes an org or a user. Nothing is checked yet. A `description`, which the
/// v2 API also has, is not kept.
pub(crate) struct TenantDraft {
    /// Its name.
    pub(crate) name: Option<String>,
    /// `active` or `inactive`.
    pub(crate) status: Option<String>,
}

impl TenantDraft {
    /// Checks the parts of a creation: the name is required, the status is active by default.
    pub(crate) fn validate_creation(self) -> Result<(Name, Status), Error> {
        let name = Name::new(self.name.unwrap_or_default())?;
        let status = match self.status.as_deref() {
            None | Some("") => Status::Active,
            Some(text) => parse_status(text)?,
        };
        Ok((name, status))
    }

    /// Checks the parts of a change, each of which may be missing.
    pub(crate) fn validate_update(self) -> Result<TenantUpdate, Error> {
        let name = self.name.map(Name::new).transpose()?;
        let status = self.status.as_deref().map(parse_status).transpose()?;
        Ok(TenantUpdate { name, status })
    }
}

fn parse_status(text: &str) -> Result<Status, Error> {
    let invalid = |_| Error::new(ErrorKind::Invalid, "invalid status: must be active or inactive");
    text.parse().map_err(invalid)
}

/// Parses the body that creates or changes an org or a user.
pub(crate) fn tenant_draft(body: &[u8]) -> Result<TenantDraft, InvalidJson> {
    let mut members = Members::parse(body)?;
    Ok(TenantDraft { name: members.string("name")?, status: members.string("status")? })
}

/// The body that creates or changes a bucket. `description` and `rp`, which the v2 API also has, are not
/// kept, and neither are the rules: the data is not here.
pub(crate) struct BucketDraft {
    /// Its name, unique in its org.
    pub(crate) name: Option<String>,
    /// The id of its org; only at creation.
    pub(crate) org_id: Option<OrgId>,
    /// How long points are kept.
    pub(crate) retention_rules: Vec<RetentionRule>,
}

/// A retention rule, as far as it is checked.
pub(crate) struct RetentionRule {
    /// How long points are kept, in seconds; 0 for ever.
    every_seconds: f64,
    /// The time of a shard group, in seconds; 0 if the database chooses.
    shard_group_duration_seconds: f64,
}

impl BucketDraft {
    /// Checks the rules as the v2 API does.
    pub(crate) fn check_rules(&self) -> Result<(), ErrorBody> {
        let message = match self.retention_rules.as_slice() {
            [] => return Ok(()),
            [rule] if rule.every_seconds < 0.0 => "expiration seconds cannot be negative",
            [rule] if rule.shard_group_duration_seconds < 0.0 => {
                "shard-group duration seconds cannot be negative"
            }
            [_] => return Ok(()),
            [_, _, ..] => "buckets cannot have more than one retention rule at this time",
        };
        Err(ErrorBody::unprocessable(message))
    }
}

/// Parses the body that creates or changes a bucket.
pub(crate) fn bucket_draft(body: &[u8]) -> Result<BucketDraft, InvalidJson> {
    let mut members = Members::parse(body)?;
    let rule = |mut members: Members| {
        Ok(RetentionRule {
            every_seconds: members.number("everySeconds")?.unwrap_or_default(),
            shard_group_duration_seconds: members
                .number("shardGroupDurationSeconds")?
                .unwrap_or_default(),
        })
    };
    Ok(BucketDraft {
        name: members.string("name")?,
        org_id: members.id("orgID")?,
        retention_rules: members
            .objects("retentionRules")?
            .into_iter()
            .map(rule)
            .collect::<Result<_, InvalidJson>>()?,
    })
}

/// The body that sets up a store. `password` and the retention period, which the v2 API also has, are not
/// kept: a user has no password here.
pub(crate) struct SetupDraft {
    /// The name of the first user.
    username: Option<String>,
    /// The name of the first org.
    org: Option<String>,
    /// The name of the first bucket.
    bucket: Option<String>,
    /// The secret of the operator token; missing and empty mean that one is generated.
    pub(crate) token: Option<TokenSecret>,
}

impl SetupDraft {
    /// Checks the parts, and returns them with the chosen secret.
    pub(crate) fn validate(self) -> Result<(Setup, Option<TokenSecret>), ErrorBody> {
        let Self { username, org, bucket, token } = self;
        let given = |name: Option<String>| name.filter(|name| !name.is_empty());
        match (given(username), given(org), given(bucket)) {
            (Some(user), Some(org), Some(bucket)) => {
                let name = |text| Name::new(text).map_err(Error::from);
                let setup =
                    Setup { org: name(org)?, user: name(user)?, buckets: vec![name(bucket)?] };
                Ok((setup, token))
            }
            (user, org, bucket) => {
                let parts = [(user, "username"), (org, "org"), (bucket, "bucket")];
                let missing = parts.into_iter().filter(|(part, _)| part.is_none());
                let missing: Vec<&str> = missing.map(|(_, name)| name).collect();
                Err(ErrorBody::unprocessable(format!(
                    "onboarding failed: missing required fields [{}]",
                    missing.join(",")
                )))
            }
        }
    }
}

/// Parses the body that sets up a store.
pub(crate) fn setup_draft(body: &[u8]) -> Result<SetupDraft, InvalidJson> {
    let mut members = Members::parse(body)?;
    // Not kept, and not left in memory.
    drop(members.string("password")?.map(zeroize::Zeroizing::new));
    let token = members.string("token")?.filter(|token| !token.is_empty());
    Ok(SetupDraft {
        username: members.string("username")?,
        org: members.string("org")?,
        bucket: members.string("bucket")?,
        token: token.map(TokenSecret::new),
    })
}

/// Parses the body of an update.
pub(crate) fn update_draft(body: &[u8]) -> Result<AuthorizationUpdateDraft, InvalidJson> {
    let mut members = Members::parse(body)?;
    Ok(AuthorizationUpdateDraft {
        status: members.string("status")?,
        description: members.string("description")?,
        expires_at: members.nullable_string("expiresAt")?,
        password_expires_at: members.nullable_string("passwordExpiresAt")?,
        allowed_networks: members.strings("allowedNetworks")?,
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

/// The body that sets a password.
pub(crate) struct PasswordBody {
    pub(crate) password: zeroize::Zeroizing<String>,
    /// The text of `keepPrevious`.
    pub(crate) keep_previous: Option<String>,
    pub(crate) end_previous_on_use: bool,
}

/// Parses the body that sets a password; a missing password is an empty one.
pub(crate) fn password_body(body: &[u8]) -> Result<PasswordBody, InvalidJson> {
    let mut members = Members::parse(body)?;
    Ok(PasswordBody {
        password: zeroize::Zeroizing::new(members.string("password")?.unwrap_or_default()),
        keep_previous: members.string("keepPrevious")?,
        end_previous_on_use: members.bool("endPreviousOnUse")?.unwrap_or(false),
    })
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
