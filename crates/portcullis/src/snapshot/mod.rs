//! Snapshots: every record as a line of JSON, for backup, review and migration.
//!
//! The format is documented in `docs/spec/snapshots.md`. This module reads and writes it;
//! [`Engine::export`](crate::Engine::export) and [`Engine::import`](crate::Engine::import) connect
//! it to a store.

mod line;
mod read;
mod write;

pub use read::{InvalidSnapshot, LineError, Snapshot, SnapshotRecord};
pub use write::{SnapshotWriter, WriteSnapshotError};
