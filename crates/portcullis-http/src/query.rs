//! Query strings, as the reference reads them.

use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

/// One parameter as it stands in a query string, not decoded.
#[derive(Clone, Copy)]
pub(crate) struct Parameter<'a> {
    name: &'a str,
    value: &'a str,
}

/// Returns the parameters of the part of a URL after the `?`.
pub(crate) fn parameters(query: &str) -> impl Iterator<Item = Parameter<'_>> {
    let mut rest = query;
    // Plain loops: what is looked for is a few bytes away.
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (pair, others) = cut_at(rest, b'&').unwrap_or((rest, ""));
            rest = others;
            if !pair.is_empty() {
                let (name, value) = cut_at(pair, b'=').unwrap_or((pair, ""));
                return Some(Parameter { name, value });
            }
        }
        None
    })
}

/// Returns what is before and after the first such byte, which is ASCII.
fn cut_at(text: &str, byte: u8) -> Option<(&str, &str)> {
    let at = text.bytes().position(|other| other == byte)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

impl<'a> Parameter<'a> {
    /// Tells whether this is its name, decoded. A name that cannot be read is none.
    pub(crate) fn is(self, name: &str) -> bool {
        // Encoding makes no name shorter.
        if self.name.len() < name.len() {
            return false;
        }
        if !self.name.bytes().any(|byte| matches!(byte, b'%' | b'+' | b';')) {
            return self.name == name;
        }
        is_readable(self.name) && decoded(self.name) == name.as_bytes()
    }

    /// Returns the value as it stands, unless it cannot be read: it holds a broken escape or a
    /// `;`, and the reference leaves such parameters out.
    pub(crate) fn readable(self) -> Option<&'a str> {
        is_readable(self.value).then_some(self.value)
    }
}

/// Returns the first value of each parameter that can be read, as it stands.
pub(crate) fn first<'a, const N: usize>(query: &'a str, names: [&str; N]) -> [Option<&'a str>; N] {
    let mut values = [None; N];
    for parameter in parameters(query) {
        for (name, value) in names.iter().zip(&mut values) {
            if value.is_none() && parameter.is(name) {
                *value = parameter.readable();
            }
        }
    }
    values
}

/// Decodes what can be read: `+` is a blank, `%` and two digits are a byte.
pub(crate) fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    decode_into(&mut bytes, text);
    bytes
}

/// Appends what [`decoded`] returns. It is never longer than the text.
pub(crate) fn decode_into(bytes: &mut Vec<u8>, text: &str) {
    if is_plain(text) {
        return bytes.extend_from_slice(text.as_bytes());
    }
    for (position, part) in text.split('+').enumerate() {
        if position > 0 {
            bytes.push(b' ');
        }
        bytes.extend(percent_decode_str(part));
    }
}

/// Tells whether the text stands for itself.
pub(crate) fn is_plain(text: &str) -> bool {
    !text.bytes().any(|byte| matches!(byte, b'%' | b'+'))
}

fn is_readable(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let is_hex = |digit: Option<u8>| digit.is_some_and(|digit| digit.is_ascii_hexdigit());
        if byte == b';' || byte == b'%' && !(is_hex(bytes.next()) && is_hex(bytes.next())) {
            return false;
        }
    }
    true
}

/// The parameters of a query string, decoded. They may hold a password, so they are not shown.
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
        for parameter in parameters(query).filter(|parameter| is_readable(parameter.name)) {
            let Ok(name) = String::from_utf8(decoded(parameter.name)) else {
                continue;
            };
            match parameter.readable() {
                Some(value) => {
                    found.parameters.push((name, Zeroizing::new(decoded(value))));
                }
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
                for asked in ["a", "b", "ä", "ab", "+", " ", "%", ";", ""] {
                    let is = is_readable(name) && decoded(name) == asked.as_bytes();
                    proptest::prop_assert_eq!(next.is(asked), is);
                }
                proptest::prop_assert_eq!(next.readable(), Some(value).filter(|v| is_readable(v)));
            }
            proptest::prop_assert!(found.next().is_none());
        }

        #[test]
        fn the_first_that_can_be_read_is_what_the_whole_query_says(
            query in "([up]|%70|%7|[+;])?=?([a-z]|%[0-9a-f]{2}|[&=+%;]){0,12}",
        ) {
            let names = ["u", "p", "+", " "];
            let whole = Query::parse(&query);
            for (name, found) in names.iter().zip(first(&query, names)) {
                proptest::prop_assert_eq!(found.map(decoded), whole.bytes(name).map(<[u8]>::to_vec));
            }
        }
    }
}
