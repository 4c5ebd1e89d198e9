#![doc = include_str!("lib.md")]

mod authorizations;
mod body;
mod callers;
mod envelope;
mod json;
mod list;
mod lookups;
mod operations;
mod query;
mod router;
mod trace;
mod v1_credentials;
mod v1_layer;
mod wire;

pub use callers::{ApiTokenCallers, Callers};
pub use router::{router, router_with_callers, server_router};
pub use v1_credentials::{NoCredentials, Scheme, V1Credentials};
pub use v1_layer::{V1CredentialLayer, V1CredentialService, v1_rejection};
