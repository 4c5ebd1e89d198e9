//! What a source holds: items, in the words of the source and not yet checked.
//!
//! Items refer to each other with [`Key`]s. Which records of Portcullis they become, with which ids, is
//! decided by the [planner](crate::plan).

use std::fmt;

use portcullis::{Action, Id, ResourceType, Status, Timestamp, TokenDigest};
use zeroize::Zeroizing;

/// A secret of a source. It is wiped from memory when it is dropped, and `Debug` does not show it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Returns the secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self(Zeroizing::new(secret))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// How a source refers to an org, a user or a bucket. A format with ids uses them, another one numbers
/// its records. Keys of different kinds are independent of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u64);

/// An item of a source.
///
/// What refers to a key comes after the item with it.
#[derive(Clone, Debug)]
pub enum Item {
    /// An org.
    Org(OrgItem),
    /// A user, to which credentials and API tokens belong.
    User(UserItem),
    /// A bucket.
    Bucket(BucketItem),
    /// The mappings of a database to buckets.
    Database(DatabaseItem),
    /// A v1 credential.
    Credential(CredentialItem),
    /// An API token.
    Token(TokenItem),
    /// Something for which Portcullis has no record.
    NotCarried(NotCarried),
}

/// An org.
#[derive(Clone, Debug)]
pub struct OrgItem {
    /// How the source refers to it.
    pub key: Key,
    /// The id to keep, if the source has one.
    pub id: Option<Id>,
    /// The name.
    pub name: String,
    /// Whether it may be used.
    pub status: Status,
}

/// A user.
#[derive(Clone, Debug)]
pub struct UserItem {
    /// How the source refers to it.
    pub key: Key,
    /// The id to keep, if the source has one.
    pub id: Option<Id>,
    /// The name.
    pub name: String,
    /// Whether it may be used.
    pub status: Status,
}

/// A bucket.
#[derive(Clone, Debug)]
pub struct BucketItem {
    /// How the source refers to it.
    pub key: Key,
    /// The id to keep, if the source has one.
    pub id: Option<Id>,
    /// The org it is in; `None` is the org that the operator names.
    pub org: Option<Key>,
    /// The name.
    pub name: String,
}

/// A database, with the mappings of its retention policies to buckets.
#[derive(Clone, Debug)]
pub struct DatabaseItem {
    /// The org of the buckets; `None` is the org that the operator names.
    pub org: Option<Key>,
    /// The name.
    pub name: String,
    /// The retention policies. Without any, the database has no mapping.
    pub policies: Vec<PolicyItem>,
    /// What the source has beside the mappings, for the report.
    pub notes: Vec<String>,
}

/// A retention policy of a database.
#[derive(Clone, Debug)]
pub struct PolicyItem {
    /// The id of the mapping to keep, if the source has one.
    pub id: Option<Id>,
    /// The name.
    pub name: String,
    /// The bucket.
    pub bucket: Key,
    /// Whether it is the default of the database.
    pub is_default: bool,
}

/// A v1 credential.
#[derive(Clone, Debug)]
pub struct CredentialItem {
    /// The id to keep, if the source has one.
    pub id: Option<Id>,
    /// The username.
    pub username: String,
    /// The org it is for; `None` is the org that the operator names.
    pub org: Option<Key>,
    /// The user it belongs to; `None` is the user that the operator names.
    pub user: Option<Key>,
    /// Whether it may be used.
    pub status: Status,
    /// Free text.
    pub description: String,
    /// Its password.
    pub password: SourcePassword,
    /// What it may do.
    pub grants: Vec<GrantItem>,
    /// Whether it may do everything, as an administrator of InfluxDB 1.x may. What becomes of it is
    /// decided by the operator ([`Admins`](crate::Admins)).
    pub is_admin: bool,
    /// When it was created, if the source says so.
    pub created_at: Option<Timestamp>,
    /// When it was last changed, if the source says so.
    pub updated_at: Option<Timestamp>,
    /// What the source has beside this and cannot be carried, for the report: the credential is then
    /// reported as changed.
    pub changes: Vec<String>,
}

impl CredentialItem {
    /// An active credential of a source that has nothing but a name and a password.
    pub(crate) fn bare(username: String, password: SourcePassword) -> Self {
        Self {
            id: None,
            username,
            org: None,
            user: None,
            status: Status::Active,
            description: String::new(),
            password,
            grants: Vec::new(),
            is_admin: false,
            created_at: None,
            updated_at: None,
            changes: Vec::new(),
        }
    }
}

/// A password as a source keeps it.
#[derive(Clone, Debug)]
pub enum SourcePassword {
    /// A hash, as text. The planner accepts the hashes of `docs/spec/passwords.md`.
    Hash(Secret),
    /// The password itself.
    Plain(Secret),
    /// There is none: every login is refused.
    None,
}

/// A grant of a credential or of an API token, and what it is called in the source.
#[derive(Clone, Debug)]
pub struct GrantItem {
    /// Its text in the report, such as `ALL on telemetry`.
    pub shown: String,
    /// The permissions it consists of. A grant without any is reported with [`GrantItem::lost`].
    pub permissions: Vec<PermissionItem>,
    /// Why the grant, or a part of it, is not carried: the source itself has no use for it.
    pub lost: Option<String>,
}

/// A permission, in the words of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermissionItem {
    /// The action.
    pub action: Action,
    /// The type of the resources.
    pub resource_type: ResourceType,
    /// One resource; `None` is all of them. Orgs, users and buckets are named by their keys.
    pub id: Option<Key>,
    /// The org that the resources are in.
    pub org: PermissionOrg,
}

/// The org that the resources of a permission are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PermissionOrg {
    /// Any org, or none.
    Any,
    /// The org of the credential or the API token.
    Own,
    /// This one.
    Key(Key),
}

/// An API token.
#[derive(Clone, Debug)]
pub struct TokenItem {
    /// The id to keep, if the source has one.
    pub id: Option<Id>,
    /// The org it is for; `None` is the org that the operator names.
    pub org: Option<Key>,
    /// The user it belongs to; `None` is the user that the operator names.
    pub user: Option<Key>,
    /// Whether it may be used.
    pub status: Status,
    /// Free text, which is also its name in the report.
    pub description: String,
    /// Its secret, in the form in which the source keeps it.
    pub secret: SourceToken,
    /// What it may do.
    pub grants: Vec<GrantItem>,
}

/// The secret of an API token as a source keeps it.
#[derive(Clone, Debug)]
pub enum SourceToken {
    /// The secret itself.
    Plain(Secret),
    /// Its SHA-256 digest.
    Digest(TokenDigest),
    /// Another form, which cannot be carried, and why.
    Unusable(String),
}

/// Something that cannot be carried because Portcullis has no record for it.
#[derive(Clone, Debug)]
pub struct NotCarried {
    /// What it is, such as `continuous query`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Why it is not carried, and what to do instead if there is something.
    pub why: String,
    /// Whether it is something that Portcullis would have carried if it could: the import is then
    /// refused unless the operator allows it. `false` for what a database keeps for itself.
    pub is_skipped: bool,
}
