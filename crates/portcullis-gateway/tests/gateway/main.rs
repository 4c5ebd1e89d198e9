//! What `portcullis-gateway` promises, before an upstream that follows a script.

// Compiled for tests anyway; said so that Clippy takes the helpers for tests, too.
#[cfg(test)]
mod bodies;
#[cfg(test)]
mod decisions;
#[cfg(test)]
mod forwarding;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod support;
#[cfg(test)]
mod upstream_failures;
