//! Decisions on requests of v1 clients, by path and parameters.

use std::fmt;

use portcullis::{Action, BucketId, Engine, Error, OrgId, Permission, Principal, Resource};
use thiserror::Error;

use crate::v1::buckets::UpstreamSemantics;
use crate::v1::query::{
    AllowedStatement, QueryDecision, QueryDenial, QueryPolicy, QueryRequest, UnreadableQuery,
};

/// The paths of the database that are decided.
pub(crate) const WRITE: &str = "/write";
pub(crate) const WRITE_V2: &str = "/api/v2/write";
pub(crate) const QUERY: &str = "/query";
pub(crate) const PROMETHEUS_READ: &str = "/api/v1/prom/read";
pub(crate) const PROMETHEUS_WRITE: &str = "/api/v1/prom/write";

/// A request of a v1 client: its path, and the parameters that a decision depends on. Each is decoded
/// and given at most once; an empty one is none.
///
/// The decision holds for these values. The database must receive the same ones and no others.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct V1Request<'a> {
    /// The path: `/write`, `/query`, `/api/v2/write`, `/api/v1/prom/read` or `/api/v1/prom/write`, byte by
    /// byte. Any other is invalid.
    pub path: &'a str,
    /// `db`: the database.
    pub db: Option<&'a str>,
    /// `rp`: its retention policy.
    pub rp: Option<&'a str>,
    /// `bucket` of `/api/v2/write`: `DB` or `DB/RP`.
    pub bucket: Option<&'a str>,
    /// `q` of `/query`: the statements.
    pub q: Option<&'a str>,
    /// `params` of `/query`: JSON with values for what begins with `$` in the statements.
    pub params: Option<&'a str>,
}

/// The statements may hold a password.
impl fmt::Debug for V1Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("V1Request")
            .field("path", &self.path)
            .field("db", &self.db)
            .field("rp", &self.rp)
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}

/// Decides requests of v1 clients: which bucket is read or written, or what the statements of a query
/// need, and whether a credential has the permission.
///
/// The rules are those of forward-auth (`docs/spec/forward-auth.md`) and of [`QueryPolicy`].
///
/// ```
/// use portcullis::{Engine, Name, OrgId, Permission, Principal, Resource, UserId};
/// use portcullis::store::MemoryStore;
/// use portcullis_http::{V1Decision, V1Policy, V1Request};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Engine::builder(MemoryStore::new()?).build().await?;
/// let org = engine.create_org(Name::new("acme")?).await?;
/// let bucket = engine.create_bucket(org.id, Name::new("telemetry")?).await?;
/// let may_read = Permission::read(Resource::bucket(org.id, bucket.id));
/// let reader = Principal::trusted(org.id, UserId::from_u64(1), [may_read]);
///
/// let policy = V1Policy::new(engine);
/// let write = V1Request { path: "/write", db: Some("telemetry"), ..Default::default() };
/// let V1Decision::Denied(denial) = policy.decide(&reader, write).await? else { panic!() };
/// assert_eq!(denial.to_string(), "not authorized to write to \"telemetry\"");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct V1Policy {
    engine: Engine,
    org: Option<OrgId>,
    upstream: UpstreamSemantics,
    queries: QueryPolicy,
}

impl V1Policy {
    /// Decides by the engine's buckets.
    pub fn new(engine: Engine) -> Self {
        let queries = QueryPolicy::new(engine.clone());
        Self { engine, org: None, upstream: UpstreamSemantics::default(), queries }
    }

    /// Sets the only org whose credentials are allowed. Default: any org, and two orgs with a bucket of
    /// the same name share the database of that name.
    pub fn org(self, org: impl Into<Option<OrgId>>) -> Self {
        Self { org: org.into(), ..self }
    }

    /// Sets what a retention policy means to the database. Default: [`UpstreamSemantics::V1`].
    pub fn upstream(self, upstream: UpstreamSemantics) -> Self {
        Self { upstream, queries: self.queries.upstream(upstream), ..self }
    }

    /// Sets whether responses to `SHOW DATABASES` are filtered, as [`QueryPolicy::filters_databases`] does.
    /// Default: no.
    pub fn filters_databases(self, filters_databases: bool) -> Self {
        Self { queries: self.queries.filters_databases(filters_databases), ..self }
    }

    /// Returns the policy for the queries among the requests.
    pub const fn queries(&self) -> &QueryPolicy {
        &self.queries
    }

    /// Decides whether the principal may make the request.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](portcullis::ErrorKind::Unavailable) and
    /// [`ErrorKind::Internal`](portcullis::ErrorKind::Internal) when a bucket cannot be looked up.
    pub async fn decide(
        &self,
        principal: &Principal,
        request: V1Request<'_>,
    ) -> Result<V1Decision, Error> {
        if !self.allows_org(principal) {
            return Ok(V1Decision::Denied(V1Denial::OtherOrg));
        }
        match Operation::of(request) {
            Err(why) => Ok(V1Decision::Invalid(why)),
            Ok(Operation::Access(action, target)) => {
                let permission = match self.permission(principal, action, target).await? {
                    Ok(permission) => permission,
                    Err(denial) => return Ok(V1Decision::Denied(denial)),
                };
                if principal.check(action, &permission.resource).is_allowed() {
                    return Ok(V1Decision::Allowed(Vec::new()));
                }
                let lacks = Some(permission);
                Ok(V1Decision::Denied(V1Denial::Access { action, name: target.to_string(), lacks }))
            }
            Ok(Operation::Query(query)) => {
                Ok(match self.queries.decide(principal, query).await? {
                    QueryDecision::Allowed(statements) => V1Decision::Allowed(statements),
                    QueryDecision::Denied(denial) => V1Decision::Denied(V1Denial::Query(denial)),
                    QueryDecision::Unreadable(why) => V1Decision::Unreadable(why),
                })
            }
        }
    }

    /// Returns whether credentials of the principal's org are allowed.
    pub(crate) fn allows_org(&self, principal: &Principal) -> bool {
        self.org.is_none_or(|org| org == principal.org())
    }

    /// Finds the permission that an access to the target needs. The inner error is why there is none.
    pub(crate) async fn permission(
        &self,
        principal: &Principal,
        action: Action,
        target: Target<'_>,
    ) -> Result<Result<Permission, V1Denial>, Error> {
        // InfluxDB 2.x tries ids first, and only then names.
        if self.upstream == UpstreamSemantics::V2
            && target.policy.is_none()
            && target.database.parse::<BucketId>().is_ok()
        {
            return Ok(Err(V1Denial::BucketLikeAnId));
        }
        let org = principal.org();
        let (database, policy) = (target.database, target.policy);
        let found = match (self.upstream, target.bucket) {
            // The DBRP mappings of InfluxDB 2.x are for databases.
            (UpstreamSemantics::V2, Some(name)) => self.engine.bucket_id(org, name).await?,
            _ => self.upstream.find_bucket(&self.engine, org, database, policy).await?,
        };
        Ok(match found {
            Some(bucket) => Ok(Permission::new(action, Resource::bucket(org, bucket))),
            None => Err(V1Denial::Access { action, name: target.to_string(), lacks: None }),
        })
    }
}

/// The decision on a request.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum V1Decision {
    /// It is allowed. For `/query` these are its statements; for the other paths there are none.
    Allowed(Vec<AllowedStatement>),
    /// The credential may not: 403.
    Denied(V1Denial),
    /// The request lacks a parameter, or databases could read it in two ways: 400.
    Invalid(&'static str),
    /// The statements cannot be read: 400.
    Unreadable(UnreadableQuery),
}

impl V1Decision {
    /// Returns whether the database may receive the request.
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }
}

/// Why a request is denied. The text is fit for the client: it does not tell whether there is such a
/// bucket.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum V1Denial {
    /// The credential is of another org than the only one that is allowed.
    #[error("the credential is of another org than this database is for")]
    OtherOrg,
    /// The credential may not read or write this database.
    #[error("not authorized to {} {name}", access(*.action))]
    Access {
        /// Whether it was to be read or written.
        action: Action,
        /// The database and its retention policy, in quotation marks.
        name: String,
        /// The permission that the credential lacks, for a log; `None` where there is no such bucket.
        lacks: Option<Permission>,
    },
    /// The bucket's name could be read as an id, which InfluxDB 2.x tries first.
    #[error("the database could read the bucket's name as an id")]
    BucketLikeAnId,
    /// A statement needs more than the credential has.
    #[error(transparent)]
    Query(QueryDenial),
}

const fn access(action: Action) -> &'static str {
    match action {
        Action::Read => "read from",
        Action::Write => "write to",
    }
}

/// What a request does to the database.
#[derive(Clone, Copy)]
pub(crate) enum Operation<'a> {
    /// It reads or writes points of this target.
    Access(Action, Target<'a>),
    /// It executes statements.
    Query(QueryRequest<'a>),
}

/// The bucket that a request reads or writes, by name.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) database: &'a str,
    /// The retention policy, if the request names one.
    pub(crate) policy: Option<&'a str>,
    /// The name as it was given, if the request names a bucket instead of a database.
    pub(crate) bucket: Option<&'a str>,
}

impl<'a> Operation<'a> {
    /// Reads path and parameters.
    ///
    /// # Errors
    ///
    /// The reason why they are invalid, fit for the client.
    pub(crate) fn of(request: V1Request<'a>) -> Result<Self, &'static str> {
        let given = |parameter: Option<&'a str>| parameter.filter(|text| !text.is_empty());
        let (db, rp) = (given(request.db), given(request.rp));
        let bucket = given(request.bucket);
        let of_database = |action| {
            let database = db.ok_or("there is no `db`")?;
            Ok(Self::Access(action, Target::of_database(database, rp)?))
        };
        match request.path {
            // VictoriaMetrics reads `db` at both paths.
            WRITE if bucket.is_some() => Err("there is a `bucket`, which /write does not have"),
            WRITE_V2 if db.is_some() || rp.is_some() => {
                Err("there is a `db` or `rp`, which /api/v2/write does not have")
            }
            WRITE | PROMETHEUS_WRITE => of_database(Action::Write),
            PROMETHEUS_READ => of_database(Action::Read),
            WRITE_V2 => {
                let bucket = bucket.ok_or("there is no `bucket`")?;
                Ok(Self::Access(Action::Write, Target::of_bucket(bucket)?))
            }
            QUERY => {
                let q = given(request.q).ok_or("there is no `q`")?;
                Ok(Self::Query(QueryRequest { q, db, rp, params: given(request.params) }))
            }
            _ => Err("only /write, /query, /api/v2/write and /api/v1/prom say what they need"),
        }
    }
}

impl<'a> Target<'a> {
    /// Takes `db` and `rp` of `/write`.
    fn of_database(database: &'a str, policy: Option<&'a str>) -> Result<Self, &'static str> {
        // Of `a/b` with `rp=c`, the database could be `a` or `a/b`.
        if policy.is_some() && database.contains('/') {
            return Err("there is a `/` in `db` together with an `rp`");
        }
        Ok(Self { database, policy, bucket: None })
    }

    /// Reads `DB` or `DB/RP`, the `bucket` of `/api/v2/write`.
    fn of_bucket(name: &'a str) -> Result<Self, &'static str> {
        let Some((database, policy)) = name.split_once('/') else {
            return Ok(Self { database: name, policy: None, bucket: Some(name) });
        };
        // InfluxDB 1.8 reads `DB/` as `DB`, 2.x as a name of its own.
        if database.is_empty() || policy.is_empty() {
            return Err("a `/` in `bucket` has nothing before or after it");
        }
        Ok(Self { database, policy: Some(policy), bucket: Some(name) })
    }
}

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.policy {
            Some(policy) => write!(f, "{:?}.{policy:?}", self.database),
            None => write!(f, "{:?}", self.database),
        }
    }
}
