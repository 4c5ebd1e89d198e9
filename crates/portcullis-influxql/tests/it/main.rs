//! What `portcullis-influxql` promises.

// Compiled for tests anyway; said so that Clippy takes the helpers for tests, too.
#[cfg(test)]
mod needs;
#[cfg(test)]
mod properties;
