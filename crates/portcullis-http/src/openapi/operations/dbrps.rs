//! Operations on DBRP mappings.

use super::{
    Path, id_filter, if_match, if_name_is_free, if_none_match, managed, path_id, text_filter,
    with_body, with_dry_run,
};
use crate::openapi::DBRPS;
use crate::openapi::model::{Operation, Parameter, PathItem, Response, Schema};
use crate::openapi::responses::Failure;

pub(super) fn paths() -> [Path; 2] {
    let one = PathItem::default()
        .parameter(path_id("The id of the mapping; of a virtual one, that of its bucket."));
    [
        ("/api/v2/dbrps", PathItem::default().get(list()).post(if_name_is_free(create()))),
        (
            "/api/v2/dbrps/{id}",
            one.get(if_none_match(get())).patch(if_match(update())).delete(if_match(delete())),
        ),
    ]
}

/// The parameters that name the org, one of which is needed.
fn org() -> [Parameter; 2] {
    [
        id_filter("orgID", "The id of the org. It or `org` is needed."),
        text_filter("org", "The name of the org, if `orgID` is missing."),
    ]
}

/// The tag of a mapping.
const TAG: &str = "The tag of the database with all of its mappings. A virtual mapping has none.";

fn mapping(description: &str) -> Response {
    Response::json(description, Schema::reference("DBRPGet")).tagged_if_record(TAG)
}

fn list() -> Operation {
    managed(DBRPS, "GetDBRPs", "List DBRP mappings")
        .describe(
            "Lists the mappings of an org that match every filter, in one page. Those of a bucket \
             on which the caller has no `read` are left out.",
        )
        .parameters(org())
        .parameters([
            id_filter("id", "Only the one with this id."),
            id_filter("bucketID", "Only those to the bucket with this id."),
            text_filter("db", "Only those of this database."),
            text_filter("rp", "Only those of this retention policy."),
            Parameter::query(
                "default",
                "Only those that are the default, or that are not.",
                Schema::boolean(),
            ),
        ])
        .responds(200, Response::json("The mappings.", Schema::reference("DBRPs")))
        .fails(&[Failure::Invalid, Failure::NotFound])
}

fn create() -> Operation {
    let operation = managed(DBRPS, "PostDBRP", "Create a DBRP mapping").describe(
        "The first mapping of a database is its default. One that becomes the default takes the \
         place of the one before. The caller needs `read` and `write` on the bucket, and `write` \
         on all buckets or on the DBRP mappings of the org.",
    );
    let created = Response::json("The mapping that was created.", Schema::reference("DBRP"))
        .tagged_if_record(TAG)
        .links(&["GetDBRPsID", "PatchDBRPID", "DeleteDBRPID"], &["id", "orgID"]);
    with_body(operation, "The mapping.", "DBRPCreate")
        .responds(201, created)
        .fails(&[Failure::NotFound, Failure::Conflict])
}

fn get() -> Operation {
    managed(DBRPS, "GetDBRPsID", "Get a DBRP mapping")
        .describe("The caller needs `read` on the bucket.")
        .parameters(org())
        .responds(200, mapping("The mapping."))
        .fails(&[Failure::Invalid, Failure::NotFound])
}

fn update() -> Operation {
    let operation = managed(DBRPS, "PatchDBRPID", "Change a DBRP mapping")
        .describe(
            "Changes the retention policy, or makes it the default or not. A virtual mapping \
             cannot be changed. The caller needs the same permissions as to create it.",
        )
        .parameters(org());
    with_body(operation, "What is to be changed.", "DBRPUpdate")
        .responds(200, mapping("The mapping as it is now."))
        .fails(&[Failure::NotFound, Failure::Conflict])
}

fn delete() -> Operation {
    let operation = managed(DBRPS, "DeleteDBRPID", "Delete a DBRP mapping")
        .describe(
            "If it is the default, another mapping of the database becomes the default. A virtual \
             one cannot be deleted. The caller needs the same permissions as to create it, without \
             `read`.",
        )
        .parameters(org());
    with_dry_run(operation).fails(&[Failure::Invalid, Failure::NotFound])
}
