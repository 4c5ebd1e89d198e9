//! The engine over the store in memory: what the vectors do not reach.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that is wrong should fail, helpers included"
)]

mod api_tokens;
mod audit;
mod authenticate;
mod caching;
mod callers;
mod configuration;
mod costs;
mod credentials;
mod dbrps;
mod deletion;
mod failures;
mod filters;
mod ids;
mod last_use;
mod linearizability;
mod management;
mod memory;
mod preconditions;
mod races;
mod read_only;
mod restrictions;
mod rotation;
mod setup;
mod shared_store;
mod snapshots;
mod support;
mod tenants;
mod throttling;
mod trust;
mod waiting;
