#![doc = include_str!("lib.md")]

mod audit;
mod cache;
mod codec;
mod config;
mod credentials;
mod directory;
mod engine;
mod error;
mod filter;
mod from_text;
mod hex;
mod id;
mod login_history;
mod memory;
mod metrics;
mod model;
pub mod password;
mod permission;
mod principal;
mod refusal;
pub mod snapshot;
mod stamp;
pub mod store;
mod sync;
mod throttle;
mod time;
pub mod toolkit;
mod trust_state;
pub mod verify;

/// For implementing [`Directory`] and [`store::Store`].
pub use async_trait::async_trait;

pub use audit::{Actor, AuditAction, AuditEvent, AuditOutcome, AuditRecord, AuditSink};
pub use cache::CacheConfig;
pub use config::InvalidConfig;
pub use credentials::Credentials;
pub use directory::{Directory, StaticDirectory};
pub use engine::{
    ApiTokenPage, ApiTokenView, AuthorizationPage, AuthorizationView, BuildError, Deletion,
    DeletionPreview, Engine, EngineBuilder, ExpiringSoon, ExpiryCounts, ExportError, ImportError,
    LastUseConfig, NameResolver, NewApiToken, OnBehalfOf, Precondition, ResourceNames, Setup,
    SetupDone, Versioned,
};
pub use error::{Error, ErrorKind};
pub use filter::{ApiTokenFilter, AuthorizationFilter};
pub use id::{
    ApiTokenId, AuthorizationId, BucketId, DbrpId, ID_TEXT_LEN, Id, OrgId, ParseIdError, UserId,
};
pub use login_history::{InvalidLoginHistory, LoginHistory};
pub use model::{
    AllowedNetworks, ApiToken, ApiTokenDraft, ApiTokenUse, Authorization, AuthorizationDraft,
    AuthorizationUpdate, AuthorizationUpdateDraft, AuthorizationUse, Bucket, BucketUpdate,
    DatabaseBucket, DatabaseMappings, DbrpFilter, DbrpMapping, DbrpName, DbrpUpdate,
    InvalidDbrpName, InvalidKeepPrevious, InvalidName, InvalidNetworks, InvalidTokenDigest,
    InvalidUsername, KeepPrevious, LastUse, Name, NewAuthorization, NewDbrp, Org, PreviousPassword,
    Status, TenantUpdate, TokenDigest, TokenSecret, UnknownStatus, User, Username,
};
pub use permission::{
    Action, Decision, Denial, Explanation, GrantKey, InvalidPermission, ParseGrantKeyError,
    ParsePermissionError, Permission, PermissionSet, Resource, ResourceType, UncheckedPermission,
};
pub use principal::{Identity, Principal};
pub use refusal::Refusal;
pub use throttle::ThrottleConfig;
pub use time::{
    Clock, ParseTimestampError, Random, RandomUnavailable, SystemClock, SystemRandom, Timestamp,
};
pub use trust_state::TrustState;

/// The usual sets of permissions.
pub mod presets {
    pub use crate::permission::{
        member_bucket, member_of_org, operator, owner_of_org, read_all, user_self,
    };
}

/// The Rust in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
