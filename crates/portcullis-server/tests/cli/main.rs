//! The binary as its users run it: real processes, real files, real sockets.

#![expect(
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "clippy lets functions marked as tests panic, and not those that help them"
)]

mod admin;
mod aliases;
mod apply;
mod check;
mod comfort;
mod configuration;
mod gateway;
mod importing;
mod logins;
mod maintenance;
mod migrating;
mod observation;
mod others;
mod postgres;
mod refusals;
mod remote;
mod restrictions;
mod rotation;
mod serve;
mod snapshots;
mod support;
#[cfg(unix)]
mod terminal;
mod tls;
