//! Tests that need more than one crate: the behaviour vectors on every store.

mod docs;
mod http_vectors;
mod injection;
mod matching;
mod primitive_vectors;
mod vectors;
mod world;
