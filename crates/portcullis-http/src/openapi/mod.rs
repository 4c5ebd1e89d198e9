//! The OpenAPI 3.1 document of the routes, for readers, generators of clients, and tests.
//!
//! Requests are not parsed by types that serde derives, and responses have statuses that no type names.
//! The document is therefore composed here, of the limits and names that the code uses, and tests hold
//! it to the code: it has exactly the routes of the routers, and every response of every test in
//! `tests/http` and of the vectors has a status, headers and members that the document lists, and no
//! others.

mod model;
mod operations;
mod responses;
mod schemas;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::header;

use self::model::{Components, Document, Info, License, Map, SecurityScheme, Server, Tag};
use crate::json;
use crate::management::compression;
use crate::respond::ErrorBody;

/// The path of the document.
pub(crate) const PATH: &str = "/openapi.json";

/// Whose routes a document describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Routes {
    /// Those of the management API, in a host.
    Management,
    /// Those of a server of its own.
    Server,
}

/// Tags of operations.
const AUTHORIZATIONS: &str = "Authorizations";
const DIRECTORY: &str = "Orgs, users and buckets";
const API_TOKENS: &str = "API tokens";
const DBRPS: &str = "DBRP mappings";
const DECISIONS: &str = "Forward-auth";
const OPERATIONS: &str = "Operations";

/// The route of the document, which needs no credentials: it is the same on every server of a version.
pub(crate) fn router(routes: Routes) -> Router {
    let text = Bytes::from(text(routes));
    let handler = get(async move || respond(text)).layer(compression());
    Router::new()
        .route(PATH, handler)
        .method_not_allowed_fallback(async || ErrorBody::method_not_allowed())
}

fn respond(text: Bytes) -> Response {
    ([(header::CONTENT_TYPE, json::CONTENT_TYPE)], text).into_response()
}

/// Returns the text of the document.
fn text(routes: Routes) -> Vec<u8> {
    json::pretty(&document(routes))
}

fn document(routes: Routes) -> Document {
    Document {
        openapi: "3.1.0",
        info: Info {
            title: "Portcullis",
            version: env!("CARGO_PKG_VERSION"),
            summary: "Manages the credentials with which clients of InfluxDB 1.x log in.",
            description: DESCRIPTION.to_owned(),
            license: License { name: "MIT or Apache-2.0", identifier: "MIT OR Apache-2.0" },
        },
        servers: vec![Server { url: "/", description: "The server that sent this document." }],
        tags: tags(routes),
        paths: operations::paths(routes),
        components: Components {
            schemas: schemas::all(routes),
            responses: responses::all(),
            security_schemes: security_schemes(routes),
        },
    }
}

const DESCRIPTION: &str = "\
Portcullis keeps *authorizations*: credentials of InfluxDB 1.x, each a username, a password and \
permissions on the buckets of an org. The operations below manage them, on behalf of a caller \
that presents an API token. Paths, shapes, messages and statuses are those of the API of InfluxDB \
2.x, and the ids of operations are those of its OpenAPI document where it has the operation.

- **Checks** are made in this order: the caller (401 or 403), path and method (404 or 405, with \
`Allow`), the size of the body (413), the id in the path (400), the body (400), what the caller \
may do (401, or 403 for a permission that it grants and does not hold), and what the operation \
itself requires.
- **Bodies** of requests are one JSON object of at most 1 MiB. Members that are not described are \
ignored, a member that is `null` counts as missing, and one that occurs twice is refused. \
`Content-Type` is not checked.
- **Queries**: of a repeated parameter the first value counts, and an empty value counts as \
missing, unless the operation says otherwise.
- **Errors** are JSON with `code` and `message`, and the header `X-Platform-Error-Code` repeats \
the code. 429 and 503 have `Retry-After`: the same request may succeed later. Every other error \
is final.
- A trailing slash in a path is ignored, and `HEAD` responds like `GET`, without a body.";

fn tags(routes: Routes) -> Vec<Tag> {
    let management = [
        Tag {
            name: AUTHORIZATIONS,
            description: "The credentials of v1 clients. Every path is also served below \
                          `/private`, where existing clients send their requests.",
        },
        Tag {
            name: DIRECTORY,
            description: "What credentials belong to, and what their permissions name. A caller \
                          sees what it may read.",
        },
        Tag {
            name: API_TOKENS,
            description: "The credentials of callers. The path names them authorizations, as \
                          InfluxDB 2.x does.",
        },
        Tag {
            name: DBRPS,
            description: "Which bucket a database and a retention policy of a v1 client are.",
        },
    ];
    let decisions = Tag {
        name: DECISIONS,
        description: "A reverse proxy requests a decision here before it forwards a request to a \
                      database.",
    };
    let operations = Tag {
        name: OPERATIONS,
        description: "For load balancers, operators and tools. They need no credentials.",
    };
    let mut tags = Vec::from(management);
    if routes == Routes::Server {
        tags.push(decisions);
    }
    tags.push(operations);
    tags
}

fn security_schemes(routes: Routes) -> Map<SecurityScheme> {
    let bearer = SecurityScheme {
        kind: "http",
        description: "An API token, as `Authorization: Bearer TOKEN`.",
        scheme: Some("bearer"),
        location: None,
        name: None,
    };
    let token = SecurityScheme {
        kind: "apiKey",
        description: "An API token, as `Authorization: Token TOKEN`. The word `Token` is a part \
                      of the value. For forward-auth the token may also be `USERNAME:PASSWORD`.",
        scheme: None,
        location: Some("header"),
        name: Some("Authorization"),
    };
    let schemes = Map::default().with("Bearer", bearer).with("Token", token);
    if routes == Routes::Management {
        return schemes;
    }
    let basic = SecurityScheme {
        kind: "http",
        description: "The username and the password of an authorization.",
        scheme: Some("basic"),
        location: None,
        name: None,
    };
    let original_uri = SecurityScheme {
        kind: "apiKey",
        description: "The username and the password of an authorization, as `u` and `p` in the \
                      query of the original URI.",
        scheme: None,
        location: Some("header"),
        name: Some("X-Original-URI"),
    };
    schemes.with("Basic", basic).with("OriginalURI", original_uri)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use super::*;

    /// [OPENAPI-6]
    #[test]
    fn the_document_in_docs_is_the_one_that_a_server_sends() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
        let text = String::from_utf8(text(Routes::Server)).unwrap();
        if std::env::var_os("PORTCULLIS_WRITE_OPENAPI").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let renew =
            "renew it: PORTCULLIS_WRITE_OPENAPI=1 cargo test -p portcullis-http --lib openapi";
        assert!(std::fs::read_to_string(path).is_ok_and(|kept| kept == text), "{renew}");
    }

    fn references<'d>(value: &'d Value, found: &mut Vec<&'d str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(elements) => elements.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    /// [OPENAPI-1]
    #[test]
    fn both_documents_are_complete_and_have_nothing_that_is_not_used() {
        for routes in [Routes::Management, Routes::Server] {
            let document: Value = serde_json::from_slice(&text(routes)).unwrap();
            let mut used = Vec::new();
            references(&document, &mut used);
            for reference in &used {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{routes:?}: {reference}");
            }
            for kind in ["schemas", "responses"] {
                for name in document["components"][kind].as_object().unwrap().keys() {
                    let reference = format!("#/components/{kind}/{name}");
                    assert!(
                        used.contains(&reference.as_str()),
                        "{routes:?}: {reference} is not used"
                    );
                }
            }
            let tags: Vec<_> =
                document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
            let schemes = document["components"]["securitySchemes"].as_object().unwrap();
            let mut ids = Vec::new();
            for (path, item) in document["paths"].as_object().unwrap() {
                for (method, operation) in item.as_object().unwrap() {
                    let Some(id) = operation["operationId"].as_str() else { continue };
                    assert!(!ids.contains(&id), "{id} is given twice");
                    ids.push(id);
                    assert!(tags.contains(&&operation["tags"][0]), "{method} {path}");
                    assert!(!operation["summary"].as_str().unwrap().is_empty(), "{method} {path}");
                    assert!(
                        !operation["description"].as_str().unwrap().is_empty(),
                        "{method} {path}"
                    );
                    for scheme in operation["security"].as_array().unwrap() {
                        assert!(
                            scheme
                                .as_object()
                                .unwrap()
                                .keys()
                                .all(|name| schemes.contains_key(name))
                        );
                    }
                }
            }
        }
    }

    /// [OPENAPI-7]
    #[test]
    fn everything_in_the_document_is_described() {
        fn check(value: &Value, place: &str) {
            let Value::Object(members) = value else { return };
            for (name, value) in members {
                let place = format!("{place}/{name}");
                if name == "properties" {
                    for (member, schema) in value.as_object().unwrap() {
                        let is_described = schema.get("$ref").is_some()
                            || !schema["description"].as_str().unwrap_or_default().is_empty();
                        assert!(is_described, "{place}/{member}");
                    }
                }
                if name == "parameters" {
                    // Those of links are a map.
                    for parameter in value.as_array().into_iter().flatten() {
                        assert!(
                            !parameter["description"].as_str().unwrap().is_empty(),
                            "{place}: {parameter}"
                        );
                    }
                }
                check(value, &place);
            }
        }
        check(&serde_json::from_slice(&text(Routes::Server)).unwrap(), "");
    }
}
