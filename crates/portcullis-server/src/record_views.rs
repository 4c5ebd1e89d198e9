//! Records as commands show them: with the names of the API, and without secrets.

use std::net::IpAddr;

use portcullis::store::Revision;
use portcullis::{
    AllowedNetworks, Bucket, DbrpMapping, Error, Org, OrgId, Permission, ResourceType, Status,
    Timestamp, TokenSecret, User, UserId,
};
use serde::Serialize;

use crate::output::{Rare, Record};
use crate::passwords::NewPassword;
use crate::session::{ApiTokenRecord, AuthorizationRecord, Names, RotationRecord, Session};

/// The most permissions that a row of a table spells out.
const MAX_SHOWN: usize = 2;

/// A user or an org.
#[derive(Serialize)]
pub(crate) struct TenantView {
    id: String,
    name: String,
    status: Status,
}

impl From<&User> for TenantView {
    fn from(user: &User) -> Self {
        Self { id: user.id.to_string(), name: user.name.to_string(), status: user.status }
    }
}

impl From<&Org> for TenantView {
    fn from(org: &Org) -> Self {
        Self { id: org.id.to_string(), name: org.name.to_string(), status: org.status }
    }
}

impl Record for TenantView {
    const COLUMNS: &'static [&'static str] = &["id", "name", "status"];

    fn cells(&self) -> Vec<String> {
        vec![self.id.clone(), self.name.clone(), self.status.to_string()]
    }
}

/// A bucket.
#[derive(Serialize)]
pub(crate) struct BucketView {
    id: String,
    #[serde(rename = "orgID")]
    org_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    org: Option<String>,
    name: String,
}

impl BucketView {
    pub(crate) async fn new(names: &mut Names<'_>, bucket: &Bucket) -> Result<Self, Error> {
        Ok(Self {
            id: bucket.id.to_string(),
            org_id: bucket.org.to_string(),
            org: org_name(names, bucket.org).await?,
            name: bucket.name.to_string(),
        })
    }
}

impl Record for BucketView {
    const COLUMNS: &'static [&'static str] = &["id", "name", "org"];
    const FIELDS: &'static [&'static str] = &["id", "orgID", "org", "name"];

    fn cells(&self) -> Vec<String> {
        vec![self.id.clone(), self.name.clone(), name_or_id(self.org.as_deref(), &self.org_id)]
    }

    fn fields(&self) -> Vec<String> {
        vec![self.id.clone(), self.org_id.clone(), or_empty(&self.org), self.name.clone()]
    }
}

/// A DBRP mapping.
#[derive(Serialize)]
pub(crate) struct DbrpView {
    id: String,
    database: String,
    retention_policy: String,
    default: bool,
    r#virtual: bool,
    #[serde(rename = "orgID")]
    org_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    org: Option<String>,
    #[serde(rename = "bucketID")]
    bucket_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket: Option<String>,
}

impl DbrpView {
    pub(crate) async fn new(names: &mut Names<'_>, mapping: &DbrpMapping) -> Result<Self, Error> {
        Ok(Self {
            id: mapping.id.to_string(),
            database: mapping.database.to_string(),
            retention_policy: mapping.retention_policy.to_string(),
            default: mapping.is_default,
            r#virtual: mapping.is_virtual,
            org_id: mapping.org.to_string(),
            org: org_name(names, mapping.org).await?,
            bucket_id: mapping.bucket.to_string(),
            bucket: names.bucket(mapping.bucket).await?,
        })
    }
}

impl Record for DbrpView {
    const COLUMNS: &'static [&'static str] =
        &["id", "database", "retention policy", "default", "virtual", "bucket", "org"];
    const FIELDS: &'static [&'static str] = &[
        "id",
        "database",
        "retention_policy",
        "default",
        "virtual",
        "orgID",
        "org",
        "bucketID",
        "bucket",
    ];

    fn cells(&self) -> Vec<String> {
        let yes = |is: bool| if is { "yes" } else { "" }.to_owned();
        vec![
            self.id.clone(),
            self.database.clone(),
            self.retention_policy.clone(),
            yes(self.default),
            yes(self.r#virtual),
            name_or_id(self.bucket.as_deref(), &self.bucket_id),
            name_or_id(self.org.as_deref(), &self.org_id),
        ]
    }

    fn fields(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.database.clone(),
            self.retention_policy.clone(),
            self.default.to_string(),
            self.r#virtual.to_string(),
            self.org_id.clone(),
            or_empty(&self.org),
            self.bucket_id.clone(),
            or_empty(&self.bucket),
        ]
    }
}

/// A permission, with the names of its resource and org.
#[derive(Serialize)]
pub(crate) struct PermissionView {
    action: &'static str,
    resource: ResourceView,
    #[serde(skip)]
    text: String,
}

#[derive(Serialize)]
struct ResourceView {
    #[serde(rename = "type")]
    resource_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(rename = "orgID", skip_serializing_if = "Option::is_none")]
    org_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    org: Option<String>,
}

impl PermissionView {
    async fn new(names: &mut Names<'_>, permission: &Permission) -> Result<Self, Error> {
        let resource = &permission.resource;
        let org = match resource.org {
            Some(org) => org_name(names, org).await?,
            None => None,
        };
        Ok(Self {
            action: permission.action.as_str(),
            resource: ResourceView {
                resource_type: resource.resource_type.as_str(),
                id: resource.id.map(|id| id.to_string()),
                org_id: resource.org.map(|org| org.to_string()),
                name: resource_name(names, permission).await?,
                org,
            },
            text: permission.to_string(),
        })
    }

    async fn all(names: &mut Names<'_>, permissions: &[Permission]) -> Result<Vec<Self>, Error> {
        let mut views = Vec::with_capacity(permissions.len());
        for permission in permissions {
            views.push(Self::new(names, permission).await?);
        }
        Ok(views)
    }

    fn detail(&self) -> String {
        match &self.resource.name {
            Some(name) => format!("{} ({name})", self.text),
            None => self.text.clone(),
        }
    }
}

/// The org and the user of a credential.
#[derive(Serialize)]
struct OwnerView {
    #[serde(rename = "orgID")]
    org_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    org: Option<String>,
    #[serde(rename = "userID")]
    user_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
}

impl OwnerView {
    async fn new(names: &mut Names<'_>, org: OrgId, user: UserId) -> Result<Self, Error> {
        Ok(Self {
            org_id: org.to_string(),
            org: org_name(names, org).await?,
            user_id: user.to_string(),
            user: user_name(names, user).await?,
        })
    }

    fn org(&self) -> (&'static str, String) {
        ("org", name_and_id(self.org.as_deref(), &self.org_id))
    }

    fn user(&self) -> (&'static str, String) {
        ("user", name_and_id(self.user.as_deref(), &self.user_id))
    }

    /// The names of [`OwnerView::fields`] are `orgID`, `org`, `userID` and `user`.
    fn fields(&self) -> [String; 4] {
        [self.org_id.clone(), or_empty(&self.org), self.user_id.clone(), or_empty(&self.user)]
    }
}

/// An authorization; with its password only after that was generated.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuthorizationView {
    id: String,
    #[serde(rename = "token")]
    username: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    status: Status,
    description: String,
    #[serde(flatten)]
    owner: OwnerView,
    permissions: Vec<PermissionView>,
    has_password: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[serde(flatten)]
    restrictions: RestrictionsView,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_from: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_set_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_password: Option<PreviousPasswordView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
}

/// A previous password that still works for a time.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PreviousPasswordView {
    #[serde(skip_serializing_if = "Option::is_none")]
    set_at: Option<Timestamp>,
    ends_at: Timestamp,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ends_on_use: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<Timestamp>,
}

impl From<&RotationRecord> for PreviousPasswordView {
    fn from(rotation: &RotationRecord) -> Self {
        Self {
            set_at: rotation.previous_set_at,
            ends_at: rotation.previous_ends_at,
            ends_on_use: rotation.ends_on_use,
            last_used_at: rotation.previous_used_at,
        }
    }
}

impl PreviousPasswordView {
    fn detail(&self) -> String {
        let on_use = if self.ends_on_use { ", or when the new one is used" } else { "" };
        let used = match self.last_used_at {
            Some(used) => format!("last used {used}"),
            None => "not used since".to_owned(),
        };
        format!("works until {}{on_use}; {used}", self.ends_at)
    }
}

impl AuthorizationView {
    pub(crate) async fn new(
        names: &mut Names<'_>,
        authorization: &AuthorizationRecord,
    ) -> Result<Self, Error> {
        Ok(Self {
            id: authorization.id.to_string(),
            username: authorization.username.to_string(),
            password: None,
            status: authorization.status,
            description: authorization.description.clone(),
            owner: OwnerView::new(names, authorization.org, authorization.user).await?,
            permissions: PermissionView::all(names, &authorization.permissions).await?,
            has_password: authorization.has_password,
            created_at: authorization.created_at,
            updated_at: authorization.updated_at,
            restrictions: RestrictionsView {
                expires_at: authorization.expires_at,
                password_expires_at: authorization.password_expires_at,
                allowed_networks: authorization.allowed_networks.clone(),
            },
            last_used_at: authorization.last_use.map(|last| last.at),
            last_used_from: authorization.last_use.and_then(|last| last.from),
            password_set_at: authorization.rotation.as_ref().and_then(|it| it.password_set_at),
            previous_password: authorization.rotation.as_ref().map(PreviousPasswordView::from),
            tag: None,
        })
    }

    /// Returns the view of a single authorization.
    pub(crate) async fn of(
        session: &Session,
        authorization: &AuthorizationRecord,
    ) -> Result<Self, Error> {
        Self::new(&mut session.names(), authorization).await
    }

    /// Adds the tag: the revision that the record has.
    pub(crate) fn with_tag(self, tag: Revision) -> Self {
        Self { tag: Some(tag.to_string()), ..self }
    }

    /// Adds the password if it was generated: it is shown only once.
    pub(crate) fn with_password(self, password: &NewPassword) -> Self {
        Self { password: password.generated().map(str::to_owned), ..self }
    }
}

impl Record for AuthorizationView {
    const COLUMNS: &'static [&'static str] =
        &["id", "username", "status", "password", "org", "user", "permissions"];
    const FIELDS: &'static [&'static str] = &[
        "id",
        "token",
        "status",
        "description",
        "orgID",
        "org",
        "userID",
        "user",
        "permissions",
        "hasPassword",
        "createdAt",
        "updatedAt",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.username.clone(),
            self.status.to_string(),
            password(self.has_password),
            name_or_id(self.owner.org.as_deref(), &self.owner.org_id),
            name_or_id(self.owner.user.as_deref(), &self.owner.user_id),
            summary(&self.permissions),
        ]
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let mut details = vec![
            ("id", self.id.clone()),
            ("username", self.username.clone()),
            ("status", self.status.to_string()),
            ("password", password(self.has_password)),
            ("description", self.description.clone()),
            self.owner.org(),
            self.owner.user(),
            ("created", self.created_at.to_string()),
            ("updated", self.updated_at.to_string()),
        ];
        details.extend(self.restrictions.details());
        details.extend(self.last_used_at.map(|at| ("last used", at.to_string())));
        details.extend(self.last_used_from.map(|from| ("last used from", from.to_string())));
        details.extend(self.password_set_at.map(|at| ("password set", at.to_string())));
        let previous = self.previous_password.as_ref();
        details.extend(previous.map(|previous| ("previous password", previous.detail())));
        details.extend(self.tag.clone().map(|tag| ("tag", tag)));
        details.extend(self.permissions.iter().map(|p| ("permission", p.detail())));
        if let Some(password) = &self.password {
            details.push(("generated password", password.clone()));
            details
                .push(("", "The password is shown only once and cannot be read later.".to_owned()));
        }
        details
    }

    fn fields(&self) -> Vec<String> {
        let mut fields = vec![
            self.id.clone(),
            self.username.clone(),
            self.status.to_string(),
            self.description.clone(),
        ];
        fields.extend(self.owner.fields());
        fields.extend([
            texts(&self.permissions),
            self.has_password.to_string(),
            self.created_at.to_string(),
            self.updated_at.to_string(),
        ]);
        fields
    }

    fn rare(&self) -> Vec<Rare> {
        let rare = |column, field, value| Rare { column, field, value };
        vec![
            rare("last used", "lastUsedAt", self.last_used_at.map(|at| at.to_string())),
            rare("from", "lastUsedFrom", self.last_used_from.map(|from| from.to_string())),
        ]
    }

    fn secret(&self) -> Option<(&'static str, &str)> {
        self.password.as_deref().map(|password| ("password", password))
    }
}

/// Until when and from where a credential may be used. Shown only where it is set.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RestrictionsView {
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "AllowedNetworks::is_empty")]
    allowed_networks: AllowedNetworks,
}

impl RestrictionsView {
    fn details(&self) -> impl Iterator<Item = (&'static str, String)> {
        let networks = Some(self.allowed_networks.to_string()).filter(|text| !text.is_empty());
        let all = [
            ("expires", self.expires_at.map(|end| end.to_string())),
            ("password expires", self.password_expires_at.map(|end| end.to_string())),
            ("allowed networks", networks),
        ];
        all.into_iter().filter_map(|(name, text)| Some((name, text?)))
    }
}

/// An API token; with its secret only after it was created.
#[derive(Serialize)]
pub(crate) struct ApiTokenView {
    id: String,
    #[serde(rename = "token", skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    status: Status,
    description: String,
    #[serde(flatten)]
    owner: OwnerView,
    permissions: Vec<PermissionView>,
    #[serde(flatten)]
    restrictions: RestrictionsView,
}

impl ApiTokenView {
    pub(crate) async fn new(names: &mut Names<'_>, token: &ApiTokenRecord) -> Result<Self, Error> {
        Ok(Self {
            id: token.id.to_string(),
            secret: None,
            status: token.status,
            description: token.description.clone(),
            owner: OwnerView::new(names, token.org, token.user).await?,
            permissions: PermissionView::all(names, &token.permissions).await?,
            restrictions: RestrictionsView {
                expires_at: token.expires_at,
                password_expires_at: None,
                allowed_networks: token.allowed_networks.clone(),
            },
        })
    }

    /// Adds the secret, which is shown only once.
    pub(crate) fn with_secret(self, secret: &TokenSecret) -> Self {
        Self { secret: Some(secret.expose().to_owned()), ..self }
    }
}

impl Record for ApiTokenView {
    const COLUMNS: &'static [&'static str] =
        &["id", "status", "org", "user", "permissions", "description"];
    const FIELDS: &'static [&'static str] =
        &["id", "status", "description", "orgID", "org", "userID", "user", "permissions"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.status.to_string(),
            name_or_id(self.owner.org.as_deref(), &self.owner.org_id),
            name_or_id(self.owner.user.as_deref(), &self.owner.user_id),
            summary(&self.permissions),
            self.description.clone(),
        ]
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let mut details = vec![
            ("id", self.id.clone()),
            ("status", self.status.to_string()),
            ("description", self.description.clone()),
            self.owner.org(),
            self.owner.user(),
        ];
        details.extend(self.restrictions.details());
        details.extend(self.permissions.iter().map(|p| ("permission", p.detail())));
        if let Some(secret) = &self.secret {
            details.push(("token", secret.clone()));
            details.push(("", "The token is shown only once and cannot be read later.".to_owned()));
        }
        details
    }

    fn fields(&self) -> Vec<String> {
        let mut fields = vec![self.id.clone(), self.status.to_string(), self.description.clone()];
        fields.extend(self.owner.fields());
        fields.push(texts(&self.permissions));
        fields
    }

    fn secret(&self) -> Option<(&'static str, &str)> {
        self.secret.as_deref().map(|secret| ("token", secret))
    }
}

async fn org_name(names: &mut Names<'_>, id: OrgId) -> Result<Option<String>, Error> {
    names.org(id).await
}

async fn user_name(names: &mut Names<'_>, id: UserId) -> Result<Option<String>, Error> {
    names.user(id).await
}

/// Returns the name of the one resource to which a permission applies.
async fn resource_name(
    names: &mut Names<'_>,
    permission: &Permission,
) -> Result<Option<String>, Error> {
    match (permission.resource.resource_type, permission.resource.id) {
        (ResourceType::Buckets, Some(id)) => names.bucket(id.into()).await,
        (ResourceType::Orgs, Some(id)) => org_name(names, id.into()).await,
        (ResourceType::Users, Some(id)) => user_name(names, id.into()).await,
        _ => Ok(None),
    }
}

fn password(has_password: bool) -> String {
    if has_password { "set" } else { "none" }.to_owned()
}

/// Tables show names where there are any.
fn name_or_id(name: Option<&str>, id: &str) -> String {
    name.unwrap_or(id).to_owned()
}

fn or_empty(name: &Option<String>) -> String {
    name.clone().unwrap_or_default()
}

/// Returns all permissions with a blank between them: none contains one.
fn texts(permissions: &[PermissionView]) -> String {
    permissions.iter().map(|p| p.text.as_str()).collect::<Vec<_>>().join(" ")
}

fn name_and_id(name: Option<&str>, id: &str) -> String {
    match name {
        Some(name) => format!("{name} ({id})"),
        None => format!("{id} (does not exist)"),
    }
}

fn summary(permissions: &[PermissionView]) -> String {
    if permissions.len() > MAX_SHOWN {
        return format!("{} permissions", permissions.len());
    }
    permissions.iter().map(|p| p.text.as_str()).collect::<Vec<_>>().join(", ")
}
