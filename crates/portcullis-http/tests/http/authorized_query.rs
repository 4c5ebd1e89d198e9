//! A host's own `/query`, with the extractor.

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::Request;
use portcullis::{Permission, Resource};
use portcullis_http::{AuthorizedQuery, QueryPolicy, V1CredentialLayer};

use crate::support::{Response, Server, send};

const BASIC: &str = "Basic Z3JhZmFuYTpncmFmYW5hLXBhc3N3b3Jk";
const FORM: Option<&str> = Some("application/x-www-form-urlencoded; charset=utf-8");

/// What the handler was given, as a line.
async fn query(query: AuthorizedQuery) -> String {
    let request = query.request();
    let statements: Vec<_> = query.statements().iter().map(|statement| statement.text()).collect();
    let epoch = query.parameter("epoch").unwrap_or("-");
    format!("{} on {:?}, epoch {epoch}", statements.join(" | "), request.db)
}

/// A server whose user `grafana` may read the bucket `telemetry`.
async fn host() -> (Server, Router) {
    let server = Server::new().await;
    let authorization = server.authorization("grafana").await;
    let read = Permission::read(Resource::bucket(server.org.id, server.bucket.id));
    server.engine.set_permissions(authorization.id, vec![read]).await.unwrap();
    server.engine.set_password(authorization.id, "grafana-password").await.unwrap();
    let app = Router::new()
        .route("/query", get(query).post(query))
        .layer(V1CredentialLayer::new(server.engine.clone()))
        .with_state(QueryPolicy::new(server.engine.clone()));
    (server, app)
}

async fn call(app: &Router, method: &str, uri: &str, form: Option<&str>, body: &str) -> Response {
    let mut request = Request::builder().method(method).uri(uri).header("Authorization", BASIC);
    if let Some(form) = form {
        request = request.header("Content-Type", form);
    }
    send(app, request.body(Body::from(body.to_owned())).unwrap()).await
}

/// [QUERY-7]
#[tokio::test]
async fn an_allowed_query_reaches_the_handler_from_the_url_and_from_a_form() {
    let (_server, app) = host().await;
    let all = "SELECT v FROM cpu on Some(\"telemetry\"), epoch ms";
    for (method, uri, form, body) in [
        ("GET", "/query?q=SELECT+v+FROM+cpu&db=telemetry&epoch=ms", None, ""),
        ("POST", "/query?q=SELECT%20v%20FROM%20cpu&db=telemetry&epoch=ms", None, ""),
        ("POST", "/query?db=telemetry&epoch=ns", FORM, "q=SELECT+v+FROM+cpu&epoch=ms"),
        ("POST", "/query", FORM, "q=SELECT+v+FROM+cpu&db=telemetry&epoch=ms"),
        // The body of a GET is no part of the query.
        ("GET", "/query?q=SELECT+v+FROM+cpu&db=telemetry&epoch=ms", FORM, "q=DROP+DATABASE+x"),
    ] {
        let response = call(&app, method, uri, form, body).await;
        assert_eq!(
            (response.status.as_u16(), &*response.text),
            (200, all),
            "{method} {uri} {body}"
        );
    }
    let response =
        call(&app, "GET", "/query?q=SHOW+TAG+KEYS%3B+SHOW+SERIES&db=telemetry", None, "").await;
    assert_eq!(response.text, "SHOW TAG KEYS | SHOW SERIES on Some(\"telemetry\"), epoch -");
}

/// [QUERY-7]
#[tokio::test]
async fn what_is_not_allowed_or_not_clear_does_not_reach_the_handler() {
    let (_server, app) = host().await;
    let long = format!("q={}", "x".repeat(1_048_576));
    for (method, uri, form, body, status, error) in [
        (
            "GET",
            "/query?q=DROP+DATABASE+telemetry&db=telemetry",
            None,
            "",
            403,
            "not authorized to execute statement 1, DROP DATABASE: it needs write to all databases",
        ),
        ("GET", "/query?db=telemetry", None, "", 400, "missing required parameter \"q\""),
        ("POST", "/query?db=telemetry", None, "", 400, "missing required parameter \"q\""),
        (
            "GET",
            "/query?q=SELECT&db=telemetry",
            None,
            "",
            400,
            "error parsing query: found EOF, expected identifier, string, number, bool at line 1, char 7",
        ),
        ("GET", "/query?q=SHOW+SERIES&db=telemetry&db=x", None, "", 400, "`db` is given twice"),
        (
            "POST",
            "/query?q=SHOW+SERIES&db=telemetry",
            FORM,
            "q=SHOW+STATS",
            400,
            "`q` is given twice",
        ),
        (
            "POST",
            "/query?db=telemetry",
            FORM,
            "q=SHOW+SERIES&%71=SHOW+STATS",
            400,
            "`q` is given twice",
        ),
        (
            "GET",
            "/query?q=SHOW+SERIES&db=%ff",
            None,
            "",
            400,
            "`db` cannot be read: encode it for a URL",
        ),
        (
            "POST",
            "/query?db=telemetry",
            Some("application/vnd.flux"),
            "from(bucket: \"telemetry\")",
            415,
            "the body of a query must be a form (application/x-www-form-urlencoded), with InfluxQL in `q`",
        ),
        (
            "POST",
            "/query?db=telemetry",
            FORM,
            &*long,
            413,
            "the request body is larger than 1048576 bytes",
        ),
    ] {
        let response = call(&app, method, uri, form, body).await;
        let json = response.json();
        assert_eq!(
            (response.status.as_u16(), json["error"].as_str()),
            (status, Some(error)),
            "{method} {uri}"
        );
    }
}

#[tokio::test]
async fn a_route_without_the_layer_is_closed_and_a_closed_store_is_503() {
    let (server, app) = host().await;
    let unprotected = Router::new()
        .route("/query", get(query))
        .with_state(QueryPolicy::new(server.engine.clone()));
    let uri = "/query?q=SHOW+SERIES&db=unseen";
    let response = call(&unprotected, "GET", uri, None, "").await;
    response.assert_error(401, "unauthorized", "unauthorized access");

    assert_eq!(call(&app, "GET", uri, None, "").await.status, 403);
    server.store.close().await.unwrap();
    let response = call(&app, "GET", "/query?q=SHOW+SERIES&db=another", None, "").await;
    assert_eq!(response.status, 503, "{}", response.text);
    assert_eq!(response.header("retry-after"), Some("5"));
}
