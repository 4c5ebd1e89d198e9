//! Request bodies: bounded in size and time, and parsed member by member.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::header;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use portcullis::ParseIdError;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::extract::caller::Caller;
use crate::respond::ErrorBody;

/// The largest request body in bytes.
pub(crate) const MAX_BODY_BYTES: usize = 1024 * 1024;

/// How long a request body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The whole body of a request, unless it is too large.
pub(crate) struct LimitedBody(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for LimitedBody {
    type Rejection = ErrorBody;

    async fn from_request(request: Request, _: &S) -> Result<Self, ErrorBody> {
        // The body of an inactive caller is not read: it would hold memory and a connection.
        if let Some(caller) = request.extensions().get::<Caller>() {
            caller.require_active()?;
        }
        let announced = request.headers().get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
            return Err(ErrorBody::too_large(MAX_BODY_BYTES));
        }
        let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect();
        let Ok(body) = tokio::time::timeout(BODY_TIMEOUT, body).await else {
            return Err(ErrorBody::too_slow(BODY_TIMEOUT));
        };
        match body {
            Ok(body) => Ok(Self(body.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(ErrorBody::too_large(MAX_BODY_BYTES))
            }
            Err(_) => Err(ErrorBody::invalid("the request body could not be read")),
        }
    }
}

/// A JSON value, as far as the API uses it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(f64),
    String(String),
    Array(Vec<Self>),
    Object(Members),
}

/// Those members of an object that the API defines for its place in the body.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Members(Vec<(&'static str, Json)>);

/// The most elements of an array. More permissions do not fit into a body.
pub(crate) const MAX_ELEMENTS: usize = 32_768;

/// The place of a value in a body, which determines what of the value is kept.
///
/// A member that is given twice is refused, whether it is kept or not: of two equal members, two
/// parsers may use different ones.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Body,
    Permissions,
    Permission,
    Resource,
    RetentionRules,
    RetentionRule,
    /// An array of strings.
    Strings,
    /// A string, a number or a truth value. Of an object or array here, only the type is kept.
    Plain,
    /// Nothing of it is kept.
    Unknown,
}

impl Place {
    /// Returns the name of a member that is kept of an object at this place, and the place of its
    /// value.
    fn member(self, name: &str) -> Option<(&'static str, Self)> {
        const BODY: [&str; 18] = [
            "name",
            "username",
            "bucket",
            "token",
            "org",
            "orgID",
            "userID",
            "status",
            "description",
            "password",
            "database",
            "retention_policy",
            "bucketID",
            "default",
            "expiresAt",
            "passwordExpiresAt",
            "keepPrevious",
            "endPreviousOnUse",
        ];
        const RESOURCE: [&str; 3] = ["type", "id", "orgID"];
        const RETENTION_RULE: [&str; 2] = ["everySeconds", "shardGroupDurationSeconds"];
        let plain = |names: &[&'static str]| {
            names.iter().find(|kept| **kept == name).map(|kept| (*kept, Self::Plain))
        };
        match (self, name) {
            (Self::Body, "permissions") => Some(("permissions", Self::Permissions)),
            (Self::Body, "retentionRules") => Some(("retentionRules", Self::RetentionRules)),
            (Self::Body, "allowedNetworks") => Some(("allowedNetworks", Self::Strings)),
            (Self::Body, _) => plain(&BODY),
            (Self::Permission, "resource") => Some(("resource", Self::Resource)),
            (Self::Permission, _) => plain(&["action"]),
            (Self::Resource, _) => plain(&RESOURCE),
            (Self::RetentionRule, _) => plain(&RETENTION_RULE),
            (Self::Permissions | Self::RetentionRules | Self::Strings, _)
            | (Self::Plain | Self::Unknown, _) => None,
        }
    }

    /// Returns the place of the elements of an array at this place, if they are kept.
    fn element(self) -> Option<Self> {
        match self {
            Self::Permissions => Some(Self::Permission),
            Self::RetentionRules => Some(Self::RetentionRule),
            Self::Strings => Some(Self::Plain),
            Self::Body
            | Self::Permission
            | Self::Resource
            | Self::RetentionRule
            | Self::Plain
            | Self::Unknown => None,
        }
    }
}

/// What is wrong with a body. It never quotes a value, which may be a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InvalidJson(String);

impl fmt::Display for InvalidJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl InvalidJson {
    /// Returns the response of most operations.
    pub(crate) fn into_error_body(self) -> ErrorBody {
        ErrorBody::invalid(format!("invalid json structure: {self}"))
    }
}

impl Members {
    /// Parses a body that must be an object; `null` is an object without members.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, InvalidJson> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(InvalidJson("EOF".to_owned()));
        }
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let json = Place::Body.deserialize(&mut deserializer);
        let json = json.and_then(|json| deserializer.end().map(|()| json));
        json.map_err(|error| describe(&error))?.into_members("the request body")
    }

    fn take(&mut self, name: &str) -> Option<Json> {
        let position = self.0.iter().position(|(member, _)| *member == name)?;
        Some(self.0.swap_remove(position).1)
    }

    /// Takes a string out; missing and `null` are `None`.
    pub(crate) fn string(&mut self, name: &str) -> Result<Option<String>, InvalidJson> {
        match self.take(name) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(_) => Err(InvalidJson(format!("`{name}` must be a string"))),
        }
    }

    /// Takes a string out: `None` if it is missing, `Some(None)` for `null`.
    pub(crate) fn nullable_string(
        &mut self,
        name: &str,
    ) -> Result<Option<Option<String>>, InvalidJson> {
        let is_given = self.0.iter().any(|(member, _)| *member == name);
        let text = self.string(name)?;
        Ok(is_given.then_some(text))
    }

    /// Takes an array of strings out: `None` if it is missing; `null` is an empty one.
    pub(crate) fn strings(&mut self, name: &str) -> Result<Option<Vec<String>>, InvalidJson> {
        let string = |element| match element {
            Json::String(text) => Ok(text),
            _ => Err(InvalidJson(format!("each of `{name}` must be a string"))),
        };
        match self.take(name) {
            None => Ok(None),
            Some(Json::Null) => Ok(Some(Vec::new())),
            Some(Json::Array(elements)) => {
                elements.into_iter().map(string).collect::<Result<_, _>>().map(Some)
            }
            Some(_) => Err(InvalidJson(format!("`{name}` must be an array"))),
        }
    }

    /// Takes a truth value out; missing and `null` are `None`.
    pub(crate) fn bool(&mut self, name: &str) -> Result<Option<bool>, InvalidJson> {
        match self.take(name) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::Bool(value)) => Ok(Some(value)),
            Some(_) => Err(InvalidJson(format!("`{name}` must be true or false"))),
        }
    }

    /// Takes a number out; missing and `null` are `None`.
    pub(crate) fn number(&mut self, name: &str) -> Result<Option<f64>, InvalidJson> {
        match self.take(name) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::Number(number)) => Ok(Some(number)),
            Some(_) => Err(InvalidJson(format!("`{name}` must be a number"))),
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
            None | Some(Json::Null) => Ok(Vec::new()),
            Some(Json::Array(elements)) => elements
                .into_iter()
                .map(|element| element.into_members(&format!("each of `{name}`")))
                .collect(),
            Some(_) => Err(InvalidJson(format!("`{name}` must be an array"))),
        }
    }

    /// Takes an object out; missing and `null` are one without members.
    pub(crate) fn object(&mut self, name: &str) -> Result<Self, InvalidJson> {
        let value = self.take(name).unwrap_or(Json::Null);
        value.into_members(&format!("`{name}`"))
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

/// Describes a syntax error. serde_json's own messages quote no values for [`Json`].
fn describe(error: &serde_json::Error) -> InvalidJson {
    if error.is_eof() {
        return InvalidJson("unexpected EOF".to_owned());
    }
    InvalidJson(error.to_string())
}

impl<'de> DeserializeSeed<'de> for Place {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Number(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        Ok(Json::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        let is_kept = self == Self::Plain;
        Ok(Json::String(if is_kept { text.to_owned() } else { String::new() }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Json, A::Error> {
        let mut array = Vec::new();
        if let Some(place) = self.element() {
            while let Some(element) = elements.next_element_seed(place)? {
                if array.len() == MAX_ELEMENTS {
                    return Err(serde::de::Error::custom(format_args!(
                        "an array has more than {MAX_ELEMENTS} elements"
                    )));
                }
                array.push(element);
            }
        }
        while elements.next_element_seed(Self::Unknown)?.is_some() {}
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut members = Vec::new();
        let mut names: Vec<Cow<'de, str>> = Vec::new();
        while let Some(name) = entries.next_key_seed(MemberName)? {
            match self.member(&name) {
                Some((kept, place)) => members.push((kept, entries.next_value_seed(place)?)),
                None => drop(entries.next_value_seed(Self::Unknown)?),
            }
            names.push(name);
        }
        names.sort_unstable();
        if names.is_sorted_by(|one, next| one < next) {
            members.shrink_to_fit();
            return Ok(Json::Object(Members(members)));
        }
        Err(serde::de::Error::custom("a member is given twice in an object"))
    }
}

/// Reads the name of a member, borrowed from the body if it has no escapes.
struct MemberName;

impl<'de> DeserializeSeed<'de> for MemberName {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for MemberName {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(body: &str) -> String {
        Members::parse(body.as_bytes()).unwrap_err().to_string()
    }

    /// [HTTP-9]
    #[test]
    fn a_body_is_an_object_or_null() {
        assert!(Members::parse(b"{}").is_ok());
        assert!(Members::parse(b" null\n").is_ok());
        for body in ["[]", "\"x\"", "5", "true"] {
            assert_eq!(error(body), "the request body must be an object", "{body}");
        }
    }

    /// [HTTP-11]
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
            assert!(error(body).starts_with("a member is given twice"), "{body}");
        }
        assert!(Members::parse(b"\xff").is_err());
        assert!(Members::parse("[".repeat(100_000).as_bytes()).is_err());
    }

    /// [ID-4] [HTTP-10]
    #[test]
    fn members_have_types_and_exact_names() {
        let body = br#"{"token":5,"Token":"x","orgID":"12","userID":null,"permissions":{}}"#;
        let mut members = Members::parse(body).unwrap();
        assert_eq!(members.string("token").unwrap_err().to_string(), "`token` must be a string");
        assert_eq!(
            members.id::<portcullis::OrgId>("orgID").unwrap_err().to_string(),
            "id must have a length of 16 bytes"
        );
        assert_eq!(members.id::<portcullis::UserId>("userID"), Ok(None));
        assert_eq!(
            members.objects("permissions").unwrap_err().to_string(),
            "`permissions` must be an array"
        );
        assert_eq!(members.string("status"), Ok(None));
        for element in ["1", "\"x\"", "[]", "[{}]"] {
            let body = format!("{{\"permissions\":[{{}},{element}]}}");
            assert_eq!(
                Members::parse(body.as_bytes())
                    .unwrap()
                    .objects("permissions")
                    .unwrap_err()
                    .to_string(),
                "each of `permissions` must be an object"
            );
        }
        for token in ["{}", "[]", "true", "[{\"token\":\"x\"}]"] {
            let body = format!("{{\"token\":{token}}}");
            assert!(Members::parse(body.as_bytes()).unwrap().string("token").is_err(), "{token}");
        }
    }

    /// [HTTP-12]
    #[test]
    fn an_array_without_end_is_refused() {
        let body = format!("{{\"permissions\":[{}{{}}]}}", "{},".repeat(MAX_ELEMENTS));
        assert!(error(&body).starts_with("an array has more than 32768 elements"));
    }

    /// [HTTP-13]
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
