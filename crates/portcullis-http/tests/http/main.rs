//! The router, in process: what the vectors do not reach.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that is wrong should fail, helpers included"
)]

mod api_tokens;
mod authorized_query;
mod conditions;
mod dbrps;
mod document;
mod forward_auth;
mod forward_auth_queries;
mod forward_auth_targets;
mod last_use;
mod limits;
mod list;
mod login_line;
mod lookups;
mod openapi;
mod order;
mod paging;
mod permissions;
mod query;
mod responses;
mod restrictions;
mod rotation;
mod routes;
mod setup;
mod support;
mod tenants;
mod throttling;
mod tracing_output;
mod v1_layer;
