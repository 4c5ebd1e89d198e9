//! What `portcullis-sqlite` promises beyond the contract of every store.

// Compiled for tests anyway; said so that Clippy takes the helpers for tests, too.
#[cfg(test)]
mod closing;
#[cfg(test)]
mod commits;
#[cfg(test)]
mod common;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod engine_faults;
#[cfg(test)]
mod files;
#[cfg(test)]
mod formats;
#[cfg(test)]
mod maintenance;
#[cfg(test)]
mod migration;
#[cfg(test)]
mod model;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod sharing;
