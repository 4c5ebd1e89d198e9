//! Statements without their literals, for logs.

/// Returns the text with `?` in place of literals, and without comments.
///
/// A `/` divides or begins a regular expression, which only a parser can tell: whatever is between two of
/// them in a line is taken for a literal. So more may be missing than is necessary, never less.
pub(crate) fn without_literals(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut is_in_word = false;
    while let Some(first) = rest.chars().next() {
        let was_in_word = std::mem::replace(&mut is_in_word, false);
        let length = match first {
            '-' if rest.starts_with("--") => rest.find(['\n', '\r']).unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => {
                rest.get(2..).and_then(|inner| inner.find("*/")).map_or(rest.len(), |end| end + 4)
            }
            '\'' => {
                out.push('?');
                quoted(rest, '\'').unwrap_or(rest.len())
            }
            '"' => {
                let length = quoted(rest, '"').unwrap_or(rest.len());
                out.push_str(rest.get(..length).unwrap_or_default());
                length
            }
            '/' => match quoted(rest, '/') {
                Some(length) => {
                    out.push('?');
                    length
                }
                None => {
                    out.push('/');
                    1
                }
            },
            first if first.is_ascii_digit() && !was_in_word => {
                out.push('?');
                let is_number = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_');
                rest.find(|c| !is_number(c)).unwrap_or(rest.len())
            }
            first => {
                out.push(first);
                is_in_word = first.is_alphanumeric() || first == '_';
                first.len_utf8()
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    out
}

/// Returns the length of what begins with a quotation mark, up to and with the next one that has no
/// backslash before it. A regular expression ends in its line.
fn quoted(text: &str, mark: char) -> Option<usize> {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if std::mem::take(&mut is_escaped) => {}
            '\\' => is_escaped = true,
            '\n' if mark == '/' => return None,
            c if c == mark => return Some(at + c.len_utf8()),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn literals_are_replaced_and_identifiers_stay() {
        for (text, expected) in [
            (
                "SELECT mean(v) FROM \"a\".b.cpu0 WHERE host = 's3\\'cret' AND time > now() - 5m",
                "SELECT mean(v) FROM \"a\".b.cpu0 WHERE host = ? AND time > now() - ?",
            ),
            ("SET PASSWORD FOR ada = 's3cret'", "SET PASSWORD FOR ada = ?"),
            ("SELECT v FROM /s3cret\\/x/ WHERE x =~ /a/", "SELECT v FROM ? WHERE x =~ ?"),
            ("SELECT a / b FROM c -- s3cret\nLIMIT 1", "SELECT a / b FROM c \nLIMIT ?"),
            ("SELECT /* s3cret */ v1 + 1.5e3 FROM c", "SELECT  v1 + ? FROM c"),
            ("SELECT 's3cret", "SELECT ?"),
            ("DROP SERIES WHERE \"it's\" = 's3cret'", "DROP SERIES WHERE \"it's\" = ?"),
        ] {
            assert_eq!(without_literals(text), expected);
        }
    }

    proptest! {
        #[test]
        fn no_string_literal_is_left(
            before in "[a-z\" =(\n-]{0,8}",
            secret in "[A-Z0-9 /\"-]{1,8}",
            after in "\\PC{0,8}",
        ) {
            prop_assume!(before.matches('"').count() % 2 == 0 && !before.contains("--"));
            let text = format!("{before}'{secret}'{after}");
            let shown = without_literals(&text);
            let begin = without_literals(&before);
            prop_assert!(shown.starts_with(&format!("{begin}?")), "{text:?} {shown:?}");
        }
    }
}
