#![doc = include_str!("../README.md")]

pub mod bolt;
mod format;
mod hash_kind;
mod htpasswd;
mod influxdb_1x;
mod influxdb_2x;
pub mod item;
mod line;
mod names;
mod plan;
mod report;
mod source;
mod spool;
mod vault_userpass;
mod vmauth;
mod web_yml;
mod yaml;

pub use format::Format;
pub use plan::{Admins, NewToken, Options, Plan, PlanError, StorePlanError, plan};
pub use report::{Counts, Entry, Outcome, Report};
pub use source::{Place, Source, SourceError};
