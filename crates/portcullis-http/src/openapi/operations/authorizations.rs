//! Operations on authorizations.

use super::{
    Path, if_match, if_name_is_free, if_none_match, managed, of_credentials, path_id, with_body,
    with_dry_run,
};
use crate::openapi::AUTHORIZATIONS;
use crate::openapi::model::{Operation, Parameter, PathItem, Response, Schema, Server};
use crate::openapi::responses::Failure;
use crate::openapi::schemas::permission_text;

pub(super) fn paths() -> [Path; 5] {
    let item = || PathItem::default().servers(servers());
    let one = || item().parameter(path_id("The id of the authorization."));
    [
        ("/legacy/authorizations", item().get(list()).post(if_name_is_free(create()))),
        (
            "/legacy/authorizations/{id}",
            one().get(if_none_match(get())).patch(if_match(update())).delete(if_match(delete())),
        ),
        ("/legacy/authorizations/{id}/password", one().post(if_match(set_password()))),
        (
            "/legacy/authorizations/{id}/password/previous",
            one().delete(if_match(end_previous_password())),
        ),
        ("/legacy/authorizations/{id}/permissions", one().put(if_match(set_permissions()))),
    ]
}

/// Operations on one authorization.
const ON_ONE: [&str; 6] = [
    "GetLegacyAuthorizationsID",
    "PatchLegacyAuthorizationsID",
    "DeleteLegacyAuthorizationsID",
    "PostLegacyAuthorizationsIDPassword",
    "DeleteLegacyAuthorizationsIDPasswordPrevious",
    "PutLegacyAuthorizationsIDPermissions",
];

/// Both prefixes, which behave alike.
fn servers() -> Vec<Server> {
    vec![
        Server { url: "/", description: "The prefix of InfluxData's document." },
        Server {
            url: "/private",
            description: "The prefix of existing clients, which links in responses have.",
        },
    ]
}

fn authorization(description: &str) -> Response {
    Response::json(description, Schema::reference("Authorization")).tagged()
}

fn has_password() -> Parameter {
    Parameter::query(
        "hasPassword",
        "Whether the response has the member `hasPassword`.",
        Schema::boolean(),
    )
    .not_empty()
}

fn list() -> Operation {
    managed(AUTHORIZATIONS, "GetLegacyAuthorizations", "List authorizations")
        .describe(
            "Lists those that match every filter and that the caller may read: it needs `read` on \
             the authorization and on its user. A filter that cannot be decoded is refused. If \
             `id`, `authID` or `token` is given and nothing matches, the response is \
             404.\n\nWithout `limit` the whole list is sent while it is read. A failure in the \
             middle of it ends the connection, so that a part is never valid JSON.",
        )
        .parameters(of_credentials())
        .parameters([
            Parameter::query(
                "token",
                "Only the one with this username. An empty one is refused: it would list all.",
                Schema::string().length(1, None),
            )
            .not_empty(),
            Parameter::query(
                "permits",
                "Only those whose permissions allow this one: `ACTION:TYPE`, `ACTION:TYPE/ID`, \
                 `ACTION:orgs/ORG/TYPE` or `ACTION:orgs/ORG/TYPE/ID`.",
                permission_text(),
            ),
            has_password(),
        ])
        .responds(200, Response::json("The authorizations.", Schema::reference("Authorizations")))
        .fails(&[Failure::Invalid, Failure::NotFound])
}

fn create() -> Operation {
    let operation = managed(AUTHORIZATIONS, "PostLegacyAuthorizations", "Create an authorization")
        .describe(
            "Creates an authorization without a password; it cannot log in before one is set. The \
             caller needs `write` on the authorizations of the org and on the user, and must hold \
             every permission that it grants.",
        );
    with_body(operation, "The authorization.", "AuthorizationPostRequest")
        .responds(201, authorization("The authorization that was created.").links(&ON_ONE, &["id"]))
        .fails(&[Failure::NotFound, Failure::Conflict])
}

fn get() -> Operation {
    managed(AUTHORIZATIONS, "GetLegacyAuthorizationsID", "Get an authorization")
        .describe("The caller needs `read` on the authorization and on its user.")
        .parameters([has_password()])
        .responds(200, authorization("The authorization."))
        .fails(&[Failure::Invalid, Failure::NotFound])
}

fn update() -> Operation {
    let operation = managed(
        AUTHORIZATIONS,
        "PatchLegacyAuthorizationsID",
        "Change status or description",
    )
    .describe(
        "Deactivating an authorization stops its logins at once. The caller needs `read` and \
         `write` on the authorization and on its user.",
    );
    with_body(operation, "What is to be changed.", "AuthorizationUpdateRequest")
        .responds(200, authorization("The authorization as it is now."))
        .fails(&[Failure::NotFound])
}

fn delete() -> Operation {
    let operation = managed(
        AUTHORIZATIONS,
        "DeleteLegacyAuthorizationsID",
        "Delete an authorization",
    )
    .describe(
        "Deletes it with its password, and frees its username. The caller needs `write` on the \
             authorization and on its user.",
    );
    with_dry_run(operation).fails(&[Failure::Invalid, Failure::NotFound])
}

fn set_password() -> Operation {
    let operation =
        managed(AUTHORIZATIONS, "PostLegacyAuthorizationsIDPassword", "Set the password").describe(
            "The password before stops working at once, or with `keepPrevious` after a time. A refused one changes nothing, and the \
             message has a line for every rule that it breaks. The caller needs `write` on the \
             user of the authorization.",
        );
    with_body(operation, "The new password.", "PasswordResetBody")
        .responds(204, Response::empty("The password is set."))
        .fails(&[Failure::NotFound])
}

fn end_previous_password() -> Operation {
    managed(
        AUTHORIZATIONS,
        "DeleteLegacyAuthorizationsIDPasswordPrevious",
        "End the previous password",
    )
    .describe(
        "Ends the password before the present one, which `keepPrevious` keeps for a time. Without one, \
         nothing is changed. The caller needs `write` on the user of the authorization. InfluxDB has no \
         such operation.",
    )
    .responds(204, Response::empty("There is no previous password."))
    .fails(&[Failure::Invalid, Failure::NotFound])
}

fn set_permissions() -> Operation {
    let operation = managed(
        AUTHORIZATIONS,
        "PutLegacyAuthorizationsIDPermissions",
        "Replace all permissions",
    )
    .describe(
        "The password stays. The caller needs `read` and `write` on the authorization and on its \
         user, and must hold every permission that it grants. InfluxDB has no such operation.",
    );
    with_body(operation, "The permissions.", "PermissionsRequest")
        .responds(200, authorization("The authorization as it is now."))
        .fails(&[Failure::NotFound])
}
