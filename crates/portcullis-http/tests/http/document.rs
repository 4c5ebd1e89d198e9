//! Holds responses to docs/openapi.json: what a client may rely on, and what it may have to expect.

use std::sync::LazyLock;

use http::HeaderMap;
use regex::Regex;
use serde_json::Value;

/// The document in docs, which `openapi::tests` compares with the one that a server sends.
pub(crate) static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let in_tests = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    let text = std::fs::read(path).or_else(|_| std::fs::read(in_tests)).unwrap();
    serde_json::from_slice(&text).unwrap()
});

/// Headers of the transport, which no operation lists.
const TRANSPORT: [&str; 4] = ["content-encoding", "content-length", "content-type", "vary"];

/// A response, and the request that it is for.
pub(crate) struct Exchange<'a> {
    pub(crate) method: &'a str,
    /// Without the query.
    pub(crate) path: &'a str,
    pub(crate) status: u16,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a str,
}

impl Exchange<'_> {
    /// Checks that the document lists the response. One to a request that is no operation is not checked.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Some(operation) = self.operation() else { return Ok(()) };
        let Self { method, path, status, body, .. } = self;
        let id = &operation["operationId"];
        let inside = |error| format!("{id}, {method} {path}, {status}: {error}\n{body}");
        let response = operation["responses"].get(status.to_string());
        let response =
            response.ok_or_else(|| inside("no such status in docs/openapi.json".to_owned()))?;
        let response = resolve(response);
        self.check_headers(response).and_then(|()| self.check_body(response)).map_err(inside)
    }

    fn operation(&self) -> Option<&'static Value> {
        let path = self.path.strip_prefix("/private").filter(|rest| rest.starts_with("/legacy/"));
        let path = path.unwrap_or(self.path);
        let path = path.strip_suffix('/').unwrap_or(path);
        let is_like = |template: &str| {
            let (mut parts, mut expected) = (path.split('/'), template.split('/'));
            parts.by_ref().zip(expected.by_ref()).all(|(part, expected)| {
                match expected.starts_with('{') {
                    true => !part.is_empty(),
                    false => part == expected,
                }
            }) && path.split('/').count() == template.split('/').count()
        };
        let paths = DOCUMENT["paths"].as_object().unwrap();
        let (template, item) = paths.iter().find(|(template, _)| is_like(template))?;
        match (self.method, template.as_str()) {
            ("HEAD", _) | (_, "/forward-auth") => item.get("get"),
            (method, _) => item.get(method.to_ascii_lowercase()),
        }
    }

    fn check_headers(&self, response: &Value) -> Result<(), String> {
        let listed = response["headers"].as_object();
        for (name, header) in listed.into_iter().flatten() {
            if header["required"] == true && !self.headers.contains_key(name) {
                return Err(format!("{name} is missing"));
            }
        }
        for name in self.headers.keys().filter(|name| !TRANSPORT.contains(&name.as_str())) {
            let mut names = listed.into_iter().flat_map(|headers| headers.keys());
            if !names.any(|listed| listed.eq_ignore_ascii_case(name.as_str())) {
                return Err(format!("{name} is not listed"));
            }
        }
        Ok(())
    }

    fn check_body(&self, response: &'static Value) -> Result<(), String> {
        if self.method == "HEAD" || self.headers.contains_key("content-encoding") {
            return Ok(());
        }
        let Some(media) = response.pointer("/content/application~1json") else {
            return match (self.body, self.headers.get("content-type")) {
                ("", None) => Ok(()),
                _ => Err("no body is listed".to_owned()),
            };
        };
        let json = "application/json; charset=utf-8";
        if self.headers.get("content-type").is_none_or(|found| found != json) {
            return Err("it is not JSON".to_owned());
        }
        let body: Value = serde_json::from_str(self.body).map_err(|error| error.to_string())?;
        fits(&media["schema"], &body, "")
    }
}

fn resolve(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        Some(reference) => DOCUMENT.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
        None => value,
    }
}

fn is_type(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => panic!("unknown type {name}"),
    }
}

/// Checks a value against a schema, with those keywords that the document uses. An object may have no member that the
/// schema does not list.
fn fits(schema: &'static Value, value: &Value, place: &str) -> Result<(), String> {
    let schema = resolve(schema);
    let error = |what: &str| Err(format!("{place}: {value} {what}"));
    let types = match &schema["type"] {
        Value::Array(types) => types.iter().collect(),
        one => vec![one],
    };
    if !types.iter().any(|name| is_type(value, name.as_str().unwrap())) {
        return error(&format!("is no {}", schema["type"]));
    }
    match value {
        Value::String(text) => {
            // `regex` has no lookahead, with which the document excludes the id of zeros.
            let pattern = schema["pattern"].as_str().map(|text| text.replace("(?!0{16}$)", ""));
            if pattern.is_some_and(|pattern| !Regex::new(&pattern).unwrap().is_match(text)) {
                return error("does not match the pattern");
            }
            let variants = schema["enum"].as_array();
            if variants.is_some_and(|variants| !variants.contains(value)) {
                return error("is not listed");
            }
        }
        Value::Array(elements) => {
            let max = schema["maxItems"].as_u64();
            if max.is_some_and(|max| elements.len() as u64 > max) {
                return error("is too long");
            }
            for (number, element) in elements.iter().enumerate() {
                fits(&schema["items"], element, &format!("{place}/{number}"))?;
            }
        }
        Value::Object(members) => {
            let Some(properties) = schema["properties"].as_object() else { return Ok(()) };
            for name in schema["required"].as_array().into_iter().flatten() {
                let name = name.as_str().unwrap();
                if !members.contains_key(name) {
                    return error(&format!("has no {name}"));
                }
            }
            for (name, value) in members {
                let Some(member) = properties.get(name) else {
                    return error(&format!("has a member {name}, which is not listed"));
                };
                fits(member, value, &format!("{place}/{name}"))?;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Ok(())
}
