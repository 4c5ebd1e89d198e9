//! An event as a line of JSON that shows what it is, whatever looks at it.

use std::fmt::Write as _;

use portcullis::AuditEvent;

/// An event as a JSON object, in two parts: the same event at another time differs in the first one
/// alone.
pub(crate) struct Line {
    /// `{"at":"…"`.
    pub(crate) at: String,
    /// Everything from the comma after it.
    pub(crate) rest: String,
}

impl Line {
    /// # Errors
    ///
    /// When the event cannot be written as JSON.
    pub(crate) fn of(event: &AuditEvent<'_>) -> serde_json::Result<Self> {
        let json = serde_json::to_string(event)?;
        // The time comes first, and has no comma.
        let (at, rest) = json.split_at(json.find(',').unwrap_or(json.len()));
        Ok(Self { at: at.to_owned(), rest: escape(rest) })
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        (self.at + &self.rest).into_bytes()
    }
}

/// Escapes what a terminal would obey and what turns around or hides the text beside it. It stands in
/// strings alone, for JSON has none of it elsewhere.
fn escape(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if is_deceptive(c) {
            // All of them have 16 bits; writing to a string cannot fail.
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// C1 control characters and DEL; marks of direction, of line and paragraph, and without width.
fn is_deceptive(c: char) -> bool {
    matches!(
        c,
        '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_deceives_a_reader_is_escaped_and_is_the_same_text() {
        let name = "a\u{9b}31mb\u{202e}c\u{2066}d\u{feff}e\u{7f}ä☃";
        let json = serde_json::to_string(name).unwrap();
        let escaped = escape(&json);
        assert!(!escaped.chars().any(is_deceptive), "{escaped}");
        assert!(escaped.contains("\\u009b31m") && escaped.contains("ä☃"), "{escaped}");
        assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), name);
    }
}
