//! Text for people: aligned columns, and escapes for what could control a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr;

const GAP: &str = "  ";

/// A wider cell extends beyond its column and does not widen it.
const MAX_WIDTH: usize = 64;

/// Aligns the rows below the headers, a line for each.
pub(crate) fn table(headers: &[&str], rows: &[Vec<String>]) -> String {
    let headers = headers.iter().map(|header| header.to_uppercase()).collect();
    let all: Vec<Vec<String>> = std::iter::once(headers)
        .chain(rows.iter().map(|row| row.iter().map(|cell| escape(cell).into_owned()).collect()))
        .collect();
    align(&all)
}

/// Aligns names and values, a line for each.
pub(crate) fn pairs(pairs: &[(&str, String)]) -> String {
    let rows: Vec<Vec<String>> = pairs
        .iter()
        .map(|(name, value)| vec![(*name).to_owned(), escape(value).into_owned()])
        .collect();
    align(&rows)
}

/// The columns of a table whose rows are measured first and then written one at a time.
pub(crate) struct Columns {
    headers: Vec<String>,
    widths: Vec<usize>,
}

impl Columns {
    pub(crate) fn new(headers: &[&str]) -> Self {
        let headers = headers.iter().map(|header| header.to_uppercase()).collect();
        let mut columns = Self { headers, widths: Vec::new() };
        columns.widths = columns.headers.iter().map(|header| header.width()).collect();
        columns
    }

    /// Makes the columns wide enough for the row.
    pub(crate) fn measure(&mut self, row: &[String]) {
        measure(&mut self.widths, escaped(row));
    }

    pub(crate) fn header(&self) -> String {
        line(&self.widths, plain(&self.headers))
    }

    pub(crate) fn line(&self, row: &[String]) -> String {
        line(&self.widths, escaped(row))
    }
}

fn escaped(row: &[String]) -> impl ExactSizeIterator<Item = Cow<'_, str>> {
    row.iter().map(|cell| escape(cell))
}

fn plain(row: &[String]) -> impl ExactSizeIterator<Item = Cow<'_, str>> {
    row.iter().map(|cell| Cow::from(cell.as_str()))
}

fn align(rows: &[Vec<String>]) -> String {
    let mut widths = Vec::new();
    for row in rows {
        measure(&mut widths, plain(row));
    }
    rows.iter().map(|row| line(&widths, plain(row))).collect()
}

fn measure<'c>(widths: &mut Vec<usize>, cells: impl ExactSizeIterator<Item = Cow<'c, str>>) {
    widths.resize(widths.len().max(cells.len()), 0);
    for (width, cell) in widths.iter_mut().zip(cells) {
        let cell = cell.width();
        if cell <= MAX_WIDTH {
            *width = (*width).max(cell);
        }
    }
}

fn line<'c>(widths: &[usize], cells: impl Iterator<Item = Cow<'c, str>>) -> String {
    let mut line = String::new();
    for (cell, width) in cells.zip(widths) {
        let padding = width.saturating_sub(cell.width());
        // Writing to a string cannot fail.
        let _ = write!(line, "{cell}{:padding$}{GAP}", "");
    }
    line.truncate(line.trim_end_matches(' ').len());
    line.push('\n');
    line
}

/// Escapes what a terminal would not show as itself: control characters, line ends, and characters
/// that reverse or hide others.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_hidden(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown.into()
}

fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_width_without_blanks_at_the_end() {
        let rows = [
            vec!["1".to_owned(), "用户".to_owned(), "x".to_owned()],
            vec!["22".to_owned(), "ada".to_owned(), String::new()],
        ];
        assert_eq!(table(&["id", "name", "note"], &rows), "ID  NAME  NOTE\n1   用户  x\n22  ada\n");
    }

    #[test]
    fn one_long_name_does_not_widen_the_column() {
        let rows =
            ["x".repeat(MAX_WIDTH + 1), "ada".to_owned()].map(|name| vec![name, "1".to_owned()]);
        let table = table(&["name", "n"], &rows);
        assert!(table.starts_with("NAME  N\n") && table.ends_with("\nada   1\n"), "{table}");
    }

    #[test]
    fn what_could_control_a_terminal_is_escaped() {
        for (name, shown) in [
            ("plain ä 用", "plain ä 用"),
            ("\u{1b}[31mred\r\n", "\\u{1b}[31mred\\r\\n"),
            ("a\u{202e}b\0\u{9b}", "a\\u{202e}b\\u{0}\\u{9b}"),
            ("DOMAIN\\user", "DOMAIN\\user"),
        ] {
            assert_eq!(escape(name), shown);
        }
    }
}
