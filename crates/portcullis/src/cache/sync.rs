//! Atomics, which a test of every order of events replaces by its own.

#[cfg(not(shuttle))]
pub(super) use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(shuttle)]
pub(super) use shuttle::sync::atomic::{AtomicU64, Ordering};
