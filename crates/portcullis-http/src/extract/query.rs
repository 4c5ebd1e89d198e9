//! Query strings, parsed as the reference does.

use std::cmp::Ordering;
use std::num::NonZeroUsize;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str};
use zeroize::Zeroizing;

use crate::respond::ErrorBody;

/// The characters that are not percent-encoded in a query or a header.
pub(crate) const UNRESERVED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// One parameter of a query string, not decoded.
#[derive(Clone, Copy)]
pub(crate) struct Parameter<'a> {
    name: &'a str,
    value: &'a str,
}

/// Returns the parameters of the part of a URL after the `?`.
pub(crate) fn parameters(query: &str) -> impl Iterator<Item = Parameter<'_>> {
    let mut rest = query;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (name, after) = split_before(rest, |byte| matches!(byte, b'=' | b'&'));
            let (value, after) = match after.strip_prefix('=') {
                Some(after) => split_before(after, |byte| byte == b'&'),
                None => ("", after),
            };
            let is_there = rest.len() > after.len();
            rest = after.strip_prefix('&').unwrap_or_default();
            if is_there {
                return Some(Parameter { name, value });
            }
        }
        None
    })
}

/// Splits the text before the first byte for which `is_end` is true, which must be ASCII.
pub(crate) fn split_before(text: &str, is_end: impl Fn(u8) -> bool) -> (&str, &str) {
    // A plain loop: the byte is usually near the beginning.
    let end = text.bytes().position(is_end).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

impl<'a> Parameter<'a> {
    /// Returns whether the decoded name is `name`, which must need no encoding. A malformed name
    /// equals none.
    pub(crate) fn is(self, name: &str) -> bool {
        // An encoded name is longer, and a name of the same length is not encoded.
        match self.name.len().cmp(&name.len()) {
            Ordering::Less => false,
            Ordering::Equal => self.name == name,
            Ordering::Greater => {
                self.name.as_bytes().contains(&b'%')
                    && PercentEncoded::parse(self.name)
                        .is_some_and(|own| own.decode() == name.as_bytes())
            }
        }
    }

    /// Returns the beginning of the name, not decoded, for a message.
    pub(crate) fn shown_name(self) -> String {
        format!("`{}`", self.name.escape_debug().take(64).collect::<String>())
    }

    /// Returns the name, unless it is malformed.
    pub(crate) fn name(self) -> Option<PercentEncoded<'a>> {
        PercentEncoded::parse(self.name)
    }

    /// Returns the value, unless it is malformed.
    pub(crate) fn value(self) -> Option<PercentEncoded<'a>> {
        PercentEncoded::parse(self.value)
    }
}

/// A well-formed text of a query: `+` is a blank, `%` and two hexadecimal digits are a byte.
#[derive(Clone, Copy)]
pub(crate) struct PercentEncoded<'a> {
    text: &'a str,
    is_plain: bool,
}

impl<'a> PercentEncoded<'a> {
    /// Checks the text. One with a broken escape or a `;` is malformed: the reference ignores such
    /// parameters.
    fn parse(text: &'a str) -> Option<Self> {
        if !text.bytes().any(|byte| matches!(byte, b'%' | b'+' | b';')) {
            return Some(Self { text, is_plain: true });
        }
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            let is_hex = |digit: Option<u8>| digit.is_some_and(|digit| digit.is_ascii_hexdigit());
            if byte == b';' || byte == b'%' && !(is_hex(bytes.next()) && is_hex(bytes.next())) {
                return None;
            }
        }
        Some(Self { text, is_plain: false })
    }

    /// Returns the length in bytes. The decoded text is at most as long.
    pub(crate) const fn len(self) -> usize {
        self.text.len()
    }

    /// Returns the text if nothing in it is encoded.
    pub(crate) const fn plain(self) -> Option<&'a str> {
        if self.is_plain { Some(self.text) } else { None }
    }

    /// Returns the decoded bytes.
    pub(crate) fn decode(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        self.decode_into(&mut bytes);
        bytes
    }

    /// Appends the decoded bytes.
    pub(crate) fn decode_into(self, bytes: &mut Vec<u8>) {
        if let Some(text) = self.plain() {
            return bytes.extend_from_slice(text.as_bytes());
        }
        for (position, part) in self.text.split('+').enumerate() {
            if position > 0 {
                bytes.push(b' ');
            }
            bytes.extend(percent_decode_str(part));
        }
    }
}

/// Returns the first well-formed values of `u` and `p`.
pub(crate) fn u_and_p(query: &str) -> [Option<PercentEncoded<'_>>; 2] {
    let [mut username, mut password] = [None; 2];
    for parameter in parameters(query) {
        // As in `Parameter::is`, in fewer steps: every login passes here.
        let value = match parameter.name {
            "u" | "%75" => &mut username,
            "p" | "%70" => &mut password,
            _ => continue,
        };
        *value = value.or_else(|| parameter.value());
    }
    [username, password]
}

/// The decoded parameters of a query string. They may hold a password, so there is no `Debug`.
pub(crate) struct Query {
    parameters: Vec<(String, Zeroizing<Vec<u8>>)>,
    /// Names of parameters with malformed values.
    malformed: Vec<String>,
}

impl Query {
    /// Parses the part of a URL after the `?`.
    ///
    /// A parameter with a broken escape or a `;` is ignored, as the reference does; so is one whose
    /// name is not UTF-8.
    pub(crate) fn parse(query: &str) -> Self {
        let mut found = Self { parameters: Vec::new(), malformed: Vec::new() };
        for parameter in parameters(query) {
            let name = parameter.name().map(PercentEncoded::decode);
            let Some(Ok(name)) = name.map(String::from_utf8) else {
                continue;
            };
            match parameter.value() {
                Some(value) => {
                    found.parameters.push((name, Zeroizing::new(value.decode())));
                }
                None => found.malformed.push(name),
            }
        }
        found
    }

    /// Returns the first value of the parameter, as bytes.
    pub(crate) fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.parameters.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_slice())
    }

    /// Returns the first value of the parameter, unless it is empty. Bytes that are not UTF-8 are
    /// replaced: no name has the replacement character.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let value = self.bytes(name).filter(|value| !value.is_empty())?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    /// Does what [`Query::text`] does, and refuses a parameter whose value is malformed: without the
    /// error, the filter would be ignored, and the list would hold everything.
    pub(crate) fn readable_text(&self, name: &str) -> Result<Option<String>, ErrorBody> {
        match self.malformed.iter().any(|malformed| malformed == name) {
            true => {
                Err(ErrorBody::invalid(format!("`{name}` cannot be read: encode it for a URL")))
            }
            false => Ok(self.text(name)),
        }
    }
}

/// Reads a page size from 1 to the bound.
pub(crate) fn parse_limit(text: &str, max: usize) -> Result<NonZeroUsize, ErrorBody> {
    let limit = text.parse().ok().filter(|limit: &NonZeroUsize| limit.get() <= max);
    limit.ok_or_else(|| ErrorBody::invalid(format!("`limit` must be between 1 and {max}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [HTTP-3] [LOGIN-2]
    #[test]
    fn the_first_value_counts_and_escapes_are_decoded() {
        let query = Query::parse("a=1&a=2&b=x+y%20z%2B&c&d=&e=%C3%A4&&=f");
        assert_eq!(query.text("a").as_deref(), Some("1"));
        assert_eq!(query.text("b").as_deref(), Some("x y z+"));
        assert_eq!(query.bytes("c"), Some(&b""[..]));
        assert_eq!(query.text("d"), None);
        assert_eq!(query.text("e").as_deref(), Some("ä"));
        assert_eq!(query.text("A"), None);
    }

    #[test]
    fn malformed_parameters_are_ignored() {
        let query = Query::parse("a=100%&b=%zz&c=1;d=2&e=%e&f=ok&g;=1&%=1");
        for name in ["a", "b", "c", "d", "e", "g", "g;", "%"] {
            assert_eq!(query.bytes(name), None, "{name}");
        }
        assert_eq!(query.text("f").as_deref(), Some("ok"));
    }

    #[test]
    fn bytes_are_kept_as_they_are() {
        assert_eq!(Query::parse("p=a%00b%ff").bytes("p"), Some(&b"a\0b\xff"[..]));
    }

    /// Decodes a text of a query, byte by byte.
    fn plainly(text: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let [first, others @ ..] = rest {
            let (byte, others) = match (first, others) {
                (b';', _) => return None,
                (b'%', [high, low, others @ ..]) => {
                    let digit = |digit: &u8| char::from(*digit).to_digit(16);
                    (digit(high)? * 16 + digit(low)?, others)
                }
                (b'%', _) => return None,
                (b'+', others) => (u32::from(b' '), others),
                (byte, others) => (u32::from(*byte), others),
            };
            bytes.push(u8::try_from(byte).unwrap());
            rest = others;
        }
        Some(bytes)
    }

    proptest::proptest! {
        #[test]
        fn parameters_are_what_is_between_the_separators(
            query in "(([a-b]|%[0-9a-f]{2}|ä|[&=+%;]){0,4}[&=]?){0,4}",
        ) {
            let mut found = parameters(&query);
            for pair in query.split('&').filter(|pair| !pair.is_empty()) {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                let next = found.next().unwrap();
                proptest::prop_assert_eq!((next.name, next.value), (name, value));
                for other in ["a", "b", "ab", "ba", "aaa", "abab"] {
                    let is = plainly(name).is_some_and(|name| name == other.as_bytes());
                    proptest::prop_assert_eq!(next.is(other), is);
                }
                proptest::prop_assert_eq!(next.value().map(PercentEncoded::decode), plainly(value));
                let as_it_stands = next.value().and_then(PercentEncoded::plain);
                let is_plain = !value.contains(['%', '+', ';']);
                proptest::prop_assert_eq!(as_it_stands, is_plain.then_some(value));
            }
            proptest::prop_assert!(found.next().is_none());
        }

        /// [LOGIN-2]
        #[test]
        fn u_and_p_are_what_a_parse_of_the_whole_query_finds(
            query in "([up]|%7[05]|%7|[+;])?=?([a-z]|%7[05]|%[0-9a-f]{2}|[&=+%;]){0,12}",
        ) {
            let whole = Query::parse(&query);
            for (name, found) in ["u", "p"].into_iter().zip(u_and_p(&query)) {
                proptest::prop_assert_eq!(found.map(PercentEncoded::decode), whole.bytes(name).map(<[u8]>::to_vec));
            }
        }
    }
}
