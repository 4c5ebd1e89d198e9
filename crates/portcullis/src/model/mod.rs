//! The records of the domain: authorizations, API tokens, users, orgs, buckets.

mod api_token;
mod authorization;
mod tenant;
mod username;

pub use api_token::{ApiToken, InvalidTokenDigest, TokenDigest, TokenSecret};
pub use authorization::{
    Authorization, AuthorizationDraft, AuthorizationUpdate, AuthorizationUpdateDraft,
    NewAuthorization, Status, UnknownStatus,
};
pub use tenant::{Bucket, InvalidName, Name, Org, User};
pub use username::{InvalidUsername, Username};
