//! Shared by the fuzz targets: a small world with a server around it, and the properties of every
//! response.

pub mod response;
pub mod world;

/// A text in the place of a secret: no message may ever contain it.
pub const CANARY: &str = "CANARY-7f3a";

/// Returns the input as text; other inputs are rejected, since a parser of text cannot use them.
pub fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}
