//! The entities of the domain: authorizations, API tokens, users, orgs, buckets, DBRP mappings,
//! last uses.

mod api_token;
mod authorization;
mod dbrp;
mod draft;
mod last_use;
mod networks;
mod rotation;
mod tenant;
mod username;

pub use api_token::{ApiToken, InvalidTokenDigest, TokenDigest, TokenSecret};
pub use authorization::{
    Authorization, AuthorizationUpdate, NewAuthorization, PreviousPassword, Status, UnknownStatus,
};
pub use dbrp::{
    DatabaseBucket, DatabaseMappings, DbrpFilter, DbrpMapping, DbrpName, DbrpUpdate,
    InvalidDbrpName, NewDbrp,
};
pub(crate) use dbrp::{PolicyMapping, PolicyMappings};
pub(crate) use draft::CheckedApiToken;
pub use draft::{ApiTokenDraft, AuthorizationDraft, AuthorizationUpdateDraft};
pub use last_use::{ApiTokenUse, AuthorizationUse, LastUse};
pub use networks::{AllowedNetworks, InvalidNetworks};
pub use rotation::{InvalidKeepPrevious, KeepPrevious};
pub use tenant::{Bucket, BucketUpdate, InvalidName, Name, Org, TenantUpdate, User};
pub use username::{InvalidUsername, Username};
