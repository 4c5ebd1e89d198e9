//! Values for the names in a query that begin with `$`.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::duration::{format_duration, parse_duration};
use crate::regex;
use crate::token::Token;

/// Values for the names in a query that begin with `$`: the request parameter `params`, a JSON object.
///
/// A value is a string, a number, a boolean, or an object with one member that says what it is:
/// `{"identifier": "cpu"}` (or `ident`), `regex`, `string`, `float` (or `number`), `integer` (or
/// `int`), `duration`. A name of a database may be such a value, so that a query cannot be decided
/// without them.
#[derive(Clone, Debug, Default)]
pub struct Parameters(BTreeMap<String, Value>);

/// Why a text is no object of parameters.
#[derive(Debug, Error)]
#[error("`params` is not a JSON object of parameters")]
pub struct InvalidParameters(#[source] serde_json::Error);

/// What stands in a query in place of the name.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Value {
    /// [`Token::BoundParameter`] for a value that is refused where it is used; the text says why.
    pub(crate) token: Token,
    pub(crate) text: String,
}

/// Values may be secrets.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value").field("token", &self.token).finish_non_exhaustive()
    }
}

impl Parameters {
    /// No parameters.
    pub const NONE: &'static Self = &Self(BTreeMap::new());

    /// Reads them from JSON.
    ///
    /// # Errors
    ///
    /// [`InvalidParameters`] when the text is not one JSON object, or a name stands in it twice. A
    /// value of a form that is not accepted is an error of the query that uses it, as with InfluxDB.
    pub fn from_json(text: &str) -> Result<Self, InvalidParameters> {
        let members: Members<'_> = serde_json::from_str(text).map_err(InvalidParameters)?;
        let bind = |(name, value): (String, &RawValue)| (name, Value::of_json(value.get()));
        Ok(Self(members.0.into_iter().map(bind).collect()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}

impl Value {
    fn new(token: Token, text: impl Into<String>) -> Self {
        Self { token, text: text.into() }
    }

    fn error(why: impl Into<String>) -> Self {
        Self::new(Token::BoundParameter, why)
    }

    fn of_json(json: &str) -> Self {
        match json.as_bytes().first() {
            Some(b'{') => match serde_json::from_str::<Members<'_>>(json) {
                Ok(Members(members)) => match members.as_slice() {
                    [(kind, value)] => Self::of_kind(kind, value.get()),
                    _ => Self::error("bound object parameter value must have exactly one entry"),
                },
                Err(_) => Self::error("bound object parameter value must have exactly one entry"),
            },
            Some(b'"') => match serde_json::from_str::<String>(json) {
                Ok(text) => Self::new(Token::String, text),
                Err(_) => Self::error("unable to bind parameter"),
            },
            Some(b't') => Self::new(Token::True, ""),
            Some(b'f') => Self::new(Token::False, ""),
            Some(b'-' | b'0'..=b'9') => match Number::of_json(json) {
                Some(number) => number.literal(),
                None => Self::error("unable to bind parameter: number out of range"),
            },
            _ => Self::error("unable to bind parameter with this type"),
        }
    }

    fn of_kind(kind: &str, json: &str) -> Self {
        let string = || serde_json::from_str::<String>(json).ok();
        let number = || Number::of_json(json);
        match kind {
            "ident" | "identifier" => match string() {
                Some(text) => Self::new(Token::Ident, text),
                None => Self::error("identifier must be a string value"),
            },
            // Checked here once, and not wherever it is used.
            "regex" => match string() {
                Some(text) => match regex::check(&text) {
                    Ok(()) => Self::new(Token::Regex, text),
                    Err(why) => Self::error(format!("error parsing regexp: {why}")),
                },
                None => Self::error("regex literal must be a string value"),
            },
            "string" => match string() {
                Some(text) => Self::new(Token::String, text),
                None => Self::error("string literal must be a string value"),
            },
            "float" | "number" => match number() {
                Some(number) => Self::new(Token::Number, number.text()),
                None => Self::error("number literal must be a float value"),
            },
            "int" | "integer" => match number() {
                Some(Number::Integer(number)) => Self::new(Token::Integer, number.to_string()),
                _ => Self::error("integer literal must be an integer value"),
            },
            "duration" => match (string(), number()) {
                (Some(text), _) => match parse_duration(&text) {
                    Ok(nanoseconds) => Self::new(Token::Duration, format_duration(nanoseconds)),
                    Err(why) => Self::error(why),
                },
                (None, Some(Number::Integer(nanoseconds))) => {
                    Self::new(Token::Duration, format_duration(nanoseconds))
                }
                _ => Self::error("duration literal must be a string or integer value"),
            },
            _ => Self::error(format!("unknown bind object type: {kind}")),
        }
    }
}

/// A JSON number as InfluxDB tells them apart: one with a point is a float.
#[derive(Clone, Copy)]
enum Number {
    Float(f64),
    Integer(i64),
}

impl Number {
    fn of_json(json: &str) -> Option<Self> {
        match json.contains('.') {
            true => json.parse().ok().filter(|float: &f64| float.is_finite()).map(Self::Float),
            false => json.parse().ok().map(Self::Integer),
        }
    }

    fn text(self) -> String {
        match self {
            Self::Float(number) => number.to_string(),
            Self::Integer(number) => number.to_string(),
        }
    }

    fn literal(self) -> Value {
        match self {
            Self::Float(_) => Value::new(Token::Number, self.text()),
            Self::Integer(_) => Value::new(Token::Integer, self.text()),
        }
    }
}

/// The members of a JSON object, none of which has a name twice.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: BTreeMap<String, &'de RawValue> = BTreeMap::new();
                while let Some((name, value)) = map.next_entry()? {
                    if members.insert(name, value).is_some() {
                        return Err(serde::de::Error::custom("a name is given twice in an object"));
                    }
                }
                Ok(Members(members.into_iter().collect()))
            }
        }

        deserializer.deserialize_map(Object)
    }
}
