//! The engine over the store in memory: what the vectors do not reach.

mod authenticate;
mod deletion;
mod failures;
mod filters;
mod management;
mod races;
mod snapshots;
mod support;
