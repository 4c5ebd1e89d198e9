//! What `portcullis-sled` promises beyond the contract of every store.

// Compiled for tests anyway; said so that Clippy takes the helpers for tests, too.
#[cfg(test)]
mod conformance;
