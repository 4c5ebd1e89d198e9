//! What is requested of an authenticated request: nothing more, a permission, or a write.

use portcullis::{Action, Permission};

use super::request::{AmbiguousRequest, OriginalUri, names_permission};
use crate::extract::query::{self, PercentEncoded};
use crate::v1::query::QueryRequest;

/// The paths of the database whose URI alone determines the requested permission.
pub(super) const WRITE: &str = "/write";
pub(super) const WRITE_V2: &str = "/api/v2/write";
pub(super) const QUERY: &str = "/query";
const PROMETHEUS_READ: &str = "/api/v1/prom/read";
const PROMETHEUS_WRITE: &str = "/api/v1/prom/write";

/// The paths that a page in a browser may request.
pub(super) const OF_BROWSERS: [&str; 3] = [WRITE, WRITE_V2, QUERY];

/// What is requested of an authenticated request.
pub(super) enum Question {
    /// Nothing more than valid credentials.
    Identity,
    /// This permission.
    Permission(Permission),
    /// The permission to do this to the target.
    Access(Action, Target),
    /// The permission, if there is one, and what these statements need.
    Query(Option<Permission>, Query),
}

/// The query of a request to `/query`.
pub(super) struct Query {
    pub(super) statements: String,
    pub(super) parameters: Option<String>,
    pub(super) database: Option<String>,
    pub(super) policy: Option<String>,
}

impl Query {
    pub(super) fn request(&self) -> QueryRequest<'_> {
        QueryRequest {
            q: &self.statements,
            db: self.database.as_deref(),
            rp: self.policy.as_deref(),
            params: self.parameters.as_deref(),
        }
    }
}

/// The bucket that a request reads or writes, by name.
pub(super) struct Target {
    pub(super) database: String,
    /// The retention policy, if the request names one.
    pub(super) policy: Option<String>,
}

impl Target {
    /// Takes `db` and `rp` of `/write`.
    fn of_database(database: String, policy: Option<String>) -> Result<Self, &'static str> {
        // Of `a/b` with `rp=c`, the database could be `a` or `a/b`.
        if policy.is_some() && database.contains('/') {
            return Err("there is a `/` in `db` together with an `rp`");
        }
        Ok(Self { database, policy })
    }

    /// Reads `DB` or `DB/RP`, the `bucket` of `/api/v2/write`.
    fn of_bucket(name: &str) -> Result<Self, &'static str> {
        let Some((database, policy)) = name.split_once('/') else {
            return Ok(Self { database: name.to_owned(), policy: None });
        };
        // InfluxDB 1.8 reads `DB/` as `DB`, 2.x as a name of its own.
        if database.is_empty() || policy.is_empty() {
            return Err("a `/` in `bucket` has nothing before or after it");
        }
        Ok(Self { database: database.to_owned(), policy: Some(policy.to_owned()) })
    }
}

impl Question {
    /// Reads the proxy's own query and, where that names no permission, the original URI. The error
    /// is the reason for the log.
    pub(super) fn read(
        own_query: &str,
        uri: Option<&OriginalUri<'_>>,
        may_have_form: bool,
    ) -> Result<Self, String> {
        let database = uri.map_or(Ok(None), OriginalUri::database).map_err(reason)?;
        let policy = uri.map_or(Ok(None), OriginalUri::policy).map_err(reason)?;
        let bucket = uri.map_or(Ok(None), OriginalUri::bucket).map_err(reason)?;
        // If the proxy passed on the client's query, the client would choose the permission.
        if uri.is_some_and(|uri| uri.names_permission) {
            return Err(
                "the client's query has a `permission` or `check`, and the proxy may pass \
                        that query on"
                    .to_owned(),
            );
        }
        if uri.is_some_and(|uri| uri.relabels) {
            return Err("`extra_label` and `extra_filters` are for the proxy to set".to_owned());
        }
        let own = Self::read_own(own_query)?;
        // A permission does not say what a query does.
        let is_query = uri.is_some_and(|uri| uri.path == QUERY);
        let permission = match own {
            Some(Self::Permission(permission)) if is_query => Some(permission),
            Some(question) => return Ok(question),
            None => None,
        };
        let uri = uri.ok_or("the proxy names no permission and sends no original URI")?;
        match uri.path {
            // VictoriaMetrics reads `db` at both paths.
            WRITE if bucket.is_some() => {
                Err("there is a `bucket`, which /write does not have".to_owned())
            }
            WRITE_V2 if database.is_some() || policy.is_some() => {
                Err("there is a `db` or `rp`, which /api/v2/write does not have".to_owned())
            }
            WRITE => {
                let database = database.ok_or("there is no `db`")?;
                Ok(Self::Access(Action::Write, Target::of_database(database, policy)?))
            }
            WRITE_V2 => {
                let bucket = bucket.ok_or("there is no `bucket`")?;
                Ok(Self::Access(Action::Write, Target::of_bucket(&bucket)?))
            }
            QUERY | PROMETHEUS_READ | PROMETHEUS_WRITE if may_have_form => Err(
                "by its `Content-Type` the body may hold parameters as well, which are not seen \
                     here"
                    .to_owned(),
            ),
            PROMETHEUS_READ | PROMETHEUS_WRITE => {
                let database = database.ok_or("there is no `db`")?;
                let action = match uri.path {
                    PROMETHEUS_READ => Action::Read,
                    _ => Action::Write,
                };
                Ok(Self::Access(action, Target::of_database(database, policy)?))
            }
            QUERY => {
                let statements = uri.statements().map_err(reason)?;
                let statements =
                    statements.ok_or("there is no `q` in the URL, and a body is not seen here")?;
                let parameters = uri.parameters().map_err(reason)?;
                Ok(Self::Query(permission, Query { statements, parameters, database, policy }))
            }
            _ => Err("the proxy names no permission, and only those of /write, /query, \
                      /api/v2/write and /api/v1/prom follow from the path"
                .to_owned()),
        }
    }

    /// Reads `permission` or `check`. An unreadable one is an error: it must not count as absent.
    fn read_own(own_query: &str) -> Result<Option<Self>, String> {
        let mut found =
            query::parameters(own_query).filter(|parameter| names_permission(*parameter));
        let Some(parameter) = found.next() else {
            return Ok(None);
        };
        if found.next().is_some() {
            return Err("the proxy names two permissions".to_owned());
        }
        let value = parameter.value().map(PercentEncoded::decode);
        let value = value.and_then(|value| String::from_utf8(value).ok());
        let value = value.ok_or("the proxy's parameter is not encoded for a URL")?;
        if parameter.is("permission") {
            // The error quotes the value, and is logged.
            let permission = value.parse::<Permission>().map_err(|error| {
                format!("the proxy's `permission`: {}", error.to_string().escape_debug())
            })?;
            return Ok(Some(Self::Permission(permission)));
        }
        if value == "none" {
            return Ok(Some(Self::Identity));
        }
        Err("the proxy's `check` is not `none`".to_owned())
    }
}

fn reason(ambiguous: AmbiguousRequest) -> String {
    ambiguous.to_string()
}
