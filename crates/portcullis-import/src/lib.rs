#![doc = include_str!("../README.md")]

mod format;
mod influxdb_1x;
pub mod item;
mod line;
mod names;
mod plan;
mod report;
mod source;
mod spool;

pub use format::Format;
pub use plan::{Admins, NewToken, Options, Plan, PlanError, StorePlanError, plan};
pub use report::{Counts, Entry, Outcome, Report};
pub use source::{Place, Source, SourceError};
