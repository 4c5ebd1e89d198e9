//! A client of the management API of a server: the operations that commands have in a store as well.

mod address;
mod mirror;
mod transport;
mod wire;

use std::cell::RefCell;
use std::collections::HashMap;
use std::num::NonZeroUsize;

use anyhow::{Context as _, anyhow, bail};
use http::{HeaderValue, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use portcullis::store::Revision;
use portcullis::{
    ApiTokenId, AuthorizationFilter, AuthorizationId, AuthorizationUpdate, Bucket, BucketId,
    DbrpFilter, DbrpId, DbrpMapping, DbrpUpdate, Deletion, DeletionPreview, Error, ErrorKind,
    KeepPrevious, Name, NewApiToken, NewDbrp, Org, OrgId, Permission, ResourceType, Status,
    TokenSecret, User, UserId,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use zeroize::Zeroizing;

pub(crate) use self::address::Address;
use self::transport::Transport;
use self::wire::{
    ApiTokenBody, AuthorizationBody, BucketBody, Buckets, Content, Created, DbrpBody,
    NamedPermission, OrgBody, Orgs, Page, PreviewBody, SeenNames, UserBody, Users,
    permissions_json, restrict, update_json,
};
use crate::session::{ApiTokenRecord, AuthorizationParts, AuthorizationRecord, AuthorizationsPage};

const AUTHORIZATIONS: &str = "/private/legacy/authorizations";
const API_TOKENS: &str = "/api/v2/authorizations";
const ORGS: &str = "/api/v2/orgs";
const USERS: &str = "/api/v2/users";
const BUCKETS: &str = "/api/v2/buckets";
const DBRPS: &str = "/api/v2/dbrps";

/// The most orgs, users or buckets on a page.
const MAX_PAGE: usize = 100;

/// The most credentials on a page.
const MAX_CREDENTIALS: usize = 1_000;

/// Everything but what RFC 3986 calls unreserved.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How to connect to a server.
pub(crate) struct Connection {
    pub(crate) address: Address,
    /// The secret of the API token.
    pub(crate) token: TokenSecret,
    /// Certificates in PEM that are trusted in place of the system's.
    pub(crate) ca: Option<Vec<u8>>,
    /// Whether the token may be sent without TLS to another host.
    pub(crate) allow_http: bool,
}

/// A client of one server.
pub(crate) struct Client {
    transport: Transport,
    /// The names that responses have shown; `None` for what does not exist.
    names: RefCell<NameCache>,
}

#[derive(Default)]
struct NameCache {
    orgs: HashMap<OrgId, Option<String>>,
    users: HashMap<UserId, Option<String>>,
    buckets: HashMap<BucketId, Option<String>>,
}

/// Parameters of a request.
#[derive(Default)]
struct Parameters(String);

impl Parameters {
    fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(name);
        self.0.push('=');
        self.0.extend(utf8_percent_encode(&value.to_string(), ESCAPED));
        self
    }

    fn with_any(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

/// Returns the result without the error that it does not exist.
fn existing<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Client {
    /// Prepares a client. Nothing is sent yet.
    pub(crate) fn new(connection: Connection) -> anyhow::Result<Self> {
        let Connection { address, token, ca, allow_http } = connection;
        if address.is_exposed() && !allow_http {
            bail!(
                "the API token would be sent to {address} without TLS, where others can read it: give \
                 an https URL, or allow it with --allow-http"
            );
        }
        let connector = match &ca {
            Some(pem) => address.connector(Some(pem)).context("--ca-file")?,
            None => address.connector(None)?,
        };
        let is_visible = |secret: &str| secret.bytes().all(|byte| byte.is_ascii_graphic());
        if token.expose().is_empty() || !is_visible(token.expose()) {
            bail!("the API token is empty, or holds a character that no token has");
        }
        let text = Zeroizing::new(format!("Token {}", token.expose()));
        let mut authorization = HeaderValue::from_str(&text)
            .map_err(|_| anyhow!("the API token holds a character that no token has"))?;
        authorization.set_sensitive(true);
        let transport = Transport::new(address, connector, authorization);
        Ok(Self { transport, names: RefCell::default() })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.transport.json(Method::GET, path, None, None).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, Error> {
        self.transport.json(Method::POST, path, Some(body), None).await
    }

    async fn patch<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, Error> {
        self.transport.json(Method::PATCH, path, Some(body), None).await
    }

    async fn delete(&self, path: &str) -> Result<(), Error> {
        self.transport.empty(Method::DELETE, path, None, None).await
    }

    /// Returns the user to whom the API token belongs.
    pub(crate) async fn me(&self) -> Result<User, Error> {
        Ok(self.get::<UserBody>("/api/v2/me").await?.into())
    }

    /// Counts what a deletion would delete.
    pub(crate) async fn preview_deletion(
        &self,
        deletion: Deletion,
    ) -> Result<DeletionPreview, Error> {
        let path = match deletion {
            Deletion::ApiToken(id) => format!("{API_TOKENS}/{id}?dryRun=true"),
            Deletion::Authorization(id) => format!("{AUTHORIZATIONS}/{id}?dryRun=true"),
            Deletion::Bucket(id) => format!("{BUCKETS}/{id}?dryRun=true"),
            Deletion::Dbrp(org, id) => format!("{}&dryRun=true", dbrp_path(org, id)),
            Deletion::Org(id) => format!("{ORGS}/{id}?dryRun=true"),
            Deletion::User(id) => format!("{USERS}/{id}?dryRun=true"),
            _ => {
                let message = "the command does not know how to ask the server what would go";
                return Err(Error::new(ErrorKind::Internal, message));
            }
        };
        let body: PreviewBody = self.transport.json(Method::DELETE, &path, None, None).await?;
        Ok(body.into())
    }

    /// Remembers the names that a response has shown.
    fn note(&self, seen: SeenNames) {
        let mut names = self.names.borrow_mut();
        let SeenNames { org: (org, org_name), user: (user, user_name), resources } = seen;
        names.orgs.insert(org, Some(org_name));
        names.users.insert(user, Some(user_name));
        for NamedPermission { permission, name, org } in resources {
            let resource = permission.resource;
            if let (Some(id), Some(org)) = (resource.org, org) {
                names.orgs.insert(id, Some(org));
            }
            match (resource.resource_type, resource.id, name) {
                (ResourceType::Buckets, Some(id), Some(name)) => {
                    names.buckets.insert(id.into(), Some(name));
                }
                (ResourceType::Orgs, Some(id), Some(name)) => {
                    names.orgs.insert(id.into(), Some(name));
                }
                (ResourceType::Users, Some(id), Some(name)) => {
                    names.users.insert(id.into(), Some(name));
                }
                _ => {}
            }
        }
    }

    pub(crate) async fn org_name(&self, id: OrgId) -> Result<Option<String>, Error> {
        let cached = self.names.borrow().orgs.get(&id).cloned();
        if let Some(name) = cached {
            return Ok(name);
        }
        let name = self.org(id).await?.map(|org| org.name.to_string());
        self.names.borrow_mut().orgs.insert(id, name.clone());
        Ok(name)
    }

    pub(crate) async fn user_name(&self, id: UserId) -> Result<Option<String>, Error> {
        let cached = self.names.borrow().users.get(&id).cloned();
        if let Some(name) = cached {
            return Ok(name);
        }
        let name = self.user(id).await?.map(|user| user.name.to_string());
        self.names.borrow_mut().users.insert(id, name.clone());
        Ok(name)
    }

    pub(crate) async fn bucket_name(&self, id: BucketId) -> Result<Option<String>, Error> {
        let cached = self.names.borrow().buckets.get(&id).cloned();
        if let Some(name) = cached {
            return Ok(name);
        }
        let name = self.bucket(id).await?.map(|bucket| bucket.name.to_string());
        self.names.borrow_mut().buckets.insert(id, name.clone());
        Ok(name)
    }
}

/// Orgs, users and buckets.
impl Client {
    pub(crate) async fn create_org(&self, name: Name) -> Result<Org, Error> {
        Ok(self.post::<OrgBody>(ORGS, &json!({ "name": name })).await?.into())
    }

    pub(crate) async fn org(&self, id: OrgId) -> Result<Option<Org>, Error> {
        let found = existing(self.get::<OrgBody>(&format!("{ORGS}/{id}")).await)?;
        Ok(found.map(Into::into))
    }

    pub(crate) async fn resolve_org(&self, id_or_name: &str) -> Result<Org, Error> {
        if let Ok(id) = id_or_name.parse()
            && let Some(org) = self.org(id).await?
        {
            return Ok(org);
        }
        let missing = || Error::new(ErrorKind::NotFound, "organization not found");
        if id_or_name.is_empty() {
            return Err(missing());
        }
        let Parameters(query) = Parameters::default().with("org", id_or_name);
        let found = self.get::<Orgs>(&format!("{ORGS}{query}")).await?.orgs;
        found.into_iter().next().map(Into::into).ok_or_else(missing)
    }

    pub(crate) async fn orgs(
        &self,
        after: Option<OrgId>,
        limit: NonZeroUsize,
    ) -> Result<Vec<Org>, Error> {
        let Parameters(query) = page(after, limit, MAX_PAGE);
        let found = self.get::<Orgs>(&format!("{ORGS}{query}")).await?.orgs;
        Ok(found.into_iter().map(Into::into).collect())
    }

    pub(crate) async fn set_org_status(&self, id: OrgId, status: Status) -> Result<Org, Error> {
        let body = json!({ "status": status });
        Ok(self.patch::<OrgBody>(&format!("{ORGS}/{id}"), &body).await?.into())
    }

    pub(crate) async fn delete_org(&self, id: OrgId) -> Result<(), Error> {
        self.delete(&format!("{ORGS}/{id}")).await
    }

    pub(crate) async fn create_user(&self, name: Name) -> Result<User, Error> {
        Ok(self.post::<UserBody>(USERS, &json!({ "name": name })).await?.into())
    }

    pub(crate) async fn user(&self, id: UserId) -> Result<Option<User>, Error> {
        let found = existing(self.get::<UserBody>(&format!("{USERS}/{id}")).await)?;
        Ok(found.map(Into::into))
    }

    pub(crate) async fn resolve_user(&self, id_or_name: &str) -> Result<User, Error> {
        if let Ok(id) = id_or_name.parse()
            && let Some(user) = self.user(id).await?
        {
            return Ok(user);
        }
        let missing = || Error::new(ErrorKind::NotFound, "user not found");
        if id_or_name.is_empty() {
            return Err(missing());
        }
        let Parameters(query) = Parameters::default().with("name", id_or_name);
        let found = self.get::<Users>(&format!("{USERS}{query}")).await?.users;
        found.into_iter().next().map(Into::into).ok_or_else(missing)
    }

    pub(crate) async fn users(
        &self,
        after: Option<UserId>,
        limit: NonZeroUsize,
    ) -> Result<Vec<User>, Error> {
        let Parameters(query) = page(after, limit, MAX_PAGE);
        let found = self.get::<Users>(&format!("{USERS}{query}")).await?.users;
        Ok(found.into_iter().map(Into::into).collect())
    }

    pub(crate) async fn set_user_status(&self, id: UserId, status: Status) -> Result<User, Error> {
        let body = json!({ "status": status });
        Ok(self.patch::<UserBody>(&format!("{USERS}/{id}"), &body).await?.into())
    }

    pub(crate) async fn delete_user(&self, id: UserId) -> Result<(), Error> {
        self.delete(&format!("{USERS}/{id}")).await
    }

    pub(crate) async fn create_bucket(&self, org: OrgId, name: Name) -> Result<Bucket, Error> {
        let body = json!({ "orgID": org, "name": name, "retentionRules": [] });
        Ok(self.post::<BucketBody>(BUCKETS, &body).await?.into())
    }

    pub(crate) async fn bucket(&self, id: BucketId) -> Result<Option<Bucket>, Error> {
        let found = existing(self.get::<BucketBody>(&format!("{BUCKETS}/{id}")).await)?;
        Ok(found.map(Into::into))
    }

    pub(crate) async fn resolve_bucket(
        &self,
        org: OrgId,
        id_or_name: &str,
    ) -> Result<Bucket, Error> {
        if let Ok(id) = id_or_name.parse()
            && let Some(bucket) = self.bucket(id).await?
            && bucket.org == org
        {
            return Ok(bucket);
        }
        let missing = || Error::new(ErrorKind::NotFound, "bucket not found");
        if id_or_name.is_empty() {
            return Err(missing());
        }
        let Parameters(query) = Parameters::default().with("orgID", org).with("name", id_or_name);
        let found = self.get::<Buckets>(&format!("{BUCKETS}{query}")).await?.buckets;
        found.into_iter().next().map(Into::into).ok_or_else(missing)
    }

    pub(crate) async fn buckets(
        &self,
        org: Option<OrgId>,
        after: Option<BucketId>,
        limit: NonZeroUsize,
    ) -> Result<Vec<Bucket>, Error> {
        let Parameters(query) = page(after, limit, MAX_PAGE).with_any("orgID", org);
        let found = self.get::<Buckets>(&format!("{BUCKETS}{query}")).await?.buckets;
        Ok(found.into_iter().map(Into::into).collect())
    }

    pub(crate) async fn delete_bucket(&self, id: BucketId) -> Result<(), Error> {
        self.delete(&format!("{BUCKETS}/{id}")).await
    }
}

/// DBRP mappings.
impl Client {
    pub(crate) async fn create_dbrp(&self, new: NewDbrp) -> Result<DbrpMapping, Error> {
        let body = json!({
            "orgID": new.org,
            "bucketID": new.bucket,
            "database": new.database,
            "retention_policy": new.retention_policy,
            "default": new.is_default,
        });
        Ok(self.post::<DbrpBody>(DBRPS, &body).await?.into())
    }

    pub(crate) async fn dbrp(&self, org: OrgId, id: DbrpId) -> Result<Option<DbrpMapping>, Error> {
        let found = existing(self.get::<Content<DbrpBody>>(&dbrp_path(org, id)).await)?;
        Ok(found.map(|found| found.content.into()))
    }

    pub(crate) async fn list_dbrps(&self, filter: &DbrpFilter) -> Result<Vec<DbrpMapping>, Error> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let Parameters(query) = Parameters::default()
            .with("orgID", filter.org)
            .with_any("id", filter.id)
            .with_any("bucketID", filter.bucket)
            .with_any("db", given(&filter.database))
            .with_any("rp", given(&filter.retention_policy))
            .with_any("default", filter.is_default);
        let found = self.get::<Content<Vec<DbrpBody>>>(&format!("{DBRPS}{query}")).await?.content;
        let found = found.into_iter().map(DbrpMapping::from);
        Ok(found.filter(|mapping| filter.matches(mapping)).collect())
    }

    pub(crate) async fn update_dbrp(
        &self,
        org: OrgId,
        id: DbrpId,
        update: DbrpUpdate,
    ) -> Result<DbrpMapping, Error> {
        let DbrpUpdate { retention_policy, is_default } = update;
        let body = members([
            ("retention_policy", retention_policy.map(Value::from)),
            ("default", is_default.map(Value::from)),
        ]);
        let path = dbrp_path(org, id);
        Ok(self.patch::<Content<DbrpBody>>(&path, &body).await?.content.into())
    }

    pub(crate) async fn delete_dbrp(&self, org: OrgId, id: DbrpId) -> Result<(), Error> {
        self.delete(&dbrp_path(org, id)).await
    }
}

/// Authorizations.
impl Client {
    pub(crate) async fn create_authorization(
        &self,
        parts: &AuthorizationParts,
    ) -> Result<AuthorizationRecord, Error> {
        let mut body = json!({
            "token": parts.username.as_str(),
            "orgID": parts.org,
            "userID": parts.user,
            "status": parts.status,
            "description": parts.description,
            "permissions": permissions_json(&parts.permissions),
        });
        restrict(&mut body, parts.expires_at, &parts.allowed_networks);
        let created: Created<AuthorizationId> = self.post(AUTHORIZATIONS, &body).await?;
        self.changed(created.id).await
    }

    /// Reads what was just changed: the response to a change has no `hasPassword`.
    async fn changed(&self, id: AuthorizationId) -> Result<AuthorizationRecord, Error> {
        let found = self.authorization(id).await.map_err(|error| {
            let message = format!("the change is made, and its result could not be read: {error}");
            Error::new(error.kind(), message)
        })?;
        found.ok_or_else(|| {
            let message = format!("the authorization {id} was just deleted, or may not be read");
            Error::new(ErrorKind::NotFound, message)
        })
    }

    pub(crate) async fn authorization(
        &self,
        id: AuthorizationId,
    ) -> Result<Option<AuthorizationRecord>, Error> {
        let Parameters(query) = Parameters::default().with("hasPassword", true);
        let path = format!("{AUTHORIZATIONS}/{id}{query}");
        match existing(self.get::<AuthorizationBody>(&path).await)? {
            Some(body) => self.noted(body).map(Some),
            None => Ok(None),
        }
    }

    fn noted(&self, body: AuthorizationBody) -> Result<AuthorizationRecord, Error> {
        let (record, seen) = body.read()?;
        self.note(seen);
        Ok(record)
    }

    pub(crate) async fn authorization_by_username(
        &self,
        username: &str,
    ) -> Result<Option<AuthorizationRecord>, Error> {
        let filter = AuthorizationFilter {
            username: Some(username.to_owned()),
            ..AuthorizationFilter::default()
        };
        let page = self.list_authorizations(&filter, None, NonZeroUsize::MIN).await?;
        Ok(page.items.into_iter().next())
    }

    pub(crate) async fn list_authorizations(
        &self,
        filter: &AuthorizationFilter,
        after: Option<AuthorizationId>,
        limit: NonZeroUsize,
    ) -> Result<AuthorizationsPage, Error> {
        let nothing = || AuthorizationsPage { items: Vec::new(), next: None };
        if filter.username.as_deref() == Some("") {
            return Ok(nothing());
        }
        let Parameters(query) = page(after, limit, MAX_CREDENTIALS)
            .with_any("id", filter.id)
            .with_any("token", filter.username.as_ref())
            .with_any("orgID", filter.org)
            .with_any("userID", filter.user)
            .with_any("status", filter.status)
            .with_any("permits", filter.permits)
            .with_any("expiresBefore", filter.expires_before)
            .with_any("unusedSince", filter.unused_since)
            .with("hasPassword", true);
        let path = format!("{AUTHORIZATIONS}{query}");
        // A filter that selects one finds it, or 404.
        let Some(found) = existing(self.get::<Page<AuthorizationBody>>(&path).await)? else {
            return Ok(nothing());
        };
        let has_next = found.links.next.is_some();
        let items = found.authorizations.into_iter().map(|body| self.noted(body));
        let items: Vec<AuthorizationRecord> = items.collect::<Result<_, Error>>()?;
        let next = items.last().filter(|_| has_next).map(|last| last.id);
        Ok(AuthorizationsPage { items, next })
    }

    pub(crate) async fn update_authorization(
        &self,
        id: AuthorizationId,
        update: &AuthorizationUpdate,
        expected: Option<Revision>,
    ) -> Result<AuthorizationRecord, Error> {
        let path = format!("{AUTHORIZATIONS}/{id}");
        let _: Created<AuthorizationId> =
            self.transport.json(Method::PATCH, &path, Some(&update_json(update)), expected).await?;
        self.changed(id).await
    }

    pub(crate) async fn set_permissions(
        &self,
        id: AuthorizationId,
        permissions: &[Permission],
        expected: Option<Revision>,
    ) -> Result<AuthorizationRecord, Error> {
        let body = json!({ "permissions": permissions_json(permissions) });
        let path = format!("{AUTHORIZATIONS}/{id}/permissions");
        let _: Created<AuthorizationId> =
            self.transport.json(Method::PUT, &path, Some(&body), expected).await?;
        self.changed(id).await
    }

    pub(crate) async fn set_password(
        &self,
        id: AuthorizationId,
        password: &[u8],
        keep: Option<KeepPrevious>,
        expected: Option<Revision>,
    ) -> Result<(), Error> {
        let text = std::str::from_utf8(password).map_err(|_| {
            let message = "a password that is not UTF-8 can be set only in a store";
            Error::new(ErrorKind::Invalid, message)
        })?;
        // Large enough for every escape: a vector that grows leaves copies in memory.
        let mut body = Zeroizing::new(Vec::with_capacity(128 + 6 * text.len()));
        body.extend_from_slice(b"{\"password\":");
        serde_json::to_writer(&mut *body, text)
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        if let Some(keep) = keep {
            let (seconds, on_use) = (keep.time().as_secs(), keep.ends_when_new_is_used());
            let members = format!(",\"keepPrevious\":\"{seconds}s\",\"endPreviousOnUse\":{on_use}");
            body.extend_from_slice(members.as_bytes());
        }
        body.push(b'}');
        let path = format!("{AUTHORIZATIONS}/{id}/password");
        self.transport.empty(Method::POST, &path, Some(body), expected).await
    }

    pub(crate) async fn end_previous_password(
        &self,
        id: AuthorizationId,
        expected: Option<Revision>,
    ) -> Result<(), Error> {
        let path = format!("{AUTHORIZATIONS}/{id}/password/previous");
        self.transport.empty(Method::DELETE, &path, None, expected).await
    }

    pub(crate) async fn delete_authorization(
        &self,
        id: AuthorizationId,
        expected: Option<Revision>,
    ) -> Result<(), Error> {
        let path = format!("{AUTHORIZATIONS}/{id}");
        self.transport.empty(Method::DELETE, &path, None, expected).await
    }

    /// Returns the revision of an authorization.
    pub(crate) async fn revision_of_authorization(
        &self,
        id: AuthorizationId,
    ) -> Result<Option<Revision>, Error> {
        existing(self.transport.revision(&format!("{AUTHORIZATIONS}/{id}")).await)
    }
}

/// API tokens.
impl Client {
    pub(crate) async fn create_api_token(
        &self,
        new: &NewApiToken,
    ) -> Result<(ApiTokenRecord, TokenSecret), Error> {
        let mut body = json!({
            "orgID": new.org,
            "userID": new.user,
            "description": new.description,
            "permissions": permissions_json(&new.permissions),
        });
        restrict(&mut body, new.expires_at, &new.allowed_networks);
        let mut created: ApiTokenBody = self.post(API_TOKENS, &body).await?;
        let secret = created.token.take().map(TokenSecret::new).ok_or_else(|| {
            let message = "the server has created the API token and does not show its secret";
            Error::new(ErrorKind::Internal, message)
        })?;
        let (record, seen) = created.read()?;
        self.note(seen);
        Ok((record, secret))
    }

    pub(crate) async fn api_token(&self, id: ApiTokenId) -> Result<Option<ApiTokenRecord>, Error> {
        let found = existing(self.get::<ApiTokenBody>(&format!("{API_TOKENS}/{id}")).await)?;
        let Some(body) = found else { return Ok(None) };
        let (record, seen) = body.read()?;
        self.note(seen);
        Ok(Some(record))
    }

    pub(crate) async fn list_api_tokens(
        &self,
        after: Option<ApiTokenId>,
        limit: NonZeroUsize,
    ) -> Result<Vec<ApiTokenRecord>, Error> {
        let Parameters(query) = page(after, limit, MAX_CREDENTIALS);
        let found: Page<ApiTokenBody> = self.get(&format!("{API_TOKENS}{query}")).await?;
        let mut tokens = Vec::new();
        for body in found.authorizations {
            let (record, seen) = body.read()?;
            self.note(seen);
            tokens.push(record);
        }
        Ok(tokens)
    }

    pub(crate) async fn update_api_token(
        &self,
        id: ApiTokenId,
        update: &AuthorizationUpdate,
    ) -> Result<ApiTokenRecord, Error> {
        let path = format!("{API_TOKENS}/{id}");
        let changed: ApiTokenBody = self.patch(&path, &update_json(update)).await?;
        let (record, seen) = changed.read()?;
        self.note(seen);
        Ok(record)
    }

    pub(crate) async fn revoke_api_token(&self, id: ApiTokenId) -> Result<(), Error> {
        self.delete(&format!("{API_TOKENS}/{id}")).await
    }
}

fn page(after: Option<impl ToString>, limit: NonZeroUsize, max: usize) -> Parameters {
    Parameters::default().with("limit", limit.get().min(max)).with_any("after", after)
}

fn dbrp_path(org: OrgId, id: DbrpId) -> String {
    format!("{DBRPS}/{id}?orgID={org}")
}

/// Returns an object of the members that are given.
fn members<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let given = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(given.collect())
}
