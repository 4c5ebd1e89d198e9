//! The parameters of a request: decoded, decided, and encoded again for the upstream.

use std::borrow::Cow;

use percent_encoding::percent_decode;
use portcullis_http::V1Request;
use thiserror::Error;

use crate::route::Route;

/// The parameters with which VictoriaMetrics changes labels, `db` among them.
const RELABELING: [&str; 3] = ["extra_label", "extra_filters", "extra_filters[]"];

/// Parameters that may be given once although they are not passed on, or once altogether.
const CREDENTIALS: [&str; 2] = ["u", "p"];

/// Why parameters are refused. The text is for the client.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum InvalidParameters {
    #[error("`{0}` is given twice")]
    Twice(&'static str),
    #[error("`{0}` has one value in the URL and another one in the body")]
    Differs(&'static str),
    #[error("a parameter holds a `;`, which must be encoded as %3B")]
    Semicolon,
    #[error("a parameter is not encoded for a URL, or is not UTF-8")]
    Encoding,
    #[error("`extra_label` and `extra_filters` are not for clients to set")]
    Relabeling,
}

/// The parameters of a route that are passed on: none twice, and none that is empty.
#[derive(Clone, Default)]
pub(crate) struct Parameters<'a> {
    pairs: Vec<(&'static str, Cow<'a, str>)>,
    has_credentials: bool,
}

impl<'a> Parameters<'a> {
    /// Parses the part of a URL after the `?`, or a form.
    ///
    /// # Errors
    ///
    /// Where two programs could read it in two ways.
    pub(crate) fn parse(route: Route, text: &'a str) -> Result<Self, InvalidParameters> {
        let mut collector = Collector::new(route);
        if text.contains(';') {
            return Err(InvalidParameters::Semicolon);
        }
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            collector.add(&decode(name)?, decode(value)?)?;
        }
        Ok(collector.parameters)
    }

    /// Takes decoded parameters.
    ///
    /// # Errors
    ///
    /// As [`Parameters::parse`].
    pub(crate) fn from_fields(
        route: Route,
        fields: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, InvalidParameters> {
        let mut collector = Collector::new(route);
        for (name, value) in fields {
            collector.add(&name, value.into())?;
        }
        Ok(collector.parameters)
    }

    /// Adds the parameters of the body to those of the URL.
    ///
    /// # Errors
    ///
    /// InfluxDB takes those of the body first, other programs those of the URL: a parameter that is in
    /// both is refused, unless its value is the same and it is neither `q` nor `db`.
    pub(crate) fn merge<'b>(self, body: Parameters<'b>) -> Result<Parameters<'b>, InvalidParameters>
    where
        'a: 'b,
    {
        let mut merged = body;
        for (name, value) in self.pairs {
            match merged.get(name) {
                None => merged.pairs.push((name, value)),
                Some(_) if matches!(name, "q" | "db") => {
                    return Err(InvalidParameters::Twice(name));
                }
                Some(other) if other != value => return Err(InvalidParameters::Differs(name)),
                Some(_) => {}
            }
        }
        Ok(merged)
    }

    /// Returns whether a username or a password was among them. They are not passed on.
    pub(crate) const fn has_credentials(&self) -> bool {
        self.has_credentials
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(own, _)| *own == name).map(|(_, value)| &**value)
    }

    /// Returns what is to be decided.
    pub(crate) fn request(&self, route: Route) -> V1Request<'_> {
        V1Request {
            path: route.path(),
            db: self.get("db"),
            rp: self.get("rp"),
            bucket: self.get("bucket"),
            q: self.get("q"),
            params: self.get("params"),
        }
    }

    /// Appends them in the form of a URL's query.
    pub(crate) fn encode_into(&self, text: &mut String) {
        for (name, value) in &self.pairs {
            if !text.is_empty() && !text.ends_with('?') {
                text.push('&');
            }
            text.push_str(name);
            text.push('=');
            text.extend(form_urlencoded::byte_serialize(value.as_bytes()));
        }
    }
}

/// Collects parameters, and refuses those that are given twice.
struct Collector<'a> {
    allowed: &'static [&'static str],
    parameters: Parameters<'a>,
    /// What is given, also those parameters that are empty or not passed on.
    given: Vec<&'static str>,
}

impl<'a> Collector<'a> {
    fn new(route: Route) -> Self {
        Self { allowed: route.parameters(), parameters: Parameters::default(), given: Vec::new() }
    }

    fn add(&mut self, name: &str, value: Cow<'a, str>) -> Result<(), InvalidParameters> {
        if RELABELING.contains(&name) {
            return Err(InvalidParameters::Relabeling);
        }
        let of = |names: &'static [&'static str]| names.iter().find(|own| **own == name).copied();
        let allowed = of(self.allowed);
        let Some(name) = allowed.or_else(|| of(&CREDENTIALS)) else { return Ok(()) };
        if self.given.contains(&name) {
            return Err(InvalidParameters::Twice(name));
        }
        self.given.push(name);
        self.parameters.has_credentials |= allowed.is_none();
        if allowed.is_some() && !value.is_empty() {
            self.parameters.pairs.push((name, value));
        }
        Ok(())
    }
}

/// Decodes `+`, and `%` with two hexadecimal digits.
fn decode(text: &str) -> Result<Cow<'_, str>, InvalidParameters> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Ok(Cow::Borrowed(text));
    }
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let is_hex = |digit: Option<u8>| digit.is_some_and(|digit| digit.is_ascii_hexdigit());
        if byte == b'%' && !(is_hex(bytes.next()) && is_hex(bytes.next())) {
            return Err(InvalidParameters::Encoding);
        }
    }
    let blanks = text.replace('+', " ");
    let decoded = percent_decode(blanks.as_bytes()).collect::<Vec<u8>>();
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| InvalidParameters::Encoding)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Vec<(&'static str, String)>, InvalidParameters> {
        let parameters = Parameters::parse(Route::Query, text)?;
        Ok(parameters.pairs.into_iter().map(|(name, value)| (name, value.into_owned())).collect())
    }

    /// [GATE-3]
    #[test]
    fn parameters_are_decoded_once_and_those_that_the_route_does_not_have_are_dropped() {
        let expected = vec![("q", "SELECT 1 + 2; x".to_owned()), ("db", "%64b".to_owned())];
        let text = "q=SELECT+1%20%2b+2%3B+x&%64b=%2564b&u=ada&p=s3cret&x=1&node_id=7&rp=&epoch";
        assert_eq!(parse(text).unwrap(), expected);
        assert_eq!(parse("&&=x&DB=x&d%62%00=x").unwrap(), []);
    }

    /// [GATE-5]
    #[test]
    fn a_parameter_that_two_programs_could_read_differently_is_refused() {
        for (text, expected) in [
            ("db=a&db=a", InvalidParameters::Twice("db")),
            ("db=&%64b=a", InvalidParameters::Twice("db")),
            ("q=a&q", InvalidParameters::Twice("q")),
            ("epoch=ms&epoch=s", InvalidParameters::Twice("epoch")),
            ("u=a&u=b", InvalidParameters::Twice("u")),
            ("%70=a&p=a", InvalidParameters::Twice("p")),
            ("q=a;db=b", InvalidParameters::Semicolon),
            ("x=1;y", InvalidParameters::Semicolon),
            ("db=%zz", InvalidParameters::Encoding),
            ("db=%4", InvalidParameters::Encoding),
            ("%4=x", InvalidParameters::Encoding),
            ("db=%ff", InvalidParameters::Encoding),
            ("extra_label=db=other", InvalidParameters::Relabeling),
            ("extra%5flabel=db", InvalidParameters::Relabeling),
            ("extra_filters%5B%5D=x", InvalidParameters::Relabeling),
        ] {
            assert_eq!(parse(text), Err(expected), "{text}");
        }
    }

    /// [GATE-5]
    #[test]
    fn url_and_body_may_not_differ_and_neither_q_nor_db_may_be_in_both() {
        let merge = |url, body| {
            let url = Parameters::parse(Route::Query, url).unwrap();
            let body = Parameters::parse(Route::Query, body).unwrap();
            url.merge(body).map(|merged| {
                let mut text = String::new();
                merged.encode_into(&mut text);
                text
            })
        };
        assert_eq!(merge("db=a&epoch=ms", "q=b+c"), Ok("q=b+c&db=a&epoch=ms".to_owned()));
        assert_eq!(merge("epoch=ms", "epoch=ms"), Ok("epoch=ms".to_owned()));
        assert_eq!(merge("epoch=ms", "epoch=s"), Err(InvalidParameters::Differs("epoch")));
        assert_eq!(merge("rp=a", "rp=b"), Err(InvalidParameters::Differs("rp")));
        assert_eq!(merge("db=a", "db=a"), Err(InvalidParameters::Twice("db")));
        assert_eq!(merge("q=a", "q=a"), Err(InvalidParameters::Twice("q")));
    }

    proptest! {
        /// [GATE-3]
        #[test]
        fn what_is_decided_is_what_the_upstream_decodes(q in "\\PC{0,20}", db in "[ -~]{0,10}") {
            let text: String = form_urlencoded::Serializer::new(String::new())
                .append_pair("q", &q)
                .append_pair("db", &db)
                .append_pair("other", &q)
                .finish();
            let parameters = Parameters::parse(Route::Query, &text).unwrap();
            let mut encoded = String::new();
            parameters.encode_into(&mut encoded);
            let read: Vec<_> = form_urlencoded::parse(encoded.as_bytes()).into_owned().collect();
            let given = [("q".to_owned(), q), ("db".to_owned(), db)];
            let given: Vec<_> = given.into_iter().filter(|(_, value)| !value.is_empty()).collect();
            prop_assert_eq!(&read, &given);
            for (name, value) in &given {
                prop_assert_eq!(parameters.get(name), Some(value.as_str()));
            }
        }

        #[test]
        fn whatever_is_parsed_has_no_name_twice(text in "((q|db|rp|%64b|x)=?[a-b%+;]{0,3}&?){0,6}") {
            if let Ok(parameters) = Parameters::parse(Route::Query, &text) {
                let mut encoded = String::new();
                parameters.encode_into(&mut encoded);
                let again = Parameters::parse(Route::Query, &encoded).unwrap();
                prop_assert_eq!(again.pairs, parameters.pairs);
            }
        }
    }
}
