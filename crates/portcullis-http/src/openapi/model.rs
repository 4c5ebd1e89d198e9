//! The parts of an OpenAPI 3.1 document that this API uses. Members keep their order when they are written.

use std::fmt::Display;

use serde::{Serialize, Serializer};
use serde_json::Value;

/// The document.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Document {
    pub(super) openapi: &'static str,
    pub(super) info: Info,
    pub(super) servers: Vec<Server>,
    pub(super) tags: Vec<Tag>,
    pub(super) paths: Map<PathItem>,
    pub(super) components: Components,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Info {
    pub(super) title: &'static str,
    pub(super) version: &'static str,
    pub(super) summary: &'static str,
    pub(super) description: String,
    pub(super) license: License,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct License {
    pub(super) name: &'static str,
    pub(super) identifier: &'static str,
}

/// What paths are relative to.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Server {
    pub(super) url: &'static str,
    pub(super) description: &'static str,
}

/// A group of operations.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Tag {
    pub(super) name: &'static str,
    pub(super) description: &'static str,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Components {
    pub(super) schemas: Map<Schema>,
    pub(super) responses: Map<Response>,
    pub(super) security_schemes: Map<SecurityScheme>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct SecurityScheme {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) description: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scheme: Option<&'static str>,
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    pub(super) location: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'static str>,
}

/// A map that is written in the order of its entries.
#[derive(Clone, Debug)]
pub(super) struct Map<V>(Vec<(String, V)>);

impl<V> Default for Map<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V> Map<V> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn with(mut self, key: impl Display, value: V) -> Self {
        self.0.push((key.to_string(), value));
        self
    }
}

impl<K: Display, V> FromIterator<(K, V)> for Map<V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self(entries.into_iter().map(|(key, value)| (key.to_string(), value)).collect())
    }
}

impl<V: Serialize> Serialize for Map<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

/// The operations of a path.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct PathItem {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    servers: Vec<Server>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parameters: Vec<Parameter>,
    #[serde(flatten)]
    operations: Map<Operation>,
}

impl PathItem {
    /// Sets what the path is relative to, if not to the root.
    pub(super) fn servers(self, servers: Vec<Server>) -> Self {
        Self { servers, ..self }
    }

    /// Adds a parameter of every operation.
    pub(super) fn parameter(mut self, parameter: Parameter) -> Self {
        self.parameters.push(parameter);
        self
    }

    pub(super) fn get(self, operation: Operation) -> Self {
        self.with("get", operation)
    }

    pub(super) fn post(self, operation: Operation) -> Self {
        self.with("post", operation)
    }

    pub(super) fn put(self, operation: Operation) -> Self {
        self.with("put", operation)
    }

    pub(super) fn patch(self, operation: Operation) -> Self {
        self.with("patch", operation)
    }

    pub(super) fn delete(self, operation: Operation) -> Self {
        self.with("delete", operation)
    }

    fn with(self, method: &str, operation: Operation) -> Self {
        Self { operations: self.operations.with(method, operation), ..self }
    }
}

/// An operation: a method of a path.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Operation {
    operation_id: &'static str,
    tags: [&'static str; 1],
    summary: &'static str,
    description: String,
    /// One of these is needed.
    security: Vec<Map<[&'static str; 0]>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parameters: Vec<Parameter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_body: Option<RequestBody>,
    responses: Map<Response>,
}

impl Operation {
    /// An operation that needs no credentials.
    pub(super) fn open(
        tag: &'static str,
        operation_id: &'static str,
        summary: &'static str,
    ) -> Self {
        Self {
            operation_id,
            tags: [tag],
            summary,
            description: String::new(),
            security: Vec::new(),
            parameters: Vec::new(),
            request_body: None,
            responses: Map::default(),
        }
    }

    /// Sets the description, in Markdown.
    pub(super) fn describe(self, description: impl Into<String>) -> Self {
        Self { description: description.into(), ..self }
    }

    /// Adds security schemes, one of which is needed.
    pub(super) fn secured_by(mut self, schemes: &[&'static str]) -> Self {
        self.security.extend(schemes.iter().map(|scheme| Map::default().with(scheme, [])));
        self
    }

    pub(super) fn parameters(mut self, parameters: impl IntoIterator<Item = Parameter>) -> Self {
        self.parameters.extend(parameters);
        self
    }

    /// Sets the body of a request, which is JSON.
    pub(super) fn body(self, description: &'static str, schema: Schema) -> Self {
        let content = Map::default().with("application/json", Media { schema, example: None });
        Self { request_body: Some(RequestBody { description, required: true, content }), ..self }
    }

    /// Adds a response. They are written by ascending status, whatever the order of the calls.
    pub(super) fn responds(mut self, status: u16, response: Response) -> Self {
        let responses = &mut self.responses.0;
        let status = status.to_string();
        let position = responses.partition_point(|(other, _)| *other < status);
        responses.insert(position, (status, response));
        self
    }
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Parameter {
    name: &'static str,
    #[serde(rename = "in")]
    location: &'static str,
    description: String,
    #[serde(skip_serializing_if = "is_false")]
    required: bool,
    #[serde(skip_serializing_if = "is_false")]
    allow_empty_value: bool,
    schema: Schema,
}

impl Parameter {
    /// A part of the path.
    pub(super) fn path(name: &'static str, description: impl Into<String>, schema: Schema) -> Self {
        Self { required: true, ..Self::of("path", name, description, schema) }
    }

    /// An optional parameter of the query. An empty value is none.
    pub(super) fn query(
        name: &'static str,
        description: impl Into<String>,
        schema: Schema,
    ) -> Self {
        Self { allow_empty_value: true, ..Self::of("query", name, description, schema) }
    }

    /// An optional header.
    pub(super) fn header(
        name: &'static str,
        description: impl Into<String>,
        schema: Schema,
    ) -> Self {
        Self::of("header", name, description, schema)
    }

    /// Refuses an empty value.
    pub(super) fn not_empty(self) -> Self {
        Self { allow_empty_value: false, ..self }
    }

    fn of(
        location: &'static str,
        name: &'static str,
        description: impl Into<String>,
        schema: Schema,
    ) -> Self {
        let description = description.into();
        Self { name, location, description, required: false, allow_empty_value: false, schema }
    }
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct RequestBody {
    description: &'static str,
    required: bool,
    content: Map<Media>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Media {
    schema: Schema,
    #[serde(skip_serializing_if = "Option::is_none")]
    example: Option<Map<&'static str>>,
}

/// A response, or a reference to one of the components.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Response {
    #[serde(rename = "$ref", skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    headers: Map<Header>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    content: Map<Media>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    links: Map<Link>,
}

/// An operation on what a response holds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Link {
    operation_id: &'static str,
    /// Where in the response each parameter is.
    parameters: Map<String>,
}

impl Response {
    /// A response without a body.
    pub(super) fn empty(description: impl Into<String>) -> Self {
        Self { description: description.into(), ..Self::default() }
    }

    /// A response with JSON.
    pub(super) fn json(description: impl Into<String>, schema: Schema) -> Self {
        Self::empty(description).content(Media { schema, example: None })
    }

    /// The response of the components that has this name.
    pub(super) fn reference(name: &str) -> Self {
        Self { reference: Some(format!("#/components/responses/{name}")), ..Self::default() }
    }

    /// Adds an example of the body, whose members are strings.
    pub(super) fn example(mut self, members: &[(&'static str, &'static str)]) -> Self {
        for (_, media) in &mut self.content.0 {
            media.example = Some(members.iter().copied().collect());
        }
        self
    }

    pub(super) fn header(self, name: &str, header: Header) -> Self {
        Self { headers: self.headers.with(name, header), ..self }
    }

    /// Adds operations on the record in the response, whose parameters are members of it.
    pub(super) fn links(mut self, operations: &[&'static str], parameters: &[&str]) -> Self {
        for &operation_id in operations {
            let place = |name: &&str| (name.to_string(), format!("$response.body#/{name}"));
            let link = Link { operation_id, parameters: parameters.iter().map(place).collect() };
            self.links = self.links.with(operation_id, link);
        }
        self
    }

    fn content(self, media: Media) -> Self {
        Self { content: Map::default().with("application/json", media), ..self }
    }
}

/// A header of a response.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Header {
    description: &'static str,
    #[serde(skip_serializing_if = "is_false")]
    required: bool,
    schema: Schema,
}

impl Header {
    /// A header that is always there.
    pub(super) fn always(description: &'static str, schema: Schema) -> Self {
        Self { description, required: true, schema }
    }

    /// A header that may be missing.
    pub(super) fn sometimes(description: &'static str, schema: Schema) -> Self {
        Self { description, required: false, schema }
    }
}

/// A schema of JSON, or a reference to one of the components.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Schema {
    #[serde(rename = "$ref", skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    types: Option<Types>,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pattern: Option<String>,
    #[serde(rename = "enum", skip_serializing_if = "Vec::is_empty")]
    variants: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_length: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_length: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maximum: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<Value>,
    #[serde(skip_serializing_if = "is_false")]
    write_only: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    examples: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Box<Schema>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_items: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_items: Option<usize>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    properties: Map<Schema>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    required: Vec<&'static str>,
}

/// The type of a value, or several.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Types {
    One(&'static str),
    OrNull([&'static str; 2]),
}

impl Schema {
    fn of(kind: &'static str) -> Self {
        Self { types: Some(Types::One(kind)), ..Self::default() }
    }

    /// The schema of the components that has this name.
    pub(super) fn reference(name: &str) -> Self {
        Self { reference: Some(format!("#/components/schemas/{name}")), ..Self::default() }
    }

    pub(super) fn string() -> Self {
        Self::of("string")
    }

    pub(super) fn integer() -> Self {
        Self::of("integer")
    }

    pub(super) fn number() -> Self {
        Self::of("number")
    }

    pub(super) fn boolean() -> Self {
        Self::of("boolean")
    }

    /// An array of these.
    pub(super) fn array(items: Self) -> Self {
        Self { items: Some(Box::new(items)), ..Self::of("array") }
    }

    /// An object, whose members are added with [`Schema::required`] and [`Schema::optional`].
    pub(super) fn object(description: impl Into<String>) -> Self {
        Self::of("object").describe(description)
    }

    /// One of these strings.
    pub(super) fn one_of(variants: impl IntoIterator<Item = &'static str>) -> Self {
        Self { variants: variants.into_iter().collect(), ..Self::string() }
    }

    /// Adds a member that is always there.
    pub(super) fn required(mut self, name: &'static str, member: Self) -> Self {
        self.required.push(name);
        self.optional(name, member)
    }

    /// Adds a member that may be missing.
    pub(super) fn optional(self, name: &'static str, member: Self) -> Self {
        Self { properties: self.properties.with(name, member), ..self }
    }

    pub(super) fn describe(self, description: impl Into<String>) -> Self {
        Self { description: description.into(), ..self }
    }

    /// Also `null`, which means the same as a missing member.
    pub(super) fn or_null(self) -> Self {
        let types = self.types.map(|types| match types {
            Types::One(kind) => Types::OrNull([kind, "null"]),
            both @ Types::OrNull(_) => both,
        });
        Self { types, ..self }
    }

    pub(super) fn format(self, format: &'static str) -> Self {
        Self { format: Some(format), ..self }
    }

    pub(super) fn pattern(self, pattern: impl Into<String>) -> Self {
        Self { pattern: Some(pattern.into()), ..self }
    }

    /// The length of a string.
    pub(super) fn length(self, min: usize, max: Option<usize>) -> Self {
        Self { min_length: Some(min), max_length: max, ..self }
    }

    /// The value of a number.
    pub(super) fn range(self, min: usize, max: usize) -> Self {
        Self { minimum: Some(min), maximum: Some(max), ..self }
    }

    /// The least value of a number.
    pub(super) fn at_least(self, min: usize) -> Self {
        Self { minimum: Some(min), ..self }
    }

    /// The length of an array.
    pub(super) fn count(self, min: usize, max: usize) -> Self {
        Self { min_items: Some(min), max_items: Some(max), ..self }
    }

    pub(super) fn default_value(self, value: impl Into<Value>) -> Self {
        Self { default: Some(value.into()), ..self }
    }

    pub(super) fn example(mut self, value: impl Into<Value>) -> Self {
        self.examples.push(value.into());
        self
    }

    /// A secret, which no response contains.
    pub(super) fn write_only(self) -> Self {
        Self { write_only: true, ..self }
    }
}

fn is_false(value: &bool) -> bool {
    !*value
}
