//! The OpenAPI document against the routers. That every response is one that it lists, `Server::send` checks in every
//! test.

use std::collections::BTreeSet;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, header};
use portcullis_http::ManagementApi;
use serde_json::{Value, json};

use crate::document::{DOCUMENT, Exchange};
use crate::routes::routes_of;
use crate::support::{Server, send};

/// The operations of a document, as method and path.
fn documented(document: &Value) -> BTreeSet<(String, String)> {
    let mut operations = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let root = json!([{"url": "/"}]);
        let servers = item.get("servers").unwrap_or(&root).as_array().unwrap();
        for server in servers {
            let prefix = server["url"].as_str().unwrap().trim_end_matches('/');
            let methods = item
                .as_object()
                .unwrap()
                .iter()
                .filter(|(_, item)| item.get("operationId").is_some());
            operations.extend(
                methods.map(|(method, _)| (method.to_uppercase(), format!("{prefix}{path}"))),
            );
        }
    }
    operations
}

/// The operations of a router. `HEAD`, and a slash at the end, are those of another one.
fn served(router: &Router) -> BTreeSet<(String, String)> {
    let routes = routes_of(router).into_iter();
    let routes = routes.filter(|(path, _)| !path.ends_with('/') && !path.ends_with("{*rest}"));
    let operations = routes.flat_map(|(path, methods)| {
        let methods = methods.replace("any", "GET").replace("HEAD", "");
        let methods: Vec<_> =
            methods.split(',').filter(|method| !method.is_empty()).map(str::to_owned).collect();
        methods.into_iter().map(move |method| (method, path.clone()))
    });
    operations.collect()
}

async fn fetch(router: &Router) -> Value {
    let request = Request::get("/openapi.json").body(Body::empty()).unwrap();
    let response = send(router, request).await;
    assert_eq!(response.status, 200);
    response.json()
}

/// [OPENAPI-1] [OPENAPI-2]
#[tokio::test]
async fn the_document_has_exactly_the_routes() {
    let server = Server::new().await;
    assert_eq!(documented(&fetch(&server.app).await), served(&server.app));
    let of_a_host = ManagementApi::new(server.engine.clone()).openapi(true).into_router();
    let document = fetch(&of_a_host).await;
    assert_eq!(documented(&document), served(&of_a_host));
    assert!(documented(&document).len() > 20, "{document}");
}

/// [OPENAPI-1]
#[tokio::test]
async fn the_document_is_sent_without_credentials_and_in_a_host_only_if_it_is_enabled() {
    let server = Server::new().await;
    let document = fetch(&server.app).await;
    assert_eq!(document, *DOCUMENT);
    assert_eq!(document["openapi"], "3.1.0");
    let request = || Request::get("/openapi.json");
    let compressed = request().header(header::ACCEPT_ENCODING, "gzip").body(Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(server.app.clone(), compressed).await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
    let host = Router::new().fallback(async || "the host's");
    let host = host.merge(ManagementApi::new(server.engine.clone()).into_router());
    let response = send(&host, request().body(Body::empty()).unwrap()).await;
    assert_eq!(response.text, "the host's");
}

/// The ids of operations, by path. All but the last three are those of InfluxData's document.
const IDS: &[(&str, &[&str])] = &[
    ("/legacy/authorizations", &["GetLegacyAuthorizations", "PostLegacyAuthorizations"]),
    (
        "/legacy/authorizations/{id}",
        &[
            "GetLegacyAuthorizationsID",
            "PatchLegacyAuthorizationsID",
            "DeleteLegacyAuthorizationsID",
        ],
    ),
    ("/legacy/authorizations/{id}/password", &["PostLegacyAuthorizationsIDPassword"]),
    (
        "/legacy/authorizations/{id}/password/previous",
        &["DeleteLegacyAuthorizationsIDPasswordPrevious"],
    ),
    ("/api/v2/orgs", &["GetOrgs", "PostOrgs"]),
    ("/api/v2/orgs/{id}", &["GetOrgsID", "PatchOrgsID", "DeleteOrgsID"]),
    ("/api/v2/users", &["GetUsers", "PostUsers"]),
    ("/api/v2/users/{id}", &["GetUsersID", "PatchUsersID", "DeleteUsersID"]),
    ("/api/v2/users/{id}/password", &["PostUsersIDPassword", "PutUsersIDPassword"]),
    ("/api/v2/buckets", &["GetBuckets", "PostBuckets"]),
    ("/api/v2/buckets/{id}", &["GetBucketsID", "PatchBucketsID", "DeleteBucketsID"]),
    ("/api/v2/me", &["GetMe"]),
    ("/api/v2/me/password", &["PostMePassword", "PutMePassword"]),
    ("/api/v2/authorizations", &["GetAuthorizations", "PostAuthorizations"]),
    (
        "/api/v2/authorizations/{id}",
        &["GetAuthorizationsID", "PatchAuthorizationsID", "DeleteAuthorizationsID"],
    ),
    ("/api/v2/setup", &["GetSetup", "PostSetup"]),
    ("/api/v2/dbrps", &["GetDBRPs", "PostDBRP"]),
    ("/api/v2/dbrps/{id}", &["GetDBRPsID", "PatchDBRPID", "DeleteDBRPID"]),
    ("/ping", &["GetPing"]),
    ("/health", &["GetHealth"]),
    ("/ready", &["GetReady"]),
    ("/legacy/authorizations/{id}/permissions", &["PutLegacyAuthorizationsIDPermissions"]),
    ("/openapi.json", &["GetOpenAPI"]),
    ("/forward-auth", &["GetForwardAuth"]),
];

/// [OPENAPI-5]
#[test]
fn the_ids_of_operations_stay_the_same() {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    assert_eq!(paths.len(), IDS.len());
    for (path, ids) in IDS {
        let operations = paths[*path].as_object().unwrap().values();
        let found: BTreeSet<_> =
            operations.filter_map(|operation| operation["operationId"].as_str()).collect();
        assert_eq!(found, ids.iter().copied().collect(), "{path}");
    }
}

/// [OPENAPI-3]
#[test]
fn a_response_that_the_document_does_not_list_is_found() {
    let json: HeaderMap =
        [(header::CONTENT_TYPE, "application/json; charset=utf-8".parse().unwrap())]
            .into_iter()
            .collect();
    let health = |status: u16, headers: &HeaderMap, body: Value| {
        let body = body.to_string();
        Exchange { method: "GET", path: "/health", status, headers, body: &body }.check()
    };
    let body = || json!({"name": "portcullis", "message": "m", "status": "pass", "version": "1"});
    health(200, &json, body()).unwrap();
    let error = |outcome: Result<(), String>| outcome.unwrap_err();
    assert!(error(health(418, &json, body())).contains("no such status"));
    assert!(error(health(200, &HeaderMap::new(), body())).contains("it is not JSON"));
    let mut headers = json.clone();
    headers.insert("x-extra", "1".parse().unwrap());
    assert!(error(health(200, &headers, body())).contains("x-extra is not listed"));
    for (member, value, expected) in [
        ("version", Value::Null, "is no \"string\""),
        ("status", json!("maybe"), "is not listed"),
        ("extra", json!(1), "has a member extra, which is not listed"),
    ] {
        let mut body = body();
        body[member] = value;
        assert!(error(health(200, &json, body)).contains(expected), "{expected}");
    }
    let mut body = body();
    body.as_object_mut().unwrap().remove("version");
    assert!(error(health(200, &json, body)).contains("has no version"));

    let mut headers = json.clone();
    headers.insert("x-platform-error-code", "unavailable".parse().unwrap());
    let unavailable = Exchange {
        method: "GET",
        path: "/private/legacy/authorizations/0000000000000001/",
        status: 503,
        headers: &headers,
        body: r#"{"code": "unavailable", "message": "m"}"#,
    };
    assert!(error(unavailable.check()).contains("Retry-After is missing"));
    let head = Exchange {
        method: "HEAD",
        path: "/ping",
        status: 204,
        headers: &HeaderMap::new(),
        body: "",
    };
    head.check().unwrap();
    let unknown = Exchange { method: "PUT", path: "/ping", status: 418, ..head };
    unknown.check().unwrap();
}

/// A server with an authorization and a DBRP mapping.
struct Filled {
    server: Server,
    authorization: String,
    mapping: String,
}

impl Filled {
    async fn new() -> Self {
        let server = Server::new().await;
        let authorization = server.authorization("telegraf").await.id.to_string();
        let mapping = json!({
            "orgID": server.org.id.to_string(), "bucketID": server.bucket.id.to_string(),
            "database": "telemetry", "retention_policy": "year",
        });
        let created = server.call("POST", "/api/v2/dbrps", &mapping.to_string()).await;
        assert_eq!(created.status, 201, "{}", created.text);
        let mapping = created.json()["id"].as_str().unwrap().to_owned();
        Self { server, authorization, mapping }
    }

    /// The path with the id of a record that exists, and the parameters that every request needs.
    fn uri(&self, path: &str) -> String {
        let id = match path
            .split('/')
            .rev()
            .find(|part| part.ends_with('s') && !["permissions", "previous"].contains(part))
        {
            Some("authorizations") => self.authorization.clone(),
            Some("dbrps") => self.mapping.clone(),
            Some("orgs") => self.server.org.id.to_string(),
            Some("users") => self.server.user.id.to_string(),
            Some("buckets") => self.server.bucket.id.to_string(),
            None if !path.contains("{id}") => String::new(),
            other => panic!("no record for {other:?}"),
        };
        let query = if path.starts_with("/api/v2/dbrps") {
            format!("orgID={}&", self.server.org.id)
        } else {
            String::new()
        };
        format!("{}?{query}", path.replace("{id}", &id))
    }

    /// Sends a request with a header that cannot be read, which must be 400, and returns the message.
    async fn refused_header(&self, method: &str, uri: &str, name: &str) -> String {
        let request = Request::builder().method(method).uri(uri).header(name, "1");
        let request = request.header("Authorization", format!("Token {}", self.server.operator));
        let response = self.server.send(request.body(Body::from("{}")).unwrap()).await;
        assert_eq!(response.status, 400, "{method} {uri} {name}: {}", response.text);
        response.json()["message"].as_str().unwrap().to_owned()
    }

    /// Sends a request that must be 400, and returns the message.
    async fn refusal(&self, method: &str, uri: &str, body: &Value) -> String {
        let response = self.server.call(method, uri, &body.to_string()).await;
        assert_eq!(response.status, 400, "{method} {uri} {body}: {}", response.text);
        response.json()["message"].as_str().unwrap().to_owned()
    }
}

/// The operations of the management API: path, method, operation.
fn managed() -> impl Iterator<Item = (&'static str, String, &'static Value)> {
    DOCUMENT["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
        let operations = item.as_object().unwrap().iter();
        operations
            .filter(|(_, operation)| operation["security"][0].get("Bearer").is_some())
            .map(|(method, operation)| (path.as_str(), method.to_uppercase(), operation))
    })
}

fn shape(schema: &'static Value) -> &'static Value {
    match schema["$ref"].as_str() {
        Some(reference) => DOCUMENT.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
        None => schema,
    }
}

/// Bodies with one member each, whose value is of a wrong type, and the name of that member.
fn wrong_members(schema: &'static Value) -> Vec<(String, Value)> {
    let schema = shape(schema);
    let mut wrong = Vec::new();
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        let is_array = shape(member)["type"].to_string().contains("array");
        wrong.push((name.clone(), json!({name: if is_array { json!("x") } else { json!([]) }})));
        let (inner, is_array) = if is_array { (&member["items"], true) } else { (member, false) };
        for (inner_name, inner) in wrong_members(inner) {
            wrong.push((inner_name, json!({name: if is_array { json!([inner]) } else { inner }})));
        }
    }
    wrong
}

/// [OPENAPI-4]
#[tokio::test]
async fn every_member_of_a_request_that_the_document_lists_is_read() {
    let filled = Filled::new().await;
    let mut tried = 0;
    for (path, method, operation) in managed() {
        let Some(media) = operation.pointer("/requestBody/content/application~1json") else {
            continue;
        };
        for (name, body) in wrong_members(&media["schema"]) {
            let message = filled.refusal(&method, &filled.uri(path), &body).await;
            assert!(
                message.contains(&format!("`{name}` must be ")),
                "{method} {path} {body}: {message}"
            );
            tried += 1;
        }
    }
    assert!(tried > 20, "{tried} members");
}

/// [OPENAPI-4]
#[tokio::test]
async fn every_parameter_that_the_document_lists_is_read() {
    let filled = Filled::new().await;
    let mut tried = 0;
    for (path, method, operation) in managed() {
        let mut names = BTreeSet::new();
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap();
            if parameter["in"] == "header" {
                let message = filled.refused_header(&method, &filled.uri(path), name).await;
                assert!(message.starts_with(&format!("`{name}` must be `*` or tags")), "{message}");
                tried += 1;
                continue;
            }
            let uri =
                filled.uri(path).replace("orgID=", if name == "orgID" { "x=" } else { "orgID=" });
            let message = filled.refusal(&method, &format!("{uri}{name}=100%"), &json!({})).await;
            let expected = match name {
                "dryRun" => "give `dryRun` once, as true or false".to_owned(),
                _ => format!("`{name}` cannot be read: encode it for a URL"),
            };
            assert_eq!(message, expected, "{method} {path}");
            names.insert(name);
            tried += 1;
        }
        // Lists in pages name their parameters.
        if names.contains("offset") {
            let message = filled
                .refusal(&method, &format!("{}nonsense=1", filled.uri(path)), &json!({}))
                .await;
            let (_, listed) = message.split_once("there are `").unwrap();
            let listed: BTreeSet<_> = listed.trim_end_matches('`').split("`, `").collect();
            assert_eq!(listed, names, "{method} {path}");
        }
    }
    assert!(tried > 30, "{tried} parameters");
}
