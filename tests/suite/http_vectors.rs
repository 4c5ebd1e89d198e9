//! Vectors of requests and responses, through the real router, on every store.

use axum::body::Body;
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use portcullis::Permission;
use serde_json::Value;
use tower::ServiceExt;

use crate::document::Exchange;
use crate::matching::fits;
use crate::vectors::{Report, cases, worlds};
use crate::world::{Backend, World};

struct Response {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Response {
    fn json(&self) -> Result<Value, String> {
        serde_json::from_slice(&self.body)
            .map_err(|e| format!("{e} in {:?}", String::from_utf8_lossy(&self.body)))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Percent-encodes a parameter.
fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn query(request: &Value) -> Option<String> {
    if let Some(raw) = request["raw_query"].as_str() {
        return Some(raw.to_owned());
    }
    let pairs = request["query"].as_object()?.iter().flat_map(|(name, values)| {
        let values = values.as_array().cloned().unwrap_or_else(|| vec![values.clone()]);
        let pair = |value: &Value| format!("{}={}", encode(name), encode(value.as_str().unwrap()));
        values.iter().map(pair).collect::<Vec<_>>()
    });
    Some(pairs.collect::<Vec<_>>().join("&"))
}

fn body(request: &Value) -> Body {
    if let Some(raw) = request["raw_body"].as_str() {
        return Body::from(raw.to_owned());
    }
    if let Some(generator) = request.get("body_gen") {
        let mut body = generator["template"].clone();
        let count = usize::try_from(generator["count"].as_u64().unwrap()).unwrap();
        let text = generator["repeat"].as_str().unwrap().repeat(count);
        body[generator["field"].as_str().unwrap()] = text.into();
        return Body::from(body.to_string());
    }
    request.get("body").map_or_else(Body::empty, |body| Body::from(body.to_string()))
}

async fn send(world: &World, step: &Value, created: Option<&str>) -> Response {
    let request = &step["request"];
    let mut uri = request["path"].as_str().unwrap().to_owned();
    if let Some(id) = created {
        uri = uri.replace("{created_id}", id);
    }
    if let Some(query) = query(request) {
        uri = format!("{uri}?{query}");
    }
    let mut builder = Request::builder().method(request["method"].as_str().unwrap()).uri(uri);
    for (name, value) in request["headers"].as_object().into_iter().flatten() {
        builder = builder.header(name, value.as_str().unwrap());
    }
    if let Some(requested) = step.get("check_permission") {
        builder = builder.header("x-check-permission", permission_text(requested));
    }
    let request = builder.body(body(request)).unwrap();
    let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
    let response = world.app.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    let response = Response { status: parts.status.as_u16(), headers: parts.headers, body };
    check_document(&method, &path, &response);
    response
}

/// Panics if the OpenAPI document does not list the response of the management API.
fn check_document(method: &str, path: &str, response: &Response) {
    let Response { status, headers, body } = response;
    let body = std::str::from_utf8(body).unwrap();
    let exchange = Exchange { method, path, status: *status, headers, body };
    // `/ping` is the host's here.
    if path != "/ping"
        && let Err(error) = exchange.check()
    {
        panic!("{error}");
    }
}

/// The text form of a permission of the vectors.
fn permission_text(permission: &Value) -> String {
    let resource = &permission["resource"];
    let org = resource["orgID"].as_str().map(|org| format!("orgs/{org}/")).unwrap_or_default();
    let id = resource["id"].as_str().map(|id| format!("/{id}")).unwrap_or_default();
    let text = format!(
        "{}:{org}{}{id}",
        permission["action"].as_str().unwrap(),
        resource["type"].as_str().unwrap()
    );
    assert_eq!(text.parse::<Permission>().unwrap().to_string(), text);
    text
}

fn check(expected: &Value, response: &Response) -> Result<(), String> {
    for (what, expected) in expected.as_object().expect("an object") {
        let body = || String::from_utf8_lossy(&response.body).into_owned();
        match what.as_str() {
            "status" => {
                if expected.as_u64() != Some(response.status.into()) {
                    return Err(format!("status {}, not {expected}: {}", response.status, body()));
                }
            }
            "headers" => {
                for (name, value) in expected.as_object().unwrap() {
                    if response.header(name) != value.as_str() {
                        return Err(format!("{name}: {:?}, not {value}", response.header(name)));
                    }
                }
            }
            "empty_body" => {
                let content_type = response.header("content-type");
                if !response.body.is_empty() || content_type.is_some() {
                    return Err(format!("not empty: {content_type:?} {}", body()));
                }
            }
            "json" => fits(expected, &response.json()?, "")?,
            "code" | "message" => fits(expected, &response.json()?[what], what)?,
            "absent" => {
                for pointer in expected.as_array().unwrap() {
                    if response.json()?.pointer(pointer.as_str().unwrap()).is_some() {
                        return Err(format!("{pointer} must not be there"));
                    }
                }
            }
            "not_equal" => {
                for (pointer, value) in expected.as_object().unwrap() {
                    if response.json()?.pointer(pointer) == Some(value) {
                        return Err(format!("{pointer} must not be {value}"));
                    }
                }
            }
            "key_order" => {
                let json = response.json()?;
                let order: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
                fits(expected, &order.into(), "key_order")?;
            }
            "authenticated_as" | "allowed" => {
                if response.status != 200 {
                    return Err(format!("status {}: {}", response.status, body()));
                }
                fits(expected, &response.json()?[what], what)?;
            }
            _ => panic!("unknown expectation {what}"),
        }
    }
    Ok(())
}

fn check_any(step: &Value, response: &Response) -> Result<(), String> {
    match step.get("expected_any_of") {
        None => check(&step["expected"], response),
        Some(any) => {
            let outcomes = any.as_array().unwrap().iter().map(|one| check(one, response));
            outcomes.reduce(Result::or).expect("an expectation")
        }
    }
}

async fn run_case(case: &Value, world: &World) -> Result<(), String> {
    let then = case["then"].as_array().into_iter().flatten();
    let mut created: Option<String> = None;
    for (number, step) in std::iter::once(case).chain(then).enumerate() {
        let response = send(world, step, created.as_deref()).await;
        check_any(step, &response).map_err(|reason| format!("step {number}: {reason}"))?;
        if response.status == 201 {
            created = response.json()?["id"].as_str().map(str::to_owned);
        }
        for (name, secret) in [("hash", "$argon2id$"), ("hash", "$2a$"), ("digest", "sha256:")] {
            if String::from_utf8_lossy(&response.body).contains(secret) {
                return Err(format!("step {number}: the response holds a {name}"));
            }
        }
    }
    Ok(())
}

async fn run_file(file: &str, backend: Backend) {
    let worlds = worlds();
    let mut report = Report::default();
    for case in cases(file) {
        let world = World::new(&worlds[case["world"].as_str().unwrap()], backend).await;
        report.add(&case, run_case(&case, &world).await);
        world.engine.store().close().await.unwrap();
    }
    report.finish(&format!("{file} on {backend:?}"));
}

macro_rules! files {
    ($($(#[$attribute:meta])* $name:ident: $file:literal;)+) => {$(
        $(#[$attribute])*
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread")]
            async fn on_memory() {
                run_file($file, Backend::Memory).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn on_sqlite() {
                run_file($file, Backend::Sqlite).await;
            }
        }
    )+};
}

files! {
    /// [CREATE-1] [CREATE-2] [CREATE-3]
    create: "http_create.json";
    /// [LIST-2] [LIST-4] [LIST-5] [LIST-6] [LIST-7]
    list: "http_list.json";
    /// [GET-1] [GET-4] [PATCH-1] [PATCH-2] [DELETE-1] [SETPW-1] [SETPW-2] [SETPW-4]
    get_patch_delete_password: "http_get_patch_delete_password.json";
    /// [MATCH-1] [SET-2]
    decisions: "authorize_decision.json";
}
