//! Operations of a server of its own: for proxies, load balancers and operators.

use super::{Path, with_body};
use crate::openapi::model::{Header, Operation, Parameter, PathItem, Response, Schema};
use crate::openapi::responses::{Failure, error, retry_after, seconds};
use crate::openapi::{DECISIONS, OPERATIONS, PATH};

/// The document itself, also in a host.
pub(super) fn document() -> Path {
    let document = Schema::object("An OpenAPI document.");
    let operation = Operation::open(OPERATIONS, "GetOpenAPI", "This document")
        .describe(
            "The OpenAPI document of the server's routes. It is the same on every server of a \
             version.",
        )
        .responds(200, Response::json("The document.", document));
    (PATH, PathItem::default().get(operation))
}

pub(super) fn paths() -> [Path; 5] {
    [
        ("/api/v2/setup", PathItem::default().get(is_setup_allowed()).post(set_up())),
        ("/ping", PathItem::default().get(ping())),
        ("/health", PathItem::default().get(health())),
        ("/ready", PathItem::default().get(ready())),
        ("/forward-auth", PathItem::default().get(forward_auth())),
    ]
}

fn is_setup_allowed() -> Operation {
    let allowed = Schema::reference("SetupAllowed");
    Operation::open(OPERATIONS, "GetSetup", "Whether the store can be set up")
        .describe("It can as long as it has no org, user, API token or authorization.")
        .responds(200, Response::json("Whether it can.", allowed))
        .fails(&[Failure::Internal, Failure::Unavailable])
}

fn set_up() -> Operation {
    let operation = Operation::open(OPERATIONS, "PostSetup", "Set the store up").describe(
        "Creates the first org, user and bucket, and an operator token. Of several requests at the \
         same time one succeeds. It needs no credentials, as there are none yet.",
    );
    let done = Schema::reference("OnboardingResponse");
    with_body(operation, "What is to be created.", "OnboardingRequest")
        .responds(201, Response::json("What was created, with the secret of the token.", done))
        .fails(&[Failure::Conflict, Failure::Internal, Failure::Unavailable])
}

fn ping() -> Operation {
    Operation::open(OPERATIONS, "GetPing", "Whether the process responds")
        .describe("Reads nothing from the store.")
        .responds(204, with_version(Response::empty("The process responds.")))
}

/// Adds the headers that `--influxdb-version` sets.
fn with_version(response: Response) -> Response {
    response
        .header(
            "X-Influxdb-Version",
            Header::sometimes(
                "The version of the database behind, if the server is to show one.",
                Schema::string(),
            ),
        )
        .header(
            "X-Influxdb-Build",
            Header::sometimes("The build of that database.", Schema::string()),
        )
}

fn health() -> Operation {
    let body = Schema::reference("HealthCheck");
    Operation::open(OPERATIONS, "GetHealth", "Whether the process responds, with its version")
        .describe("Reads nothing from the store.")
        .responds(200, Response::json("The process responds.", body))
}

fn ready() -> Operation {
    let body = || Schema::reference("NotReady");
    let unavailable =
        error("The store does not respond, and no login is admitted from the cache.", body());
    let unavailable = unavailable
        .header("Retry-After", Header::always("Seconds after which to ask again.", seconds()));
    Operation::open(OPERATIONS, "GetReady", "Whether logins are possible")
        .describe("Reads from the store, so that a load balancer can choose servers by it.")
        .responds(200, Response::json("Logins are possible.", Schema::reference("Readiness")))
        .responds(500, error("The store responds with something that cannot be read.", body()))
        .responds(503, unavailable)
}

const IDENTITY: [(&str, &str); 4] = [
    ("X-Portcullis-Authorization", "The id of the authorization or of the API token."),
    ("X-Portcullis-Org", "The id of its org."),
    ("X-Portcullis-User", "The id of its user."),
    ("X-Portcullis-Username", "The username, percent-encoded; empty for an API token."),
];

fn with_identity(response: Response) -> Response {
    IDENTITY.into_iter().fold(response, |response, (name, description)| {
        response.header(name, Header::always(description, Schema::string()))
    })
}

fn refusal(description: &str) -> Response {
    with_version(error(description, Schema::reference("V1Error")))
        .header("Cache-Control", no_store())
}

fn no_store() -> Header {
    Header::always(
        "Always `no-store`: a stored decision would outlive a revoked credential.",
        Schema::string(),
    )
}

fn forward_auth() -> Operation {
    let allowed = with_identity(Response::empty("The request is allowed, for this identity."));
    let denied =
        with_identity(refusal("The credentials are right, and the request is not permitted."));
    let text = Schema::string;
    Operation::open(DECISIONS, "GetForwardAuth", "Decide on a request")
        .describe(
            "Authenticates the original request by its `Authorization`, or by `u` and `p` in the \
             query of its URI, and checks the permission that the proxy names, or else the one \
             that the path needs: `/write`, `/query`, `/api/v2/write` and `/api/v1/prom`. Any \
             method is accepted and means the same. The names of the two headers can be set \
             (`--forward-auth-uri-header`, `--forward-auth-method-header`).",
        )
        .secured_by(&["Basic", "Bearer", "Token", "OriginalURI"])
        .parameters([
            Parameter::query(
                "permission",
                "The permission that is needed, such as `write:orgs/ORG/buckets/ID`. Not together \
                 with `check`.",
                text(),
            ),
            Parameter::query(
                "check",
                "`none`: valid credentials are enough.",
                Schema::one_of(["none"]),
            ),
            Parameter::header("X-Original-URI", "Path and query of the original request.", text()),
            Parameter::header("X-Original-Method", "The method of the original request.", text()),
        ])
        .responds(204, allowed.header("Cache-Control", no_store()))
        .responds(
            401,
            refusal("The credentials are missing or refused.").header(
                "WWW-Authenticate",
                Header::always("The challenge for browsers and 1.x clients.", text()),
            ),
        )
        .responds(
            403,
            denied.header(
                "X-Portcullis-Denial",
                Header::always("The reason, escaped for a string of JSON.", text()),
            ),
        )
        .responds(429, refusal("Too many logins have failed.").header("Retry-After", retry_after()))
        .responds(503, refusal("No decision is possible now.").header("Retry-After", retry_after()))
}
