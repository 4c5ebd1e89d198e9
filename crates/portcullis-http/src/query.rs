//! Query strings, as the reference reads them.

use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

/// The parameters of a query string. They may hold a password, so they are not shown.
pub(crate) struct Query {
    parameters: Vec<(String, Zeroizing<Vec<u8>>)>,
    /// Names of parameters that were left out.
    broken: Vec<String>,
}

impl Query {
    /// Reads the part of a URL after the `?`.
    ///
    /// `+` is a blank. A parameter with a broken escape or a `;` is left out, as the reference
    /// does; so is one whose name is not UTF-8.
    pub(crate) fn parse(query: &str) -> Self {
        let mut found = Self { parameters: Vec::new(), broken: Vec::new() };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(name) = decode(name).and_then(|name| String::from_utf8(name).ok()) else {
                continue;
            };
            match decode(value) {
                Some(value) => found.parameters.push((name, Zeroizing::new(value))),
                None => found.broken.push(name),
            }
        }
        found
    }

    /// Tells whether the parameter was given with a value that cannot be read.
    pub(crate) fn is_broken(&self, name: &str) -> bool {
        self.broken.iter().any(|broken| broken == name)
    }

    /// Returns the first value of the parameter, as bytes.
    pub(crate) fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.parameters.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_slice())
    }

    /// Returns the first value of the parameter unless it is empty. What is not UTF-8 cannot name
    /// anything, and is read with replacement characters.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let value = self.bytes(name).filter(|value| !value.is_empty())?;
        Some(String::from_utf8_lossy(value).into_owned())
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    if text.contains(';') {
        return None;
    }
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let is_hex = |digit: Option<u8>| digit.is_some_and(|digit| digit.is_ascii_hexdigit());
        if byte == b'%' && !(is_hex(bytes.next()) && is_hex(bytes.next())) {
            return None;
        }
    }
    Some(percent_decode_str(&text.replace('+', " ")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_value_counts_and_escapes_are_read() {
        let query = Query::parse("a=1&a=2&b=x+y%20z%2B&c&d=&e=%C3%A4&&=f");
        assert_eq!(query.text("a").as_deref(), Some("1"));
        assert_eq!(query.text("b").as_deref(), Some("x y z+"));
        assert_eq!(query.bytes("c"), Some(&b""[..]));
        assert_eq!(query.text("d"), None);
        assert_eq!(query.text("e").as_deref(), Some("ä"));
        assert_eq!(query.text("A"), None);
    }

    #[test]
    fn broken_parameters_are_left_out() {
        let query = Query::parse("a=100%&b=%zz&c=1;d=2&e=%e&f=ok");
        for name in ["a", "b", "c", "d", "e"] {
            assert_eq!(query.bytes(name), None, "{name}");
        }
        assert_eq!(query.text("f").as_deref(), Some("ok"));
    }

    #[test]
    fn bytes_are_kept_as_they_are() {
        assert_eq!(Query::parse("p=a%00b%ff").bytes("p"), Some(&b"a\0b\xff"[..]));
    }
}
