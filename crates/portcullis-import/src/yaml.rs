//! YAML, which is read as a whole and within bounds.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_saphyr::options::DuplicateKeyPolicy;
use zeroize::Zeroizing;

use crate::source::{Place, SourceError};

/// The longest file in bytes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Reads a file with one document.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, SourceError> {
    let io = |error| SourceError::io(path, Place::File, error);
    let mut text = Zeroizing::new(String::new());
    File::open(path).map_err(io)?.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(io)?;
    if text.len() as u64 > MAX_BYTES {
        let reason = format!("the file has more than {} MiB", MAX_BYTES / 1024 / 1024);
        return Err(SourceError::new(path, Place::File, reason));
    }
    parse(path, &text)
}

/// Parses the text of a file, whose path is for messages. They quote nothing of the text, which has secrets.
pub(crate) fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, SourceError> {
    let mut options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: 1,
            max_events: 50_000_000,
            max_nodes: 20_000_000,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        with_snippet: false,
    };
    options.alias_limits.max_total_replayed_events = 100_000;
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error.location().map_or(Place::File, |location| Place::Line(location.line()));
        let reason = "this is not YAML, or not what the format has at this place";
        SourceError::new(path, place, reason)
    })
}
