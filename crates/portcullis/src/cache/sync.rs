//! Atomics, which the shuttle tests replace by their own.

#[cfg(not(shuttle))]
pub(super) use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(shuttle)]
pub(super) use shuttle::sync::atomic::{AtomicU64, Ordering};
