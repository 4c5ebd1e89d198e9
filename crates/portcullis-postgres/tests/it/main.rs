//! What `portcullis-postgres` promises beyond the contract of every store.
//!
//! It needs a PostgreSQL server, and says loudly when there is none: `portcullis_testkit::postgres`.

// Compiled for tests anyway; said so that Clippy takes the helpers for tests, too.
#[cfg(test)]
mod common;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod engine_faults;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod following;
#[cfg(test)]
mod maintenance;
#[cfg(test)]
mod model;
#[cfg(test)]
mod opening;
#[cfg(test)]
mod resync;
#[cfg(test)]
mod standbys;
#[cfg(test)]
mod tls;
