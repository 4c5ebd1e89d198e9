#![doc = include_str!("lib.md")]

mod authenticated;
mod authorizations;
mod body;
mod callers;
mod client_address;
mod envelope;
mod failure_log;
mod forward_auth;
mod json;
mod line_limit;
mod list;
mod login;
mod lookups;
mod operations;
mod original;
mod paging;
mod query;
mod redact;
mod router;
mod trace;
mod v1_answer;
mod v1_credentials;
mod v1_layer;
mod wire;

pub use authenticated::{Authenticated, NotAuthenticated};
pub use callers::{ApiTokenCallers, Callers};
pub use client_address::{
    ClientAddress, ClientAddressLayer, ClientAddressService, ParseTrustedProxyError, PeerAddress,
    TrustedProxy,
};
pub use forward_auth::{ForwardAuth, ForwardAuthConfig, UpstreamSemantics};
pub use redact::redact_uri;
pub use router::{ManagementApi, ServerApi};
pub use v1_answer::{InfluxdbVersion, InvalidInfluxdbVersion, V1Rejection};
pub use v1_credentials::{NoCredentials, Scheme, V1Credentials};
pub use v1_layer::{V1CredentialLayer, V1CredentialService};

/// The Rust in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
