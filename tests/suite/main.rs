//! Tests that need more than one crate: the behaviour vectors on every store, the documents and the
//! layers of the core.

mod docs;
mod http_vectors;
mod influxql_vectors;
mod injection;
mod layers;
mod matching;
mod primitive_vectors;
mod vectors;
mod world;
