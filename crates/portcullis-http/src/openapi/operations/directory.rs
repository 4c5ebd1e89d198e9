//! Operations on orgs, users and buckets.

use super::{
    Path, id_filter, if_match, if_name_is_free, if_none_match, managed, path_id, text_filter,
    with_body, with_dry_run,
};
use crate::api::page::{DEFAULT_LIMIT, MAX_LIMIT};
use crate::openapi::DIRECTORY;
use crate::openapi::model::{Operation, Parameter, PathItem, Response, Schema};
use crate::openapi::responses::Failure;
use crate::openapi::schemas::id_of;

pub(super) fn paths() -> [Path; 9] {
    let all = PathItem::default;
    let item = |description| PathItem::default().parameter(path_id(description));
    let org = item("The id of the org.").get(get_org()).patch(change(&ORG)).delete(delete(&ORG));
    let user =
        item("The id of the user.").get(get_user()).patch(change(&USER)).delete(delete(&USER));
    let bucket = item("The id of the bucket.").get(get_bucket());
    let bucket = bucket.patch(change(&BUCKET)).delete(delete(&BUCKET));
    [
        ("/api/v2/orgs", all().get(list_orgs()).post(create(&ORG))),
        ("/api/v2/orgs/{id}", org),
        ("/api/v2/users", all().get(list_users()).post(create(&USER))),
        ("/api/v2/users/{id}", user),
        (
            "/api/v2/users/{id}/password",
            item("The id of the user.")
                .post(refused("PostUsersIDPassword"))
                .put(refused("PutUsersIDPassword")),
        ),
        ("/api/v2/buckets", all().get(list_buckets()).post(create(&BUCKET))),
        ("/api/v2/buckets/{id}", bucket),
        ("/api/v2/me", all().get(me())),
        (
            "/api/v2/me/password",
            all().post(refused("PostMePassword")).put(refused("PutMePassword")),
        ),
    ]
}

/// What the operations on orgs, users and buckets are named, and what they need.
struct Kind {
    /// Operations: create, get, change, delete.
    ids: [&'static str; 4],
    /// Their summaries: create, change, delete.
    summaries: [&'static str; 3],
    schema: &'static str,
    bodies: [&'static str; 2],
    needed_to_create: &'static str,
    needed_to_change: &'static str,
    /// What is deleted with it.
    deletes: &'static str,
}

const ORG: Kind = Kind {
    ids: ["PostOrgs", "GetOrgsID", "PatchOrgsID", "DeleteOrgsID"],
    summaries: ["Create an org", "Change an org", "Delete an org"],
    schema: "Organization",
    bodies: ["PostOrganizationRequest", "PatchOrganizationRequest"],
    needed_to_create: "`write` on all orgs",
    needed_to_change: "`write` on the org",
    deletes: "Its credentials, buckets and DBRP mappings are deleted with it.",
};

const USER: Kind = Kind {
    ids: ["PostUsers", "GetUsersID", "PatchUsersID", "DeleteUsersID"],
    summaries: ["Create a user", "Change a user", "Delete a user"],
    schema: "User",
    bodies: ["PostUserRequest", "PatchUserRequest"],
    needed_to_create: "`write` on all users",
    needed_to_change: "`write` on the user",
    deletes: "Its credentials are deleted with it.",
};

const BUCKET: Kind = Kind {
    ids: ["PostBuckets", "GetBucketsID", "PatchBucketsID", "DeleteBucketsID"],
    summaries: ["Create a bucket", "Change a bucket", "Delete a bucket"],
    schema: "Bucket",
    bodies: ["PostBucketRequest", "PatchBucketRequest"],
    needed_to_create: "`write` on all buckets of the org",
    needed_to_change: "`write` on the bucket, and for another name also on all buckets or on the \
                       DBRP mappings of the org",
    deletes: "Its DBRP mappings are deleted with it. Permissions on it stay, and allow nothing.",
};

fn create(kind: &Kind) -> Operation {
    let [id, on_one @ ..] = kind.ids;
    let ([summary, _, _], [body, _]) = (kind.summaries, kind.bodies);
    let operation = managed(DIRECTORY, id, summary)
        .describe(format!("The caller needs {}.", kind.needed_to_create));
    let created = one("It is created.", kind.schema);
    with_body(if_name_is_free(operation), "What is to be created.", body)
        .responds(201, created.links(&on_one, &["id"]))
        .fails(&[Failure::NotFound, Failure::Conflict])
}

fn change(kind: &Kind) -> Operation {
    let [_, _, id, _] = kind.ids;
    let ([_, summary, _], [_, body]) = (kind.summaries, kind.bodies);
    let operation = managed(DIRECTORY, id, summary).describe(format!(
        "Credentials and permissions refer to ids, and stay when the name changes. The caller \
         needs {}.",
        kind.needed_to_change
    ));
    with_body(if_match(operation), "What is to be changed.", body)
        .responds(200, one("As it is now.", kind.schema))
        .fails(&[Failure::NotFound, Failure::Conflict])
}

fn delete(kind: &Kind) -> Operation {
    let ([_, _, _, id], [_, _, summary]) = (kind.ids, kind.summaries);
    let operation = managed(DIRECTORY, id, summary)
        .describe(format!("{} The caller needs `write` on it.", kind.deletes));
    with_dry_run(if_match(operation)).fails(&[Failure::Invalid, Failure::NotFound])
}

fn refused(operation_id: &'static str) -> Operation {
    managed(DIRECTORY, operation_id, "Refused: a user has no password")
        .describe("Always 400. The message names the credentials that there are.")
        .fails(&[Failure::Invalid, Failure::TooSlow, Failure::TooLarge])
}

/// The parameters of a list in pages.
fn page() -> [Parameter; 4] {
    let limit = Schema::integer().range(1, MAX_LIMIT).default_value(DEFAULT_LIMIT.get());
    [
        Parameter::query("limit", "The length of a page.", limit),
        Parameter::query(
            "offset",
            "How many to skip before the page. Not together with `after`.",
            Schema::integer().range(0, u32::MAX as usize).default_value(0),
        ),
        Parameter::query(
            "after",
            "The id before the page. Not together with an `offset` above 0.",
            id_of(),
        ),
        Parameter::query(
            "descending",
            "From the highest id to the lowest.",
            Schema::boolean().default_value(false),
        ),
    ]
}

/// A list in pages. A parameter that it does not have is refused.
fn list(operation_id: &'static str, summary: &'static str, needed: &str) -> Operation {
    managed(DIRECTORY, operation_id, summary)
        .describe(format!(
            "Lists those that match every filter and on which the caller has {needed}, ascending \
             by id. A parameter that is not described here, that cannot be decoded, or that \
             occurs twice is refused. A name that does not exist or that the caller may not read \
             is 404."
        ))
        .fails(&[Failure::Invalid, Failure::NotFound])
}

/// One record, with its tag.
fn one(description: &str, schema: &str) -> Response {
    Response::json(description, Schema::reference(schema)).tagged_if_record(
        "The tag of the record: its revision. Missing where the server that embeds Portcullis has its own \
         users, orgs and buckets.",
    )
}

fn get(operation_id: &'static str, summary: &'static str, needed: &str) -> Operation {
    if_none_match(managed(DIRECTORY, operation_id, summary))
        .describe(format!("The caller needs {needed}."))
        .fails(&[Failure::Invalid, Failure::NotFound])
}

fn list_orgs() -> Operation {
    list("GetOrgs", "List orgs", "`read` on the org")
        .parameters([
            text_filter("org", "Only the one with this name."),
            id_filter("orgID", "Only the one with this id."),
        ])
        .parameters(page())
        .responds(200, Response::json("The orgs.", Schema::reference("Organizations")))
}

fn get_org() -> Operation {
    get("GetOrgsID", "Get an org", "`read` on the org")
        .responds(200, one("The org.", "Organization"))
}

fn list_users() -> Operation {
    list("GetUsers", "List users", "`read` on the user")
        .parameters([
            text_filter("name", "Only the one with this name."),
            id_filter("id", "Only the one with this id."),
        ])
        .parameters(page())
        .responds(200, Response::json("The users.", Schema::reference("Users")))
}

fn get_user() -> Operation {
    get("GetUsersID", "Get a user", "`read` on the user").responds(200, one("The user.", "User"))
}

fn list_buckets() -> Operation {
    list("GetBuckets", "List buckets", "`read` on the bucket")
        .parameters([
            text_filter("name", "Only those with this name, one in each org."),
            id_filter("id", "Only the one with this id."),
            text_filter("org", "Only those of the org with this name."),
            id_filter("orgID", "Only those of the org with this id."),
        ])
        .parameters(page())
        .responds(200, Response::json("The buckets.", Schema::reference("Buckets")))
}

fn get_bucket() -> Operation {
    get("GetBucketsID", "Get a bucket", "`read` on the bucket; without it, the response is 404")
        .responds(200, one("The bucket.", "Bucket"))
}

fn me() -> Operation {
    if_none_match(managed(DIRECTORY, "GetMe", "Get the caller's user"))
        .describe("The user that the caller's API token belongs to.")
        .responds(200, one("The user.", "User"))
        .fails(&[Failure::Invalid, Failure::NotFound])
}
