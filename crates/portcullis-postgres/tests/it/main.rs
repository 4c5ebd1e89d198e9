//! What `portcullis-postgres` promises beyond the contract of every store.
//!
//! The tests need a PostgreSQL server and print `SKIPPED` if there is none: see
//! `portcullis_testkit::postgres`.

// Always compiled for tests; the attribute makes Clippy treat the helpers as tests.
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
mod maintenance;
#[cfg(test)]
mod model;
#[cfg(test)]
mod opening;
#[cfg(test)]
mod polling;
#[cfg(test)]
mod resync;
#[cfg(test)]
mod standbys;
#[cfg(test)]
mod tls;
