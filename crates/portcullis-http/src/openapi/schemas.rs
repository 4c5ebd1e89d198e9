//! The shapes of requests and responses. Members are in the order in which responses have them.

use portcullis::{Action, ResourceType, Status, TrustState};

use super::Routes;
use super::model::{Map, Schema};
use crate::extract::body::MAX_ELEMENTS;

/// Every shape, by its name.
pub(super) fn all(routes: Routes) -> Map<Schema> {
    let management = [
        ("Id", id()),
        ("Status", status()),
        ("Error", error()),
        ("Authorization", authorization()),
        ("Authorizations", authorizations()),
        ("AuthorizationPostRequest", authorization_post()),
        ("AuthorizationUpdateRequest", authorization_update()),
        ("PasswordResetBody", password_reset()),
        ("PermissionsRequest", permissions_request()),
        ("Permission", permission()),
        ("Resource", resource()),
        ("PermissionWithNames", permission_with_names()),
        ("ResourceWithNames", resource_with_names()),
        ("ApiToken", api_token()),
        ("ApiTokens", api_tokens()),
        ("ApiTokenPostRequest", api_token_post()),
        ("DeletionPreview", deletion_preview()),
        ("Organization", organization()),
        ("PostOrganizationRequest", tenant_post("A new org.")),
        ("PatchOrganizationRequest", tenant_patch()),
        ("Organizations", page("orgs", "Organization")),
        ("User", user()),
        ("Users", page("users", "User")),
        ("PostUserRequest", tenant_post("A new user.")),
        ("PatchUserRequest", tenant_patch()),
        ("Bucket", bucket()),
        ("PostBucketRequest", bucket_post()),
        ("PatchBucketRequest", bucket_patch()),
        ("Buckets", page("buckets", "Bucket")),
        ("PageLinks", page_links()),
        ("DBRP", dbrp()),
        ("DBRPs", dbrps()),
        ("DBRPGet", dbrp_get()),
        ("DBRPCreate", dbrp_create()),
        ("DBRPUpdate", dbrp_update()),
    ];
    let of_server = [
        ("SetupAllowed", setup_allowed()),
        ("OnboardingRequest", setup_request()),
        ("OnboardingResponse", setup_response()),
        ("HealthCheck", health()),
        ("Readiness", readiness()),
        ("NotReady", not_ready()),
        ("V1Error", v1_error()),
    ];
    match routes {
        Routes::Management => management.into_iter().collect(),
        Routes::Server => management.into_iter().chain(of_server).collect(),
    }
}

/// A reference to the shape of an id.
pub(super) fn id_of() -> Schema {
    Schema::reference("Id")
}

const ID_PATTERN: &str = "^(?!0{16}$)[0-9a-fA-F]{16}$";
const ID_EXAMPLE: &str = "0c3f9a5e17d2b400";

fn id() -> Schema {
    let id = Schema::string().pattern(ID_PATTERN).example(ID_EXAMPLE);
    id.describe("An id: 16 hexadecimal digits, not all zero. Responses have it in lower case.")
}

/// An optional id in a request.
fn optional_id(description: &str) -> Schema {
    Schema::string().or_null().pattern(ID_PATTERN).describe(description)
}

/// A permission in text form.
pub(super) fn permission_text() -> Schema {
    const ID: &str = "(?!0{16})[0-9a-fA-F]{16}";
    let types = ResourceType::ALL.map(ResourceType::as_str).join("|");
    let text = Schema::string().pattern(format!("^(read|write):(orgs/{ID}/)?({types})(/{ID})?$"));
    text.example(format!("write:orgs/{ID_EXAMPLE}/buckets"))
}

/// Both statuses, as requests and responses have them.
pub(super) fn statuses() -> [&'static str; 2] {
    [Status::Active.as_str(), Status::Inactive.as_str()]
}

fn status() -> Schema {
    Schema::one_of(statuses())
        .describe("Whether it may be used. What is inactive keeps its data and can be activated.")
}

fn text(description: &str) -> Schema {
    Schema::string().describe(description)
}

pub(super) fn time(description: &str) -> Schema {
    text(description).format("date-time").example("2026-03-01T12:00:00Z")
}

fn path(description: &str, example: String) -> Schema {
    text(description).example(example)
}

fn error() -> Schema {
    Schema::object("An error.")
        .required("code", error_code())
        .required("message", text("What is wrong, for a person. It never holds a secret."))
}

fn error_code() -> Schema {
    text("The kind of the error, for a program.").example("not found")
}

fn v1_error() -> Schema {
    Schema::object("An error for v1 clients, which show the member `error`.")
        .required("code", error_code())
        .required("message", text("What is wrong, for a person."))
        .required("error", text("The same as `message`."))
}

const TOKEN: &str = "The username: any text, compared byte by byte, unique over all orgs.";

fn authorization() -> Schema {
    let links = Schema::object("The paths of what belongs to it.")
        .required(
            "self",
            path("The authorization.", format!("/private/legacy/authorizations/{ID_EXAMPLE}")),
        )
        .required("user", path("Its user.", format!("/api/v2/users/{ID_EXAMPLE}")));
    Schema::object("A credential of v1 clients. No response contains its password.")
        .required("id", id_of())
        .required("token", text(TOKEN).example("telegraf"))
        .required("status", Schema::reference("Status"))
        .required("description", text("Any text; empty if there is none."))
        .required("orgID", id_of())
        .required("org", text("The name of the org."))
        .required("userID", id_of())
        .required("user", text("The name of the user."))
        .required(
            "permissions",
            Schema::array(Schema::reference("PermissionWithNames"))
                .describe("What it may do, in the order in which it was granted."),
        )
        .required("links", links)
        .optional(
            "hasPassword",
            Schema::boolean().describe(
                "Whether it has a password. Only if the request has the parameter of this name.",
            ),
        )
        .required("createdAt", time("When it was created."))
        .required("updatedAt", time("When it was last changed, but for its password."))
        .optional("expiresAt", time("From when on it is refused. Missing if it has no end."))
        .optional(
            "passwordExpiresAt",
            time("From when on its password is refused. Missing if it has no end."),
        )
        .optional("allowedNetworks", networks().describe(SHOWN_NETWORKS))
        .optional("lastUsedAt", time(LAST_USED_AT))
        .optional("lastUsedFrom", last_used_from())
        .optional(
            "passwordSetAt",
            time("When its password was set. Only beside `previousPassword`."),
        )
        .optional("previousPassword", previous_password())
}

const LAST_USED_AT: &str = "When it was last used, recorded at most once an hour unless the server is \
                            configured otherwise. Missing if it was not used, and in lists that do not \
                            ask for it.";

fn last_used_from() -> Schema {
    text("The address of the client that used it last, if it was known.").example("192.0.2.7")
}

fn previous_password() -> Schema {
    Schema::object("The password before the present one, which still works. Missing if there is none.")
        .optional("setAt", time("When it was set. Missing if that is not recorded."))
        .required("endsAt", time("From when on it is refused."))
        .optional(
            "endsOnUse",
            Schema::boolean().describe(
                "Whether it ends earlier: at the first login with the present password. Missing if not.",
            ),
        )
        .optional(
            "lastUsedAt",
            time("When it was last used since the present password was set, recorded as `lastUsedAt` of the \
                  authorization is. Missing if it was not used."),
        )
}

const SHOWN_NETWORKS: &str = "From where it may be used. Missing for everywhere.";

/// IP addresses and networks.
fn networks() -> Schema {
    Schema::array(text("An IP address, or a network in CIDR notation.").example("10.0.0.0/8"))
}

/// The time from which on a credential is refused, in a request.
fn end(description: &str) -> Schema {
    let end = Schema::string().or_null().format("date-time").example("2036-03-01T12:00:00Z");
    end.describe(description)
}

/// The members of a new credential that restrict it.
fn with_restrictions(schema: Schema) -> Schema {
    schema
        .optional("expiresAt", end("From when on it is refused, in the future. If missing, never."))
        .optional(
            "allowedNetworks",
            networks().or_null().count(0, MAX_NETWORKS).describe(
                "From where it may be used. If missing or empty, from everywhere. Otherwise an \
                 unknown address is refused.",
            ),
        )
}

const MAX_NETWORKS: usize = portcullis::AllowedNetworks::MAX;

fn authorizations() -> Schema {
    let links = Schema::object("The paths of the list and of its next page.")
        .required("self", path("The list.", "/private/legacy/authorizations".to_owned()))
        .optional("next", text("The next page, if the request had a `limit` and there is one."));
    Schema::object("A list of authorizations, ascending by id.").required("links", links).required(
        "authorizations",
        Schema::array(Schema::reference("Authorization"))
            .describe("Those that match and that the caller may read."),
    )
}

fn authorization_post() -> Schema {
    let new = Schema::object("A new authorization.")
        .required("token", text(TOKEN).length(1, Some(32_768)).example("telegraf"))
        .required("orgID", id_of())
        .optional(
            "userID",
            optional_id("The user that it belongs to. If missing, the caller's own."),
        )
        .required(
            "permissions",
            Schema::array(Schema::reference("Permission")).count(1, MAX_ELEMENTS).describe(
                "What it may do. The caller must hold each, and each must be of the org.",
            ),
        )
        .optional("status", initial_status())
        .optional("description", Schema::string().or_null().describe("Any text."));
    with_restrictions(new)
}

/// The status of a new record.
fn initial_status() -> Schema {
    let status = Schema::string().or_null().pattern("^(active|inactive)?$").example("active");
    status.describe("`active` or `inactive`. If missing or empty, `active`.")
}

/// Another status of a record.
fn changed_status() -> Schema {
    let status = Schema::string().or_null().pattern("^(active|inactive)$");
    status.describe("`active` or `inactive`.")
}

fn api_token() -> Schema {
    let links = Schema::object("The paths of what belongs to it.")
        .required("self", path("The token.", format!("/api/v2/authorizations/{ID_EXAMPLE}")))
        .required("user", path("Its user.", format!("/api/v2/users/{ID_EXAMPLE}")));
    let permissions = Schema::array(Schema::reference("PermissionWithNames"));
    Schema::object("A credential of callers.")
        .required("id", id_of())
        .optional("token", text("The secret, only in the response that creates the token."))
        .required("status", Schema::reference("Status"))
        .required("description", text("Any text; empty if there is none."))
        .required("orgID", id_of())
        .required("org", text("The name of the org."))
        .required("userID", id_of())
        .required("user", text("The name of the user."))
        .required("permissions", permissions.describe("What it may do."))
        .required("links", links)
        .optional("expiresAt", time("From when on it is refused. Missing if it has no end."))
        .optional("allowedNetworks", networks().describe(SHOWN_NETWORKS))
        .optional("lastUsedAt", time(LAST_USED_AT))
        .optional("lastUsedFrom", last_used_from())
}

fn api_tokens() -> Schema {
    let links = Schema::object("The paths of the list and of its next page.")
        .required("self", path("The list.", "/api/v2/authorizations".to_owned()))
        .optional("next", text("The next page, if the request had a `limit` and there is one."));
    let tokens = Schema::array(Schema::reference("ApiToken"));
    Schema::object("A list of API tokens, ascending by id.").required("links", links).required(
        "authorizations",
        tokens.describe("Those that match and that the caller may read, without their secrets."),
    )
}

fn api_token_post() -> Schema {
    let new = Schema::object("A new API token.")
        .required("orgID", id_of())
        .optional("userID", optional_id("The user that it belongs to. If missing, the caller's."))
        .required(
            "permissions",
            Schema::array(Schema::reference("Permission"))
                .count(1, MAX_ELEMENTS)
                .describe("What it may do. The caller must hold each."),
        )
        .optional("status", initial_status())
        .optional("description", Schema::string().or_null().describe("Any text."));
    with_restrictions(new)
}

fn count_of(description: &str) -> Schema {
    Schema::integer().at_least(0).describe(description)
}

fn deletion_preview() -> Schema {
    Schema::object("What the deletion would delete. Nothing was deleted.")
        .required("dryRun", Schema::boolean().describe("Always true."))
        .required("authorizations", count_of("Authorizations, the credentials of v1 clients."))
        .required("apiTokens", count_of("API tokens."))
        .required("buckets", count_of("Buckets."))
        .required("dbrps", count_of("DBRP mappings, without virtual ones."))
        .required(
            "grants",
            count_of("Permissions of other credentials that would stay, and allow nothing."),
        )
        .required(
            "complete",
            Schema::boolean().describe("Whether all was counted; if not, the counts are too low."),
        )
}

fn authorization_update() -> Schema {
    Schema::object("What is to be changed. A missing member stays as it is.")
        .optional("status", changed_status())
        .optional("description", Schema::string().or_null().describe("Any text."))
        .optional("expiresAt", end("From when on it is refused, in the future; `null` for never."))
        .optional(
            "passwordExpiresAt",
            end(
                "From when on the present password of an authorization is refused, in the future; \
                 `null` for never. A new password has no end.",
            ),
        )
        .optional(
            "allowedNetworks",
            networks()
                .or_null()
                .count(0, MAX_NETWORKS)
                .describe("From where it may be used; empty or `null` for everywhere."),
        )
}

fn password_reset() -> Schema {
    let password = text(
        "The new password, of 8 to 72 bytes. A server with `--strong-passwords` also requires \
         three of four classes of characters.",
    );
    // Lengths are those of characters here. Two may be eight bytes.
    let password = password.format("password").length(2, Some(72)).write_only();
    let keep = text(
        "For how long the previous password still works: a whole number and `s`, `m`, `h` or `d`, from 1s \
         to 90d. If missing, it ends at once.",
    );
    let on_use = "Whether the previous password ends at the first login with the new one, if that is \
                  earlier. Needs `keepPrevious`.";
    Schema::object("A new password.")
        .required("password", password)
        .optional("keepPrevious", keep.pattern("^0*[1-9][0-9]{0,6}[smhd]$").or_null())
        .optional("endPreviousOnUse", Schema::boolean().or_null().describe(on_use))
}

fn permissions_request() -> Schema {
    Schema::object("All permissions that the authorization is to have.").required(
        "permissions",
        Schema::array(Schema::reference("Permission")).count(1, MAX_ELEMENTS).describe(
            "They replace those that it has. The caller must hold each, and each must be of the \
             org.",
        ),
    )
}

fn action() -> Schema {
    Schema::one_of(Action::ALL.map(Action::as_str)).describe("Whether it reads or writes.")
}

fn resource_type() -> Schema {
    Schema::one_of(ResourceType::ALL.map(ResourceType::as_str))
        .describe("The type. `buckets` is what v1 clients use: to them, a bucket is a database.")
        .example("buckets")
}

fn permission() -> Schema {
    Schema::object("An action on a resource.")
        .required("action", action())
        .required("resource", Schema::reference("Resource"))
}

fn resource() -> Schema {
    Schema::object(
        "What a permission is for. Without `id` and `orgID` it is every resource of the type.",
    )
    .required("type", resource_type())
    .optional("id", optional_id("The one resource with this id. If missing, all of the org."))
    .optional("orgID", optional_id("The org of the resources. If missing, those of every org."))
}

fn permission_with_names() -> Schema {
    Schema::object("An action on a resource.")
        .required("action", action())
        .required("resource", Schema::reference("ResourceWithNames"))
}

fn resource_with_names() -> Schema {
    Schema::object(
        "What a permission is for. Without `id` and `orgID` it is every resource of the type.",
    )
    .required("type", resource_type())
    .optional("id", id_of())
    .optional("orgID", id_of())
    .optional("name", text("The name of the bucket, org or user with the id, if it exists."))
    .optional("org", text("The name of the org with `orgID`, if it exists."))
}

fn self_link(description: &str, example: String) -> Schema {
    Schema::object("Its path.").required("self", path(description, example))
}

fn organization() -> Schema {
    Schema::object("An org: what authorizations and buckets belong to.")
        .required("links", self_link("The org.", format!("/api/v2/orgs/{ID_EXAMPLE}")))
        .required("id", id_of())
        .required("name", text("The name, unique.").example("acme"))
        .required("description", text("Always empty."))
        .required("status", Schema::reference("Status"))
}

fn user() -> Schema {
    Schema::object("A user: what authorizations and API tokens belong to.")
        .required("links", self_link("The user.", format!("/api/v2/users/{ID_EXAMPLE}")))
        .required("id", id_of())
        .required("name", text("The name, unique.").example("ada"))
        .required("status", Schema::reference("Status"))
}

fn bucket() -> Schema {
    let links = Schema::object("The paths of what belongs to it.")
        .required("self", path("The bucket.", format!("/api/v2/buckets/{ID_EXAMPLE}")))
        .required("org", path("Its org.", format!("/api/v2/orgs/{ID_EXAMPLE}")));
    let rules = Schema::array(Schema::object("A rule.")).count(0, 0);
    Schema::object("A bucket: what permissions name. A v1 client calls it a database.")
        .required("id", id_of())
        .required("orgID", id_of())
        .required("type", text("Always `user`."))
        .required("name", text("The name, unique in the org.").example("telemetry"))
        .required(
            "retentionRules",
            rules.describe("Always empty: Portcullis keeps no data of buckets."),
        )
        .required("links", links)
}

fn new_name() -> Schema {
    text("The name, of 1 to 4,096 bytes.").length(1, Some(4_096))
}

fn tenant_post(description: &str) -> Schema {
    Schema::object(description)
        .required("name", new_name().example("acme"))
        .optional("status", initial_status())
}

fn tenant_patch() -> Schema {
    Schema::object("What is to be changed. A missing member stays as it is.")
        .optional("name", new_name().or_null())
        .optional("status", changed_status())
}

fn retention_rules() -> Schema {
    let seconds = |description| Schema::number().or_null().at_least(0).describe(description);
    let rule = Schema::object("A rule.")
        .or_null()
        .optional("everySeconds", seconds("How long points are kept."))
        .optional("shardGroupDurationSeconds", seconds("The time of a shard group."));
    Schema::array(rule)
        .or_null()
        .count(0, 1)
        .describe("Accepted and not kept: Portcullis keeps no data of buckets.")
}

fn bucket_post() -> Schema {
    Schema::object("A new bucket.")
        .required("orgID", id_of())
        .required("name", new_name().example("telemetry"))
        .optional("retentionRules", retention_rules())
}

fn bucket_patch() -> Schema {
    Schema::object("What is to be changed. A missing member stays as it is.")
        .optional("name", new_name().or_null())
        .optional("retentionRules", retention_rules())
}

fn setup_allowed() -> Schema {
    Schema::object("Whether the store can be set up.").required(
        "allowed",
        Schema::boolean().describe("Whether it has no org, user or credential yet."),
    )
}

fn setup_request() -> Schema {
    let secret = Schema::string().or_null().pattern("^([!-~]{16,512})?$").write_only();
    let secret = secret.describe(
        "The secret of the operator token: 16 to 512 visible ASCII characters. If missing or \
         empty, one is generated.",
    );
    let password = Schema::string().or_null().write_only();
    Schema::object("The first org, user and bucket.")
        .required("username", text("The name of the user.").length(1, Some(4_096)))
        .required("org", text("The name of the org.").length(1, Some(4_096)))
        .required("bucket", text("The name of the bucket.").length(1, Some(4_096)))
        .optional("token", secret)
        .optional("password", password.describe("Accepted and not kept: users have no password."))
}

fn setup_response() -> Schema {
    Schema::object("What was created.")
        .required("user", Schema::reference("User"))
        .required("org", Schema::reference("Organization"))
        .optional("bucket", Schema::reference("Bucket"))
        .required("auth", Schema::reference("ApiToken"))
}

fn page(member: &'static str, element: &str) -> Schema {
    let elements = Schema::array(Schema::reference(element));
    Schema::object("A page of a list.")
        .required("links", Schema::reference("PageLinks"))
        .required(member, elements.describe("Those that match and that the caller may read."))
}

fn page_links() -> Schema {
    Schema::object("The paths of this page and of those beside it. They keep every filter.")
        .required("self", text("This page."))
        .optional("next", text("The next page, if there is one."))
        .optional("prev", text("The page before, if this one has an `offset`."))
}

const DATABASE: &str = "The database, as v1 clients name it: 1 to 1,024 bytes of printable \
                        characters, without `/` and `\\`, and neither `.` nor `..`.";
const RETENTION_POLICY: &str = "The retention policy, by the same rules as `database`.";
const IS_DEFAULT: &str = "Whether it is also the mapping of the database without a retention \
                          policy. A database has exactly one such mapping.";

fn dbrp() -> Schema {
    Schema::object("A DBRP mapping: the bucket that a database and a retention policy are.")
        .required("id", id_of())
        .required("database", text(DATABASE).example("telemetry"))
        .required("retention_policy", text(RETENTION_POLICY).example("year"))
        .required("default", Schema::boolean().describe(IS_DEFAULT))
        .required(
            "virtual",
            Schema::boolean().describe(
                "Whether it follows from the name of the bucket and is no record. It cannot be \
                 changed, and its id is that of the bucket.",
            ),
        )
        .required("orgID", id_of())
        .required("bucketID", id_of())
}

fn dbrps() -> Schema {
    let all = Schema::array(Schema::reference("DBRP"));
    Schema::object("All mappings that match.").required(
        "content",
        all.describe("Records first, then virtual ones, each ascending by id."),
    )
}

fn dbrp_get() -> Schema {
    Schema::object("One mapping.").required("content", Schema::reference("DBRP"))
}

/// The name of a database or of a retention policy in a request.
fn database_name(description: &str) -> Schema {
    text(description).pattern("^[^/\\\\]+$").length(1, Some(1_024))
}

fn dbrp_create() -> Schema {
    Schema::object("A new mapping. It needs `orgID` or `org`.")
        .optional("orgID", optional_id("The id of the org. If missing, `org` counts."))
        .optional("org", Schema::string().or_null().describe("The name of the org."))
        .required("bucketID", id_of())
        .required("database", database_name(DATABASE).example("telemetry"))
        .required("retention_policy", database_name(RETENTION_POLICY).example("year"))
        .optional("default", Schema::boolean().or_null().describe(IS_DEFAULT))
}

fn dbrp_update() -> Schema {
    Schema::object("What is to be changed. A missing member stays as it is.")
        .optional("retention_policy", database_name(RETENTION_POLICY).or_null())
        .optional("default", Schema::boolean().or_null().describe(IS_DEFAULT))
}

fn health() -> Schema {
    with_health(Schema::object("The process responds.")).required("version", version())
}

fn with_health(schema: Schema) -> Schema {
    schema
        .required("name", text("Always `portcullis`."))
        .required("message", text("The state, for a person."))
        .required("status", Schema::one_of(["pass", "fail"]).describe("The state, for a program."))
}

fn version() -> Schema {
    text("The version of the server.").example(env!("CARGO_PKG_VERSION"))
}

fn with_readiness(schema: Schema) -> Schema {
    with_health(schema)
        .required("version", version())
        .required(
            "state",
            Schema::one_of(TrustState::ALL.map(TrustState::as_str))
                .describe("Whether logins are admitted from the cache, and by what."),
        )
        .required(
            "feedAgeSeconds",
            Schema::number().or_null().describe(
                "Seconds since the last event of the store's change feed; `null` before the first \
                 one.",
            ),
        )
        .required(
            "changesFail",
            Schema::boolean().describe("Whether the last change could not be written."),
        )
}

fn readiness() -> Schema {
    with_readiness(Schema::object("Whether logins are possible, and what they rest on."))
}

fn not_ready() -> Schema {
    with_readiness(Schema::object("Why logins are not possible.").required("code", error_code()))
}
