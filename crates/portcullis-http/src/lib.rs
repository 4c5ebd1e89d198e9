#![doc = include_str!("lib.md")]

mod api;
mod callers;
mod client_address;
mod extract;
mod forward_auth;
mod json;
mod limits;
mod log;
mod management;
mod openapi;
mod respond;
mod server;
mod state;
mod trace;
mod v1;

pub use callers::{ApiTokenCallers, Callers};
pub use client_address::{
    ClientAddress, ClientAddressLayer, ClientAddressService, ParseTrustedProxyError, PeerAddress,
    TrustedProxy,
};
pub use forward_auth::{ForwardAuth, ForwardAuthConfig};
pub use limits::{
    CredentialLimitLayer, CredentialLimitService, CredentialLimiter, CredentialLimits,
    InvalidRequestRate, LimitedBody, RequestPermit, RequestRate,
};
pub use management::ManagementApi;
#[doc(inline)]
pub use portcullis_influxql::StatementKind;
pub use server::ServerApi;
pub use v1::authenticated::{Authenticated, NotAuthenticated};
pub use v1::authorized_query::AuthorizedQuery;
pub use v1::buckets::UpstreamSemantics;
pub use v1::credentials::{NoCredentials, Scheme, V1Credentials};
pub use v1::influxdb_version::{InfluxdbVersion, InvalidInfluxdbVersion};
pub use v1::layer::{V1CredentialLayer, V1CredentialService};
pub use v1::policy::{V1Decision, V1Denial, V1Policy, V1Request};
pub use v1::query::{
    AllowedStatement, QueryDecision, QueryDenial, QueryPolicy, QueryRequest, UnreadableQuery,
};
pub use v1::redact::redact_uri;
pub use v1::rejection::V1Rejection;

/// The Rust in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
