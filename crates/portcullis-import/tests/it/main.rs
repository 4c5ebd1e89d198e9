//! Importing into an engine in memory, as a host or the command line does it.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "clippy lets functions marked as tests panic, and not those that help them"
)]

mod damaged;
mod formats;
mod influxdb_1x;
mod meta;
mod planning;
mod support;
