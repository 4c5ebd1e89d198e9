//! A step with its ids and names filled in, and the engine's response to it.

use portcullis::{
    ApiTokenId, AuthorizationFilter, AuthorizationId, AuthorizationView, Bucket, BucketId,
    ErrorKind, Identity, Name, Org, OrgId, Permission, PermissionSet, Principal, Refusal,
    ResourceNames, User, UserId,
};

use super::rows::{AuthorizationRow, Row, TokenRow};

/// A request to an engine.
#[derive(Clone, Debug)]
pub(super) enum Action {
    CreateOrg { name: String },
    CreateUser { name: String },
    CreateBucket { org: OrgId, name: String },
    SetOrgStatus { org: OrgId, active: bool },
    SetUserStatus { user: UserId, active: bool },
    DeleteOrg { org: OrgId },
    DeleteUser { user: UserId },
    DeleteBucket { bucket: BucketId },
    CreateToken { org: OrgId, user: UserId, permissions: Vec<Permission> },
    SetTokenStatus { token: ApiTokenId, active: bool },
    RevokeToken { token: ApiTokenId },
    Create(Creation),
    Patch { authorization: AuthorizationId, active: Option<bool>, description: Option<String> },
    SetPermissions { authorization: AuthorizationId, permissions: Vec<Permission> },
    SetPassword { authorization: AuthorizationId, password: Vec<u8> },
    Delete { authorization: AuthorizationId },
    Authenticate { username: String, password: Vec<u8> },
    AuthenticateToken { secret: String },
    AuthenticateCaller { secret: String },
    ResolveOrg { text: String },
    ResolveUser { text: String },
    ResolveBucket { org: OrgId, text: String },
    List(Query),
    Import { rows: Vec<Row>, dry_run: bool },
}

#[derive(Clone, Debug)]
pub(super) struct Creation {
    pub(super) username: String,
    pub(super) org: Option<OrgId>,
    pub(super) user: UserId,
    pub(super) permissions: Vec<Permission>,
    pub(super) status: String,
    pub(super) description: String,
}

#[derive(Clone, Debug)]
pub(super) struct Query {
    pub(super) filter: AuthorizationFilter,
    pub(super) after: Option<AuthorizationId>,
    pub(super) limit: usize,
    /// The permissions of the caller; `None` for the host itself.
    pub(super) caller: Option<Vec<Permission>>,
}

/// An authorization with the names of its resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DescribedRow {
    pub(super) row: AuthorizationRow,
    pub(super) org: Name,
    pub(super) user: Name,
    pub(super) resources: Vec<ResourceNames>,
}

impl From<&AuthorizationView> for DescribedRow {
    fn from(described: &AuthorizationView) -> Self {
        Self {
            row: AuthorizationRow::from(&described.authorization),
            org: described.org.clone(),
            user: described.user.clone(),
            resources: described.resources.clone(),
        }
    }
}

/// The response of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Response {
    Done,
    Org(Org),
    User(User),
    Bucket(Bucket),
    /// With the secret where it is returned.
    Token(TokenRow, Option<String>),
    Authorization(AuthorizationRow),
    Principal(LoggedIn),
    Listed(Vec<AuthorizationRow>, Option<AuthorizationId>),
    Described(Vec<DescribedRow>, Option<AuthorizationId>),
    Imported(usize),
    /// The first line that contradicts an earlier line of the file.
    Contradicts(u64),
    /// The lines that conflict with existing records.
    Collides(Vec<u64>),
    Refused(Refused),
}

/// The principal of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoggedIn {
    pub(super) identity: Identity,
    pub(super) org: OrgId,
    pub(super) user: UserId,
    pub(super) permissions: PermissionSet,
}

impl From<&Principal> for Response {
    fn from(principal: &Principal) -> Self {
        Self::Principal(LoggedIn {
            identity: principal.identity().clone(),
            org: principal.org(),
            user: principal.user(),
            permissions: principal.permissions().clone(),
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) kind: ErrorKind,
    pub(super) message: String,
    pub(super) refusal: Option<Refusal>,
}

impl From<portcullis::Error> for Response {
    fn from(error: portcullis::Error) -> Self {
        let message = error.message().to_owned();
        Self::Refused(Refused { kind: error.kind(), message, refusal: error.refusal() })
    }
}
