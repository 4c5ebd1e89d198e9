//! Tests of Portcullis across its crates: see `suite/`.

/// The Rust in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
