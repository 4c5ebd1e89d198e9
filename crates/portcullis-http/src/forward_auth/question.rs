//! What is requested of an authenticated request: nothing more, a permission, or a write.

use portcullis::Permission;

use super::request::{OriginalUri, SingleValue, names_permission};
use crate::extract::query::{self, PercentEncoded};
use crate::v1::policy::{PROMETHEUS_READ, PROMETHEUS_WRITE, QUERY, V1Request, WRITE, WRITE_V2};

/// The paths that a page in a browser may request.
pub(super) const OF_BROWSERS: [&str; 3] = [WRITE, WRITE_V2, QUERY];

/// What is requested of an authenticated request.
pub(super) enum Question<'a> {
    /// Nothing more than valid credentials.
    Identity,
    /// This permission.
    Permission(Permission),
    /// The permission, if there is one, and what the original request needs.
    Request(Option<Permission>, Parameters<'a>),
}

/// The path and the parameters of the original request.
pub(super) struct Parameters<'a> {
    path: &'a str,
    database: Option<String>,
    policy: Option<String>,
    bucket: Option<String>,
    statements: Option<String>,
    parameters: Option<String>,
}

impl Parameters<'_> {
    pub(super) fn request(&self) -> V1Request<'_> {
        V1Request {
            path: self.path,
            db: self.database.as_deref(),
            rp: self.policy.as_deref(),
            bucket: self.bucket.as_deref(),
            q: self.statements.as_deref(),
            params: self.parameters.as_deref(),
        }
    }
}

/// Why nothing can be decided, so that the request is denied.
pub(super) enum Unclear {
    /// A body may hold what counts, and is not seen. The client is told.
    Body(&'static str),
    /// For the log.
    Other(String),
}

impl From<String> for Unclear {
    fn from(why: String) -> Self {
        Self::Other(why)
    }
}

impl<'a> Question<'a> {
    /// Reads the proxy's own query and, where that names no permission, the original URI.
    pub(super) fn read(
        own_query: &str,
        uri: Option<&OriginalUri<'a>>,
        may_have_form: bool,
    ) -> Result<Self, Unclear> {
        let text = |value: fn(&OriginalUri<'a>) -> SingleValue<'a>| match uri {
            Some(uri) => value(uri).text().map_err(|ambiguous| ambiguous.to_string()),
            None => Ok(None),
        };
        let database = text(|uri| uri.database)?;
        let policy = text(|uri| uri.policy)?;
        let bucket = text(|uri| uri.bucket)?;
        // If the proxy passed on the client's query, the client would choose the permission.
        if uri.is_some_and(|uri| uri.names_permission) {
            return Err(Unclear::Other(
                "the client's query has a `permission` or `check`, and the proxy may pass \
                        that query on"
                    .to_owned(),
            ));
        }
        if uri.is_some_and(|uri| uri.relabels) {
            let why = "`extra_label` and `extra_filters` are for the proxy to set";
            return Err(Unclear::Other(why.to_owned()));
        }
        let own = Self::read_own(own_query)?;
        // A permission does not say what a query does.
        let is_query = uri.is_some_and(|uri| uri.path == QUERY);
        let permission = match own {
            Some(Self::Permission(permission)) if is_query => Some(permission),
            Some(question) => return Ok(question),
            None => None,
        };
        let missing = || "the proxy names no permission and sends no original URI".to_owned();
        let uri = uri.ok_or_else(missing)?;
        match uri.path {
            QUERY | PROMETHEUS_READ | PROMETHEUS_WRITE if may_have_form => Err(Unclear::Body(
                "by its `Content-Type` the body may hold parameters as well, which are not seen here: \
                 send them in the URL, without a form",
            )),
            WRITE | WRITE_V2 | QUERY | PROMETHEUS_READ | PROMETHEUS_WRITE => {
                let (mut statements, mut parameters) = (None, None);
                if is_query {
                    statements = text(|uri| uri.statements)?;
                    if statements.is_none() {
                        return Err(Unclear::Body(
                            "there is no `q` in the URL, and a body is not seen here",
                        ));
                    }
                    parameters = text(|uri| uri.parameters)?;
                }
                let path = uri.path;
                let read = Parameters { path, database, policy, bucket, statements, parameters };
                Ok(Self::Request(permission, read))
            }
            _ => Err(Unclear::Other(
                "the proxy names no permission, and only those of /write, /query, /api/v2/write and \
                 /api/v1/prom follow from the path"
                    .to_owned(),
            )),
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
