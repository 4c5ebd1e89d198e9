//! Request bodies: bounded, and read member by member.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::header;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use portcullis::ParseIdError;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::callers::Caller;
use crate::envelope::Envelope;

/// The largest request body in bytes.
pub(crate) const MAX_BODY_BYTES: usize = 1024 * 1024;

/// How long a request body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The whole body of a request, unless it is too large.
pub(crate) struct LimitedBody(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for LimitedBody {
    type Rejection = Envelope;

    async fn from_request(request: Request, _: &S) -> Result<Self, Envelope> {
        // A caller that may do nothing holds no connection and no memory with a body.
        if let Some(caller) = request.extensions().get::<Caller>() {
            caller.require_active()?;
        }
        let announced = request.headers().get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
            return Err(Envelope::too_large(MAX_BODY_BYTES));
        }
        let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect();
        let Ok(body) = tokio::time::timeout(BODY_TIMEOUT, body).await else {
            return Err(Envelope::too_slow(BODY_TIMEOUT));
        };
        match body {
            Ok(body) => Ok(Self(body.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(Envelope::too_large(MAX_BODY_BYTES))
            }
            Err(_) => Err(Envelope::invalid("the request body could not be read")),
        }
    }
}

/// Every member that an operation reads. Others are checked and not kept, so that a body takes
/// little more memory than it has bytes.
const NAMES: [&str; 12] = [
    "action",
    "description",
    "id",
    "orgID",
    "password",
    "permissions",
    "resource",
    "status",
    "token",
    "type",
    "userID",
    "org",
];

/// A JSON value in which no object has a member twice.
///
/// Two parsers may take different ones of two equal members: an authorization server must not be
/// one of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool,
    Number,
    String(Box<str>),
    Array(Box<[Self]>),
    Object(Members),
}

/// The members of an object that have one of [`NAMES`].
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Members(Box<[(&'static str, Json)]>);

/// Says what is wrong with a body. Never quotes a value: it may be a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InvalidJson(String);

impl fmt::Display for InvalidJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl InvalidJson {
    /// The answer as most operations give it.
    pub(crate) fn into_envelope(self) -> Envelope {
        Envelope::invalid(format!("invalid json structure: {self}"))
    }
}

impl Members {
    /// Reads a body that must be an object; `null` is an object without members.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, InvalidJson> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(InvalidJson("EOF".to_owned()));
        }
        let json: Json = serde_json::from_slice(body).map_err(|error| describe(&error))?;
        json.into_members("the request body")
    }

    /// Takes a member out; missing is `null`.
    fn take(&mut self, name: &str) -> Json {
        let member = self.0.iter_mut().find(|(known, _)| *known == name);
        member.map_or(Json::Null, |(_, value)| std::mem::replace(value, Json::Null))
    }

    /// Takes a string out; missing and `null` are `None`.
    pub(crate) fn string(&mut self, name: &str) -> Result<Option<String>, InvalidJson> {
        match self.take(name) {
            Json::Null => Ok(None),
            Json::String(text) => Ok(Some(text.into())),
            _ => Err(InvalidJson(format!("`{name}` must be a string"))),
        }
    }

    /// Takes an id out; missing and `null` are `None`.
    pub(crate) fn id<T>(&mut self, name: &str) -> Result<Option<T>, InvalidJson>
    where
        T: std::str::FromStr<Err = ParseIdError>,
    {
        let text = self.string(name)?;
        text.map(|text| text.parse().map_err(|error: ParseIdError| InvalidJson(error.to_string())))
            .transpose()
    }

    /// Takes an array of objects out; missing and `null` are empty, also as an element.
    pub(crate) fn objects(&mut self, name: &str) -> Result<Vec<Self>, InvalidJson> {
        match self.take(name) {
            Json::Null => Ok(Vec::new()),
            Json::Array(elements) => elements
                .into_iter()
                .map(|element| element.into_members(&format!("each of `{name}`")))
                .collect(),
            _ => Err(InvalidJson(format!("`{name}` must be an array"))),
        }
    }

    /// Takes an object out; missing and `null` are one without members.
    pub(crate) fn object(&mut self, name: &str) -> Result<Self, InvalidJson> {
        self.take(name).into_members(&format!("`{name}`"))
    }
}

impl Json {
    fn into_members(self, what: &str) -> Result<Members, InvalidJson> {
        match self {
            Self::Object(members) => Ok(members),
            Self::Null => Ok(Members::default()),
            _ => Err(InvalidJson(format!("{what} must be an object"))),
        }
    }
}

/// Says where the syntax is wrong. serde_json's own messages quote no values for the type above.
fn describe(error: &serde_json::Error) -> InvalidJson {
    if error.is_eof() {
        return InvalidJson("unexpected EOF".to_owned());
    }
    InvalidJson(error.to_string())
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Bool)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Number)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Json, E> {
        Ok(Json::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Number)
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::String(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Json, A::Error> {
        let mut array = Vec::new();
        while let Some(element) = elements.next_element()? {
            array.push(element);
        }
        Ok(Json::Array(array.into_boxed_slice()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut names = Names::default();
        let mut members = Vec::new();
        while let Some(name) = entries.next_key::<Cow<'de, str>>()? {
            match NAMES.iter().find(|known| **known == name) {
                Some(known) => members.push((*known, entries.next_value()?)),
                None => entries.next_value::<Checked>().map(drop)?,
            }
            names.add(name)?;
        }
        Ok(Json::Object(Members(members.into_boxed_slice())))
    }
}

/// The names of an object, for as long as it is read.
#[derive(Default)]
struct Names<'de>(BTreeSet<Cow<'de, str>>);

impl<'de> Names<'de> {
    fn add<E: serde::de::Error>(&mut self, name: Cow<'de, str>) -> Result<(), E> {
        let is_new = self.0.insert(name);
        is_new.then_some(()).ok_or_else(|| E::custom("a member stands twice in an object"))
    }
}

/// A value that is not read: it is checked like the others, and nothing of it is kept.
struct Checked;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CheckedVisitor)
    }
}

struct CheckedVisitor;

impl<'de> Visitor<'de> for CheckedVisitor {
    type Value = Checked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_str<E>(self, _: &str) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Checked, A::Error> {
        while elements.next_element::<Checked>()?.is_some() {}
        Ok(Checked)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Checked, A::Error> {
        let mut names = Names::default();
        while let Some(name) = entries.next_key::<Cow<'de, str>>()? {
            entries.next_value::<Checked>()?;
            names.add(name)?;
        }
        Ok(Checked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(body: &str) -> String {
        Members::parse(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_body_is_an_object_or_null() {
        assert!(Members::parse(b"{}").is_ok());
        assert!(Members::parse(b" null\n").is_ok());
        for body in ["[]", "\"x\"", "5", "true"] {
            assert_eq!(error(body), "the request body must be an object", "{body}");
        }
    }

    #[test]
    fn broken_syntax_data_after_the_value_and_duplicates_are_refused() {
        assert_eq!(error(""), "EOF");
        assert_eq!(error(" \n"), "EOF");
        assert_eq!(error("{\"a\":"), "unexpected EOF");
        for body in ["{} {}", "{}x", "{\"a\":1,}", "hello", "{\"a\":\"\\ud800\"}", "{'a':1}"] {
            assert!(Members::parse(body.as_bytes()).is_err(), "{body}");
        }
        for body in
            ["{\"a\":1,\"a\":1}", "{\"x\":[{\"a\":1,\"b\":2,\"a\":3}]}", "{\"a\":1,\"\\u0061\":2}"]
        {
            assert!(error(body).starts_with("a member stands twice"), "{body}");
        }
        assert!(Members::parse(b"\xff").is_err());
        assert!(Members::parse("[".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn members_have_types_and_exact_names() {
        let mut members =
            Members::parse(br#"{"token":5,"Token":"x","orgID":"12","userID":null,"resource":{},"permissions":[1]}"#)
                .unwrap();
        assert_eq!(members.string("token").unwrap_err().to_string(), "`token` must be a string");
        assert_eq!(
            members.id::<portcullis::OrgId>("orgID").unwrap_err().to_string(),
            "id must have a length of 16 bytes"
        );
        assert_eq!(members.id::<portcullis::UserId>("userID"), Ok(None));
        assert_eq!(
            members.objects("resource").unwrap_err().to_string(),
            "`resource` must be an array"
        );
        assert_eq!(
            members.objects("permissions").unwrap_err().to_string(),
            "each of `permissions` must be an object"
        );
        assert_eq!(members.string("missing"), Ok(None));
    }

    #[test]
    fn errors_quote_no_values() {
        for body in [r#"{"password":["s3cret-value"]}"#, r#"{"password":"s3cret-value"x"#] {
            let text = match Members::parse(body.as_bytes()) {
                Ok(mut members) => members.string("password").unwrap_err().to_string(),
                Err(error) => error.to_string(),
            };
            assert!(!text.contains("s3cret"), "{text}");
        }
    }
}
