//! What the fuzz targets share: a small world with a server around it, and what every answer of
//! that server must be.

pub mod answer;
pub mod world;

/// A text that stands for a secret: no message may ever hold it.
pub const CANARY: &str = "CANARY-7f3a";

/// Returns the text if it is one; inputs that are none are of no use to a parser of text.
pub fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}
