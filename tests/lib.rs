//! Tests of Portcullis across its crates: see `suite/`.
