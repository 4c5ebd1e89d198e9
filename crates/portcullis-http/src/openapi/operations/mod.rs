//! The operations, by path.

mod api_tokens;
mod authorizations;
mod dbrps;
mod directory;
mod server;

use super::Routes;
use super::model::{Map, Operation, Parameter, PathItem, Response, Schema};
use super::responses::Failure;
use super::schemas::{id_of, statuses, time};
use crate::api::list::MAX_LIMIT;
use crate::extract::body::MAX_BODY_BYTES;

/// All paths with their operations.
pub(super) fn paths(routes: Routes) -> Map<PathItem> {
    let management = authorizations::paths()
        .into_iter()
        .chain(directory::paths())
        .chain(api_tokens::paths())
        .chain(dbrps::paths())
        .chain([server::document()]);
    match routes {
        Routes::Management => management.collect(),
        Routes::Server => management.chain(server::paths()).collect(),
    }
}

/// A path with its operations.
type Path = (&'static str, PathItem);

/// An operation on behalf of a caller.
fn managed(tag: &'static str, operation_id: &'static str, summary: &'static str) -> Operation {
    Operation::open(tag, operation_id, summary).secured_by(&["Bearer", "Token"]).fails(&[
        Failure::Unauthorized,
        Failure::Forbidden,
        Failure::TooManyRequests,
        Failure::Internal,
        Failure::Unavailable,
    ])
}

/// Adds the body of a request, and the errors that its size, its form and its delay have.
fn with_body(operation: Operation, description: &'static str, schema: &str) -> Operation {
    debug_assert_eq!(MAX_BODY_BYTES, 1 << 20, "described in the document");
    operation.body(description, Schema::reference(schema)).fails(&[
        Failure::Invalid,
        Failure::TooSlow,
        Failure::TooLarge,
    ])
}

/// The filters and pages that lists of authorizations and of API tokens share.
fn of_credentials() -> [Parameter; 12] {
    [
        id_filter("userID", "Only those of the user with this id."),
        text_filter("user", "Only those of the user with this name."),
        id_filter("orgID", "Only those of the org with this id."),
        text_filter("org", "Only those of the org with this name."),
        id_filter("authID", "Only the one with this id."),
        id_filter("id", "The same as `authID`."),
        Parameter::query("status", "Only those with this status.", Schema::one_of(statuses())),
        Parameter::query(
            "expiresBefore",
            "Only those that expire before this time, or whose password does, with those that have \
             expired.",
            Schema::string().format("date-time"),
        ),
        Parameter::query(
            "unusedSince",
            "Only those that were not used since this time. One that was never used counts as used \
             when it was created.",
            time("Such as 90 days ago."),
        ),
        Parameter::query(
            "lastUsed",
            "Whether each has `lastUsedAt` and `lastUsedFrom`, where they are known. With \
             `unusedSince` each has.",
            Schema::boolean().default_value(false),
        )
        .not_empty(),
        Parameter::query(
            "limit",
            "The length of a page. Without it, the list has no pages.",
            Schema::integer().range(1, MAX_LIMIT),
        ),
        Parameter::query("after", "Only those with a higher id than this one.", id_of()),
    ]
}

/// The id in the path.
fn path_id(description: &'static str) -> Parameter {
    Parameter::path("id", description, id_of())
}

/// Adds the parameter `dryRun` and its response to a deletion.
fn with_dry_run(operation: Operation) -> Operation {
    let dry_run = Parameter::query(
        "dryRun",
        "Whether nothing is to be deleted, and the response counts what would be. Anything but one \
         `true` or `false` is refused.",
        Schema::boolean().default_value(false),
    );
    let preview = Schema::reference("DeletionPreview");
    operation
        .parameters([dry_run.not_empty()])
        .responds(200, Response::json("Nothing is deleted: `dryRun` is true.", preview))
        .responds(204, Response::empty("It is deleted."))
}

/// Adds the condition of a change: that the record is as the client has read it.
fn if_match(operation: Operation) -> Operation {
    let tags = Parameter::header(
        "If-Match",
        "Tags from `ETag`, with commas, of which the record must have one; `*` is every record. It is \
         checked after everything else, in the same commit as the change.",
        Schema::string(),
    );
    operation.parameters([tags]).fails(&[Failure::PreconditionFailed])
}

/// Adds the condition of a read: that the client does not have the record as it is.
fn if_none_match(operation: Operation) -> Operation {
    let tags = Parameter::header(
        "If-None-Match",
        "Tags from `ETag`, with commas. A record with one of them is not sent again.",
        Schema::string(),
    );
    let held = Response::empty("The client has the record as it is.").tagged();
    operation.parameters([tags]).responds(304, held)
}

/// Adds the condition of a creation: that the name is free.
fn if_name_is_free(operation: Operation) -> Operation {
    let star = Parameter::header(
        "If-None-Match",
        "With `*`, a name that is taken is 412 in place of 422.",
        Schema::string(),
    );
    operation.parameters([star]).fails(&[Failure::PreconditionFailed])
}

/// A filter by an id.
fn id_filter(name: &'static str, description: &'static str) -> Parameter {
    Parameter::query(name, description, id_of())
}

/// A filter by a text.
fn text_filter(name: &'static str, description: &'static str) -> Parameter {
    Parameter::query(name, description, Schema::string())
}
