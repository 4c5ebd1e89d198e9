//! The router, in process: what the vectors do not reach.

mod answers;
mod list;
mod lookups;
mod order;
mod permissions;
mod routes;
mod support;
mod tracing_output;
mod v1_layer;
