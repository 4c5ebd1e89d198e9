//! What a step comes to when it is taken: the very ids and names, and what the engine answered.

use portcullis::{
    ApiTokenId, AuthorizationFilter, AuthorizationId, BucketId, ErrorKind, Identity, OrgId,
    Permission, PermissionSet, Refusal, UserId,
};

use super::rows::{AuthorizationRow, BucketRow, OrgRow, Row, TokenRow, UserRow};

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
    /// What the caller holds; `None` for the host itself.
    pub(super) caller: Option<Vec<Permission>>,
}

/// An authorization with the names that go with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DescribedRow {
    pub(super) row: AuthorizationRow,
    pub(super) org: String,
    pub(super) user: String,
    /// Of each permission, the name of its resource and that of its org.
    pub(super) resources: Vec<(Option<String>, Option<String>)>,
}

/// What an engine answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Done,
    Org(OrgRow),
    User(UserRow),
    Bucket(BucketRow),
    /// With the secret where it is told.
    Token(TokenRow, Option<String>),
    Authorization(AuthorizationRow),
    Principal(Somebody),
    Listed(Vec<AuthorizationRow>, Option<AuthorizationId>),
    Described(Vec<DescribedRow>, Option<AuthorizationId>),
    Imported(usize),
    /// The first line with which the file contradicts itself.
    Contradicts(u64),
    /// The lines that collide with what is there.
    Collides(Vec<u64>),
    Refused(Refused),
}

/// Somebody who was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Somebody {
    pub(super) identity: Identity,
    pub(super) org: OrgId,
    pub(super) user: UserId,
    pub(super) permissions: PermissionSet,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) kind: ErrorKind,
    pub(super) message: String,
    pub(super) refusal: Option<Refusal>,
}

impl From<portcullis::Error> for Answer {
    fn from(error: portcullis::Error) -> Self {
        let message = error.message().to_owned();
        Self::Refused(Refused { kind: error.kind(), message, refusal: error.refusal() })
    }
}
