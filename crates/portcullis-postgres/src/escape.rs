//! Escapes the character that PostgreSQL's `TEXT` cannot hold.
//!
//! U+0000 is stored as U+0001 and `0`, and U+0001 as U+0001 and `1`, so that different texts stay
//! different. All other characters are stored unchanged and readable. Bodies are JSON, which has
//! neither character.

use std::borrow::Cow;

const ESCAPE: char = '\u{1}';

/// Escapes a text.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', ESCAPE]) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\0' => escaped.extend([ESCAPE, '0']),
            ESCAPE => escaped.extend([ESCAPE, '1']),
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}

/// Reverses [`escape`]; `None` if the text is not escaped correctly.
pub(crate) fn unescape(escaped: &str) -> Option<Cow<'_, str>> {
    if !escaped.contains(ESCAPE) {
        return Some(Cow::Borrowed(escaped));
    }
    let mut text = String::with_capacity(escaped.len());
    let mut chars = escaped.chars();
    while let Some(c) = chars.next() {
        match (c, c == ESCAPE) {
            (_, true) => match chars.next()? {
                '0' => text.push('\0'),
                '1' => text.push(ESCAPE),
                _ => return None,
            },
            (other, false) => text.push(other),
        }
    }
    Some(Cow::Owned(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaping_is_reversible_and_leaves_no_nul() {
        let texts = ["", "a", "\0", "\u{1}", "\u{1}0", "\0\u{1}1é", "a\0b", "\u{1}\u{1}", "0", "1"];
        let all: std::collections::BTreeSet<_> = texts.iter().map(|text| escape(text)).collect();
        assert_eq!(all.len(), texts.len(), "two texts are escaped alike");
        for text in texts {
            assert!(!escape(text).contains('\0'));
            assert_eq!(unescape(&escape(text)).as_deref(), Some(text));
        }
    }

    #[test]
    fn an_incorrect_escape_is_refused() {
        assert_eq!(unescape("a\u{1}"), None);
        assert_eq!(unescape("\u{1}2"), None);
    }
}
