//! An event as a line of JSON that looks the same in every terminal and viewer.

use std::fmt::Write as _;

use portcullis::AuditEvent;

/// An event as a JSON object in two parts. Repetitions of the event differ in the first part only.
pub(crate) struct Line {
    /// `{"at":"…"`.
    pub(crate) at: String,
    /// Everything from the comma after it.
    pub(crate) rest: String,
}

impl Line {
    /// # Errors
    ///
    /// If the event cannot be serialized.
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

/// Escapes characters that control a terminal, or that reorder or hide the text around them. JSON has
/// them in strings only.
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

/// Returns whether it is DEL, a C1 control, a bidirectional mark, a line or paragraph separator, or a
/// character without width.
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
    fn deceptive_characters_are_escaped_and_the_text_is_the_same() {
        let name = "a\u{9b}31mb\u{202e}c\u{2066}d\u{feff}e\u{7f}ä☃";
        let json = serde_json::to_string(name).unwrap();
        let escaped = escape(&json);
        assert!(!escaped.chars().any(is_deceptive), "{escaped}");
        assert!(escaped.contains("\\u009b31m") && escaped.contains("ä☃"), "{escaped}");
        assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), name);
    }
}
