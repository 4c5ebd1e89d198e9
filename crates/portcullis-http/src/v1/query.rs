//! Decisions on InfluxQL queries.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use portcullis::{
    Action, BucketId, DbrpFilter, Decision, Engine, Error, OrgId, Principal, Resource, ResourceType,
};
use portcullis_influxql::{
    Database, InvalidParameters, Need, Parameters, ParseError, StatementKind,
};
use thiserror::Error;

use crate::v1::buckets::UpstreamSemantics;

/// A query as a client sends it: the parameters of `/query`, decoded, each of which is given at most once.
///
/// The decision holds for these values. The database must receive the same ones and no others: InfluxDB
/// reads parameters from the URL and from a form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryRequest<'a> {
    /// `q`: the statements.
    pub q: &'a str,
    /// `db`: the database of statements that name none.
    pub db: Option<&'a str>,
    /// `rp`: its retention policy.
    pub rp: Option<&'a str>,
    /// `params`: JSON with values for what begins with `$` in the statements.
    pub params: Option<&'a str>,
}

/// Decides InfluxQL queries: compares what each statement needs with permissions.
///
/// A statement that reads a database needs read on its bucket in the credential's org, and write if it
/// writes it. Databases and retention policies are created and dropped with write on all buckets of the org,
/// and the server's state is read with permissions on `instance`. Users and grants are never managed by
/// queries. All statements are allowed, or the query is denied.
///
/// ```
/// use portcullis::{BucketId, Engine, Name, OrgId, Permission, Principal, Resource, UserId};
/// use portcullis::store::MemoryStore;
/// use portcullis_http::{QueryDecision, QueryPolicy, QueryRequest};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Engine::builder(MemoryStore::new()?).build().await?;
/// let org = engine.create_org(Name::new("acme")?).await?;
/// let bucket = engine.create_bucket(org.id, Name::new("telemetry")?).await?;
/// let may_read = Permission::read(Resource::bucket(org.id, bucket.id));
/// let reader = Principal::trusted(org.id, UserId::from_u64(1), [may_read]);
///
/// let policy = QueryPolicy::new(engine);
/// let db = Some("telemetry");
/// let query = QueryRequest { q: "SELECT mean(v) FROM cpu", db, ..Default::default() };
/// assert!(policy.decide(&reader, query).await?.is_allowed());
/// let query = QueryRequest { q: "SELECT v INTO copy FROM cpu", db, ..Default::default() };
/// let QueryDecision::Denied(denial) = policy.decide(&reader, query).await? else { panic!() };
/// assert_eq!(denial.to_string(), "not authorized to execute statement 1, SELECT: it needs write to \"telemetry\"");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct QueryPolicy {
    engine: Engine,
    upstream: UpstreamSemantics,
    filters_databases: bool,
}

impl QueryPolicy {
    /// Decides by the engine's buckets.
    pub fn new(engine: Engine) -> Self {
        Self { engine, upstream: UpstreamSemantics::default(), filters_databases: false }
    }

    /// Sets what a retention policy means to the database. Default: [`UpstreamSemantics::V1`].
    pub fn upstream(self, upstream: UpstreamSemantics) -> Self {
        Self { upstream, ..self }
    }

    /// Sets whether responses to `SHOW DATABASES` hold only the databases that a credential may
    /// read or write ([`QueryPolicy::databases`]). If they hold all, the statement needs read on all
    /// buckets of the org. Default: no.
    pub fn filters_databases(self, filters_databases: bool) -> Self {
        Self { filters_databases, ..self }
    }

    /// Decides whether the principal may make the query.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](portcullis::ErrorKind::Unavailable) and
    /// [`ErrorKind::Internal`](portcullis::ErrorKind::Internal) when a bucket cannot be looked up.
    pub async fn decide(
        &self,
        principal: &Principal,
        query: QueryRequest<'_>,
    ) -> Result<QueryDecision, Error> {
        self.decide_by(principal.org(), query, |action, resource| principal.check(action, resource))
            .await
    }

    /// Decides it by a check of permissions, for a credential of the org.
    ///
    /// # Errors
    ///
    /// As [`QueryPolicy::decide`].
    pub async fn decide_by(
        &self,
        org: OrgId,
        query: QueryRequest<'_>,
        check: impl Fn(Action, &Resource) -> Decision,
    ) -> Result<QueryDecision, Error> {
        let parameters = match query.params.map(Parameters::from_json).transpose() {
            Ok(parameters) => parameters,
            Err(error) => return Ok(QueryDecision::Unreadable(error.into())),
        };
        let parameters = parameters.as_ref().unwrap_or(Parameters::NONE);
        let statements = match portcullis_influxql::parse(query.q, parameters) {
            Ok(statements) => statements,
            Err(error) => return Ok(QueryDecision::Unreadable(error.into())),
        };
        let mut allowed = Vec::with_capacity(statements.len());
        for (number, statement) in statements.iter().enumerate() {
            let kind = statement.kind;
            let mut buckets = Vec::new();
            for need in &statement.needs {
                match self.check_need(org, need, query, &check).await? {
                    Ok(bucket) => buckets.extend(bucket),
                    Err(reason) => {
                        let text = statement.text_without_literals().into();
                        let denial = QueryDenial { number: number + 1, kind, text, reason };
                        return Ok(QueryDecision::Denied(denial));
                    }
                }
            }
            allowed.push(AllowedStatement { kind, text: statement.text.into(), buckets });
        }
        Ok(QueryDecision::Allowed(allowed))
    }

    /// Returns the names of the databases that the principal may read or write, sorted: those that a DBRP
    /// mapping or the name of a bucket, `DB` or `DB/RP`, leads from to a bucket that it holds. All mappings
    /// and buckets of the org are read.
    ///
    /// # Errors
    ///
    /// As [`QueryPolicy::decide`].
    pub async fn databases(&self, principal: &Principal) -> Result<Vec<String>, Error> {
        let org = principal.org();
        let mut names = BTreeSet::new();
        for mapping in self.engine.list_dbrps(&DbrpFilter::all(org)).await? {
            let bucket = Resource::bucket(org, mapping.bucket);
            let holds = |action| principal.check(action, &bucket).is_allowed();
            let is_named = !mapping.database.is_empty() && !mapping.retention_policy.is_empty();
            if is_named && (holds(Action::Read) || holds(Action::Write)) {
                names.insert(mapping.database);
            }
        }
        Ok(names.iter().map(|name| name.to_string()).collect())
    }

    /// Returns the bucket that is used, if the need is one of a bucket and is met. The inner error is the
    /// reason why a need is not met.
    async fn check_need(
        &self,
        org: OrgId,
        need: &Need<'_>,
        query: QueryRequest<'_>,
        check: &impl Fn(Action, &Resource) -> Decision,
    ) -> Result<Result<Option<(Action, BucketId)>, DenialReason>, Error> {
        let instance = Resource::all(ResourceType::Instance);
        let buckets = Resource::all(ResourceType::Buckets).in_org(org);
        let (action, resource) = match need {
            Need::Read(database) | Need::Write(database) => {
                let action = match need {
                    Need::Read(_) => Action::Read,
                    _ => Action::Write,
                };
                let Some(database) = DatabaseName::of(database, query) else {
                    return Ok(Err(DenialReason::NoDatabase));
                };
                let (name, policy) = (&*database.name, database.policy.as_deref());
                // Of `a/b` with a retention policy, the database could be `a` or `a/b`.
                let found = match policy.is_some() && name.contains('/') {
                    true => None,
                    false => self.upstream.find_bucket(&self.engine, org, name, policy).await?,
                };
                let is_allowed =
                    |bucket: &BucketId| check(action, &Resource::bucket(org, *bucket)).is_allowed();
                return Ok(match found.filter(is_allowed) {
                    Some(bucket) => Ok(Some((action, bucket))),
                    // The same whether there is the bucket or not.
                    None => Err(DenialReason::Database(action, database.to_string())),
                });
            }
            Need::ListDatabases if self.filters_databases => return Ok(Ok(None)),
            Need::ListDatabases | Need::ReadEveryDatabase => (Action::Read, buckets),
            Need::ManageDatabases => (Action::Write, buckets),
            Need::ReadInstance => (Action::Read, instance),
            Need::ManageInstance => (Action::Write, instance),
            // Users and grants, and what is not known here.
            _ => return Ok(Err(DenialReason::Users)),
        };
        Ok(match check(action, &resource).is_allowed() {
            true => Ok(None),
            // In words: a permission names ids, which are not for clients.
            false => Err(DenialReason::Other(match need {
                Need::ListDatabases => Need::ReadEveryDatabase.to_string(),
                need => need.to_string(),
            })),
        })
    }
}

/// The database that a statement is about.
struct DatabaseName<'a> {
    name: Cow<'a, str>,
    policy: Option<Cow<'a, str>>,
}

impl<'a> DatabaseName<'a> {
    /// The one that the statement names, or the one of the request; `None` if there is neither.
    fn of(database: &'a Database<'_>, query: QueryRequest<'a>) -> Option<Self> {
        let policy = database.retention_policy.as_deref();
        let (name, policy) = match &database.name {
            Some(name) => (&**name, policy),
            None => {
                let rp = query.rp.filter(|rp| !rp.is_empty());
                (query.db.filter(|db| !db.is_empty())?, policy.or(rp))
            }
        };
        Some(Self { name: Cow::Borrowed(name), policy: policy.map(Cow::Borrowed) })
    }
}

impl fmt::Display for DatabaseName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name)?;
        match &self.policy {
            Some(policy) => write!(f, ".{policy:?}"),
            None => Ok(()),
        }
    }
}

/// The decision on a query.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum QueryDecision {
    /// All statements are allowed: these. There are none in an empty query.
    Allowed(Vec<AllowedStatement>),
    /// One of them is not: 403.
    Denied(QueryDenial),
    /// The query cannot be read: 400, with the message after `error parsing query: ` or on its own.
    Unreadable(UnreadableQuery),
}

impl QueryDecision {
    /// Returns whether the query may be executed.
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }
}

/// A statement that is allowed, and the buckets that it uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedStatement {
    kind: StatementKind,
    text: Box<str>,
    buckets: Vec<(Action, BucketId)>,
}

impl AllowedStatement {
    /// Returns which statement it is.
    pub const fn kind(&self) -> StatementKind {
        self.kind
    }

    /// Returns its text, without the semicolon. It may hold literals that are not for logs.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the buckets that its databases and retention policies select, each with the permission
    /// that was checked. They are in the order in which the statement names them, and there are none for a
    /// statement that is about no database in particular.
    pub fn buckets(&self) -> &[(Action, BucketId)] {
        &self.buckets
    }
}

/// Why a query is denied. The text is fit for the client: it names the statement and what the statement
/// needs, and does not tell whether there is such a bucket.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("not authorized to execute statement {number}, {kind}: {reason}")]
pub struct QueryDenial {
    number: usize,
    kind: StatementKind,
    text: Box<str>,
    reason: DenialReason,
}

impl QueryDenial {
    /// Returns the number of the first statement that is denied, counted from 1.
    pub const fn number(&self) -> usize {
        self.number
    }

    /// Returns its text for logs, without literals.
    pub fn statement_text(&self) -> &str {
        &self.text
    }

    /// Returns which statement it is.
    pub const fn statement(&self) -> StatementKind {
        self.kind
    }
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
enum DenialReason {
    #[error("it needs {} {}", access(*.0), .1)]
    Database(Action, String),
    #[error("it names no database, and neither does the request")]
    NoDatabase,
    #[error("it needs {0}")]
    Other(String),
    #[error("users and their permissions are managed by Portcullis, not by queries")]
    Users,
}

const fn access(action: Action) -> &'static str {
    match action {
        Action::Read => "read of",
        Action::Write => "write to",
    }
}

/// Why a query cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum UnreadableQuery {
    /// `params` is not a JSON object.
    #[error("error parsing query parameters: {0}")]
    Parameters(String),
    /// `q` is no query.
    #[error("error parsing query: {0}")]
    Query(#[from] ParseError),
}

impl From<InvalidParameters> for UnreadableQuery {
    fn from(error: InvalidParameters) -> Self {
        Self::Parameters(error.to_string())
    }
}
