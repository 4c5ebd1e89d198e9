//! Texts, as PostgreSQL can keep them.
//!
//! Its `TEXT` holds every character but U+0000. That one is written as U+0001 and `0`, and U+0001
//! as U+0001 and `1`, so that different texts stay different, and all others are as they are for
//! whoever looks into a table. Bodies are JSON, which has neither.

use std::borrow::Cow;

const MARK: char = '\u{1}';

/// Returns what is kept for the text.
pub(crate) fn kept(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', MARK]) {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\0' => kept.extend([MARK, '0']),
            MARK => kept.extend([MARK, '1']),
            other => kept.push(other),
        }
    }
    Cow::Owned(kept)
}

/// Returns the text for which this is kept; `None` when it is for none.
pub(crate) fn of_kept(kept: &str) -> Option<Cow<'_, str>> {
    if !kept.contains(MARK) {
        return Some(Cow::Borrowed(kept));
    }
    let mut text = String::with_capacity(kept.len());
    let mut chars = kept.chars();
    while let Some(c) = chars.next() {
        match (c, c == MARK) {
            (_, true) => match chars.next()? {
                '0' => text.push('\0'),
                '1' => text.push(MARK),
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
    fn every_text_comes_back_and_none_has_a_nul() {
        let texts = ["", "a", "\0", "\u{1}", "\u{1}0", "\0\u{1}1é", "a\0b", "\u{1}\u{1}", "0", "1"];
        let all: std::collections::BTreeSet<_> = texts.iter().map(|text| kept(text)).collect();
        assert_eq!(all.len(), texts.len(), "two texts are kept alike");
        for text in texts {
            assert!(!kept(text).contains('\0'));
            assert_eq!(of_kept(&kept(text)).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_was_never_written_is_no_text() {
        assert_eq!(of_kept("a\u{1}"), None);
        assert_eq!(of_kept("\u{1}2"), None);
    }
}
