#![doc = include_str!("lib.md")]

mod body;
mod deadline;
mod denial;
mod form;
mod forward;
mod gateway;
mod log_limit;
mod outcome;
mod parameters;
mod pool;
mod refusal;
mod route;
mod show_databases;
mod upstream;

pub use gateway::{Gateway, GatewayService};
pub use outcome::Outcome;
pub use upstream::{InvalidUpstream, Upstream};

/// The Rust in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
