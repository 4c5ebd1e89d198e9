//! placeholder
mod error;
mod id;
mod model;
pub mod password;
mod permission;
pub mod store;
mod time;

pub use error::{Error, ErrorKind};
pub use id::{ApiTokenId, AuthorizationId, BucketId, ID_TEXT_LEN, Id, OrgId, ParseIdError, UserId};
pub use model::{
    ApiToken, Authorization, AuthorizationDraft, AuthorizationUpdate, Bucket, InvalidName,
    InvalidTokenDigest, InvalidUsername, Name, NewAuthorization, Org, Status, TokenDigest,
    TokenSecret, UnknownStatus, User, Username,
};
pub use permission::{
    Action, Decision, Denial, GrantKey, InvalidPermission, ParsePermissionError, Permission,
    PermissionSet, Resource, ResourceType, UncheckedPermission,
};
pub use time::{
    Clock, ParseTimestampError, Random, RandomUnavailable, SystemClock, SystemRandom, Timestamp,
};

/// Sets of permissions that are granted together.
pub mod presets {
    pub use crate::permission::{
        member_bucket, member_of_org, operator, owner_of_org, read_all, user_self,
    };
}
