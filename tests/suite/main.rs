//! Tests that need more than one crate: the behaviour vectors on every store, the documents and the
//! layers of the core.

mod docs;
#[path = "../../crates/portcullis-http/tests/http/document.rs"]
mod document;
mod http_vectors;
mod influxql_vectors;
mod injection;
mod layers;
mod matching;
mod primitive_vectors;
mod vectors;
mod world;
