//! Operations on API tokens.

use super::{
    Path, if_match, if_none_match, managed, of_credentials, path_id, with_body, with_dry_run,
};
use crate::openapi::API_TOKENS;
use crate::openapi::model::{Operation, Parameter, PathItem, Response, Schema};
use crate::openapi::responses::Failure;

pub(super) fn paths() -> [Path; 2] {
    let one = PathItem::default().parameter(path_id("The id of the API token."));
    [
        ("/api/v2/authorizations", PathItem::default().get(list()).post(create())),
        (
            "/api/v2/authorizations/{id}",
            one.get(if_none_match(get())).patch(if_match(update())).delete(if_match(delete())),
        ),
    ]
}

fn token(description: &str) -> Response {
    Response::json(description, Schema::reference("ApiToken")).tagged()
}

fn list() -> Operation {
    let secret = Parameter::query(
        "token",
        "Only the one with this secret. An empty one is refused: it would list all.",
        Schema::string().length(1, None),
    );
    managed(API_TOKENS, "GetAuthorizations", "List API tokens")
        .describe(
            "Lists those that match every filter and that the caller may read, without their \
             secrets. If `id`, `authID` or `token` is given and nothing matches, the response is \
             404. A failure in the middle of a list ends the connection.",
        )
        .parameters(of_credentials())
        .parameters([secret.not_empty()])
        .responds(200, Response::json("The API tokens.", Schema::reference("ApiTokens")))
        .fails(&[Failure::Invalid, Failure::NotFound])
}

fn create() -> Operation {
    let operation = managed(API_TOKENS, "PostAuthorizations", "Create an API token").describe(
        "The response has the secret in `token`, and no later one has it. The caller needs `write` \
         on the authorizations of the org and on the user, and must hold every permission that it \
         grants.",
    );
    let links = ["GetAuthorizationsID", "PatchAuthorizationsID", "DeleteAuthorizationsID"];
    let created = token("The API token that was created, with its secret.").links(&links, &["id"]);
    with_body(operation, "The API token.", "ApiTokenPostRequest")
        .responds(201, created)
        .fails(&[Failure::NotFound, Failure::Conflict])
}

fn get() -> Operation {
    managed(API_TOKENS, "GetAuthorizationsID", "Get an API token")
        .describe("The caller needs `read` on the token, as an authorization, and on its user.")
        .responds(200, token("The API token, without its secret."))
        .fails(&[Failure::Invalid, Failure::NotFound])
}

fn update() -> Operation {
    let operation = managed(API_TOKENS, "PatchAuthorizationsID", "Change an API token").describe(
        "Changes status or description. An inactive token stops working at once. The caller needs \
         `read` and `write` on the token and on its user.",
    );
    with_body(operation, "What is to be changed.", "AuthorizationUpdateRequest")
        .responds(200, token("The API token as it is now."))
        .fails(&[Failure::NotFound])
}

fn delete() -> Operation {
    let operation = managed(API_TOKENS, "DeleteAuthorizationsID", "Delete an API token")
        .describe("It stops working at once. The caller needs `write` on it and on its user.");
    with_dry_run(operation).fails(&[Failure::Invalid, Failure::NotFound])
}
