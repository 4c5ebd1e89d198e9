//! JSON in the form of this API: indented with tabs, and with `<`, `>` and `&` escaped.

use std::io;

use http::HeaderValue;
use serde::Serialize;
use serde_json::ser::Formatter;

/// The content type of every response with a body.
pub(crate) const CONTENT_TYPE: HeaderValue =
    HeaderValue::from_static("application/json; charset=utf-8");

/// Writes the value with indentation and a line feed at the end.
pub(crate) fn pretty(value: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    pretty_at(&mut out, 0, value);
    out.push(b'\n');
    out
}

/// Writes the value as a part of a document, `level` levels deep.
pub(crate) fn pretty_at(out: &mut Vec<u8>, level: usize, value: &impl Serialize) {
    write(out, TabFormatter { level, has_value: false }, value);
}

/// Writes the value on one line.
pub(crate) fn compact(value: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    write(&mut out, EscapingFormatter, value);
    out
}

fn write(out: &mut Vec<u8>, formatter: impl Formatter, value: &impl Serialize) {
    let mut serializer = serde_json::Serializer::with_formatter(out, formatter);
    if let Err(error) = value.serialize(&mut serializer) {
        // Unreachable for our types, which have string keys only: a vector accepts every write.
        tracing::error!(%error, "a response could not be written as JSON");
    }
}

/// Writes a part of a string, with the characters of markup escaped.
fn write_fragment<W: ?Sized + io::Write>(writer: &mut W, fragment: &str) -> io::Result<()> {
    // Most fragments have none of them, and a search for bytes is faster than for characters.
    if !fragment.bytes().any(|byte| matches!(byte, b'<' | b'>' | b'&' | 0xe2)) {
        return writer.write_all(fragment.as_bytes());
    }
    let mut rest = fragment;
    while let Some(position) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        let (before, special) = rest.split_at(position);
        writer.write_all(before.as_bytes())?;
        let mut chars = special.chars();
        if let Some(c) = chars.next() {
            write!(writer, "\\u{:04x}", u32::from(c))?;
        }
        rest = chars.as_str();
    }
    writer.write_all(rest.as_bytes())
}

struct EscapingFormatter;

impl Formatter for EscapingFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        write_fragment(writer, fragment)
    }
}

struct TabFormatter {
    level: usize,
    /// Whether the innermost array or object has an element.
    has_value: bool,
}

impl TabFormatter {
    fn begin<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.level += 1;
        self.has_value = false;
        writer.write_all(bracket)
    }

    fn end<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.level -= 1;
        if self.has_value {
            self.new_line(writer)?;
        }
        writer.write_all(bracket)
    }

    fn element<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(b",")?;
        }
        self.new_line(writer)
    }

    fn new_line<W: ?Sized + io::Write>(&self, writer: &mut W) -> io::Result<()> {
        const LINE: &[u8] = b"\n\t\t\t\t\t\t\t\t";
        match LINE.get(..=self.level) {
            Some(line) => writer.write_all(line),
            None => {
                writer.write_all(b"\n")?;
                (0..self.level).try_for_each(|_| writer.write_all(b"\t"))
            }
        }
    }
}

impl Formatter for TabFormatter {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.begin(writer, b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.end(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.element(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.begin(writer, b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.end(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.element(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        write_fragment(writer, fragment)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// [HTTP-14]
    #[test]
    fn indents_with_tabs_and_ends_with_a_line_feed() {
        let value = json!({"a": [], "b": {"c": [1, {"d": null}]}});
        let text = String::from_utf8(pretty(&value)).unwrap();
        assert_eq!(
            text,
            "{\n\t\"a\": [],\n\t\"b\": {\n\t\t\"c\": [\n\t\t\t1,\n\t\t\t{\n\t\t\t\t\"d\": null\n\t\t\t}\n\t\t]\n\t}\n}\n"
        );
    }

    /// [HTTP-14]
    #[test]
    fn the_characters_of_markup_are_escaped() {
        let text = String::from_utf8(compact(&"<a href=\"&\">ä\u{2028}")).unwrap();
        assert_eq!(text, r#""\u003ca href=\"\u0026\"\u003eä\u2028""#);
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), "<a href=\"&\">ä\u{2028}");
    }

    proptest::proptest! {
        #[test]
        fn every_text_survives_a_round_trip(text in "\\PC*[<>&]?\\PC*") {
            let compact: String = serde_json::from_slice(&compact(&text)).unwrap();
            let pretty: String = serde_json::from_slice(&pretty(&text)).unwrap();
            proptest::prop_assert_eq!(&compact, &text);
            proptest::prop_assert_eq!(&pretty, &text);
        }
    }
}
