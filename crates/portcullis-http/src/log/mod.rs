//! The lines of the log that requests cause, and their limits.

pub(crate) mod failures;
mod line_limit;
pub(crate) mod refusals;
