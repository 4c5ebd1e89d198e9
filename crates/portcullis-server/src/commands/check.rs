//! `portcullis check`.

use std::net::IpAddr;
use std::{fmt, io};

use anyhow::bail;
use portcullis::{
    Action, Credentials, DatabaseBucket, Decision, Engine, Explanation, Identity, OrgId,
    Permission, PermissionSet, Refusal, Resource, Timestamp,
};
use portcullis_http::{QueryDecision, QueryPolicy, QueryRequest};
use serde::Serialize;

use crate::context::Context;
use crate::failure::Outcome;
use crate::passwords::{PasswordArgs, PolicyArgs, Secret};
use crate::permissions::PermissionArg;
use crate::resolve;
use crate::session::{AuthorizationRecord, Session, on_records};
use crate::table;
use crate::upstream::Semantics;

#[derive(clap::Args)]
#[command(after_help = "\
Exit status: 0 allowed; 1 denied, or wrong credentials; 2 not decided.

Without a password, only the credential itself is checked: its status, its user and org, and
its permissions. With one (--password-stdin, --password-file or PORTCULLIS_PASSWORD), the
login is checked as the server would.

A query is parsed as InfluxDB 1.x parses it; each of its statements is checked. --db is the database of
the request, which statements that name none are about.

Examples:
  portcullis check telegraf --write-bucket telemetry
  portcullis check grafana --db telemetry --query 'SELECT mean(v) FROM cpu'
  portcullis check telegraf --permission read:orgs/acme/tasks")]
pub(crate) struct Args {
    #[command(flatten)]
    username: UsernameArgs,

    #[command(flatten)]
    query: QueryArgs,

    #[command(flatten)]
    request: RequestArgs,

    /// The client's address: a credential with allowed networks is accepted only from these
    #[arg(long, value_name = "ADDRESS")]
    source: Option<IpAddr>,

    #[command(flatten)]
    password: PasswordArgs,

    #[command(flatten)]
    policy: PolicyArgs,
}

/// The username, as an argument or an option.
#[derive(clap::Args)]
struct UsernameArgs {
    /// The username to log in with
    // Not required where the option that conflicts with it is present.
    #[arg(value_name = "USERNAME", required = true, conflicts_with = "username")]
    positional: Option<String>,

    #[arg(long, value_name = "USERNAME", hide = true)]
    username: Option<String>,
}

/// What to check, in one of four ways.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct QueryArgs {
    /// Check this permission: read or write, a colon, and a resource by id or name, such as
    /// write:buckets/BUCKET
    #[arg(long, value_name = "TEXT")]
    permission: Option<PermissionArg>,

    /// Check read on this bucket of the credential's org, by id or name
    #[arg(long, value_name = "BUCKET")]
    read_bucket: Option<String>,

    /// Check write on this bucket of the credential's org, by id or name
    #[arg(long, value_name = "BUCKET")]
    write_bucket: Option<String>,

    /// Check what the statements of this InfluxQL query need
    #[arg(long, value_name = "TEXT")]
    query: Option<String>,
}

/// The parameters of a request with a query.
#[derive(clap::Args)]
struct RequestArgs {
    /// The database of the request with the query
    #[arg(long, value_name = "DB", requires = "query")]
    db: Option<String>,

    /// Its retention policy
    #[arg(long, value_name = "RP", requires = "query")]
    rp: Option<String>,

    /// JSON with values for names in the query that begin with `$`
    #[arg(long, value_name = "JSON", requires = "query")]
    params: Option<String>,

    /// What a retention policy without a bucket of its own means to the database: a part of its
    /// database (v1), or nothing (v2)
    #[arg(long, value_name = "v1|v2", default_value = "v1", requires = "query")]
    upstream_semantics: Semantics,
}

/// A query, and the request that it is in.
struct Statements {
    text: String,
    request: RequestArgs,
}

/// What to check. A bucket is looked up once the credential's org is known.
enum Query {
    Permission(PermissionArg),
    Bucket(Action, String),
    Statements(Statements),
}

impl QueryArgs {
    fn query(self, request: RequestArgs) -> anyhow::Result<Query> {
        match (self.permission, self.read_bucket, self.write_bucket, self.query) {
            (Some(permission), ..) => Ok(Query::Permission(permission)),
            (_, Some(bucket), ..) => Ok(Query::Bucket(Action::Read, bucket)),
            (_, _, Some(bucket), _) => Ok(Query::Bucket(Action::Write, bucket)),
            (.., Some(text)) => Ok(Query::Statements(Statements { text, request })),
            // clap requires one.
            (None, None, None, None) => bail!("there is no permission to check"),
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permission(permission) => permission.fmt(f),
            Self::Bucket(action, bucket) => write!(f, "{action} on the bucket {bucket}"),
            Self::Statements(statements) => f.write_str(&statements.text),
        }
    }
}

impl Statements {
    /// Decides on the query, and returns in addition which bucket the database of the request is.
    async fn decide(
        &self,
        session: &Session,
        org: OrgId,
        check: impl Fn(Action, &Resource) -> Decision,
    ) -> anyhow::Result<(QueryDecision, Option<String>)> {
        let RequestArgs { db, rp, params, upstream_semantics } = &self.request;
        let request = QueryRequest {
            q: &self.text,
            db: db.as_deref(),
            rp: rp.as_deref(),
            params: params.as_deref(),
        };
        let engine = session.decision_engine(org).await?;
        let bucket = match db {
            Some(db) => Some(bucket_of_database(session, &engine, org, db, rp.as_deref()).await?),
            None => None,
        };
        let policy = QueryPolicy::new(engine).upstream((*upstream_semantics).into());
        Ok((policy.decide_by(org, request, check).await?, bucket))
    }
}

/// Tells which bucket the database is, and by what.
async fn bucket_of_database(
    session: &Session,
    engine: &Engine,
    org: OrgId,
    db: &str,
    rp: Option<&str>,
) -> anyhow::Result<String> {
    let found = engine.database_bucket(org, db, rp).await?;
    let database = match rp {
        Some(rp) => format!("the database `{db}` with the retention policy `{rp}`"),
        None => format!("the database `{db}`"),
    };
    let (id, by) = match found {
        DatabaseBucket::Mapped(id) => (id, "by its DBRP mapping"),
        DatabaseBucket::Named(id) => (id, "by its name"),
        DatabaseBucket::Dangling => {
            return Ok(format!("{database} is mapped to a bucket that does not exist"));
        }
        DatabaseBucket::None => return Ok(format!("{database} has no bucket of its own")),
    };
    let name = session.bucket(id).await?.map(|bucket| format!("`{}` ", bucket.name));
    Ok(format!("{database} is the bucket {}{id}, {by}", name.unwrap_or_default()))
}

/// The result of a check.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    allowed: bool,
    username: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    permission: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    /// The number of the statement that is denied, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    statement: Option<usize>,
    password_checked: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    granted_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<String>,
    #[serde(rename = "authorizationID", skip_serializing_if = "Option::is_none")]
    authorization_id: Option<String>,
    #[serde(rename = "tokenID", skip_serializing_if = "Option::is_none")]
    token_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

pub(crate) fn run(args: Args, context: Context) -> anyhow::Result<Outcome> {
    let Args { username, query, request, source, password, policy } = args;
    let UsernameArgs { positional, username } = username;
    let username = positional.or(username).unwrap_or_default();
    let query = query.query(request)?;
    let password = password.given()?;
    let finding = on_records(&context, policy, async |session: &Session| match password {
        Some(password) => with_password(session, username, query, source, &password).await,
        None => without_password(session, username, query, source).await,
    })?;
    let outcome = if finding.allowed { Outcome::Done } else { Outcome::Denied };
    // The exit status holds even if the explanation has no reader.
    match context.output.document(&finding, &finding.text()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(outcome),
    }
}

/// Logs in as a client would.
async fn with_password(
    session: &Session,
    username: String,
    query: Query,
    source: Option<IpAddr>,
    password: &Secret,
) -> anyhow::Result<Finding> {
    let mut finding = Finding::new(username, &query);
    finding.password_checked = true;
    let credentials = Credentials::password(&finding.username, password.as_slice()).source(source);
    let Some(engine) = session.engine() else {
        bail!(
            "a password can be checked only in a store: a server checks it when a client logs in. Leave \
             the password out to check the credential itself"
        );
    };
    let principal = match engine.authenticate(credentials).await {
        Ok(principal) => principal,
        Err(error) => match error.refusal() {
            Some(refusal) => {
                finding.reason = Some(refusal.to_string());
                if refusal == Refusal::Network && source.is_none() {
                    finding.notes.push("--source ADDRESS checks the client's address".to_owned());
                }
                return Ok(finding);
            }
            None => return Err(error.into()),
        },
    };
    match principal.identity() {
        Identity::Authorization(id, _) => finding.authorization_id = Some(id.to_string()),
        Identity::ApiToken(id) => {
            finding.token_id = Some(id.to_string());
            finding.notes.push(format!(
                "no authorization has this username; the password is the API token {id}"
            ));
        }
        _ => {}
    }
    match query {
        Query::Statements(statements) => {
            let check = |action, resource: &Resource| principal.check(action, resource);
            let (decision, bucket) = statements.decide(session, principal.org(), check).await?;
            finding.notes.extend(bucket);
            finding.decide_query(decision)?;
        }
        query => {
            let permission = finding.resolve(session, query, principal.org()).await?;
            finding.decide(&principal.explain(permission.action, &permission.resource));
        }
    }
    Ok(finding)
}

/// Checks everything that a login checks, except the password.
async fn without_password(
    session: &Session,
    username: String,
    query: Query,
    source: Option<IpAddr>,
) -> anyhow::Result<Finding> {
    let mut finding = Finding::new(username, &query);
    finding.notes.push("the password was not checked".to_owned());
    let Some(authorization) = session.authorization_by_username(&finding.username).await? else {
        finding.reason = Some("no authorization has this username".to_owned());
        return Ok(finding);
    };
    finding.authorization_id = Some(authorization.id.to_string());
    if !authorization.has_password {
        finding.notes.push("it has no password, so it cannot log in".to_owned());
    }
    if source.is_none() && !authorization.allowed_networks.is_empty() {
        let networks = &authorization.allowed_networks;
        finding
            .notes
            .push(format!("it can log in only from {networks} (--source checks an address)"));
    }
    let held = PermissionSet::new(authorization.permissions.iter().copied());
    let inactive = inactive_reason(session, &authorization, source).await?;
    match query {
        Query::Statements(statements) => {
            let check = |action, resource: &Resource| held.check(action, resource);
            let (decision, bucket) = statements.decide(session, authorization.org, check).await?;
            finding.notes.extend(bucket);
            finding.decide_query(decision)?;
            if let Some(reason) = inactive {
                finding.allowed = false;
                finding.reason = Some(reason);
            }
        }
        query => {
            let permission = finding.resolve(session, query, authorization.org).await?;
            let explanation = held.explain(permission.action, &permission.resource);
            match inactive {
                Some(reason) => {
                    finding.reason = Some(reason);
                    finding.explanation = Some(format!("apart from that: {explanation}"));
                }
                None => finding.decide(&explanation),
            }
        }
    }
    Ok(finding)
}

/// Returns why no request with the authorization is accepted, if that is so.
async fn inactive_reason(
    session: &Session,
    authorization: &AuthorizationRecord,
    source: Option<IpAddr>,
) -> Result<Option<String>, portcullis::Error> {
    if !authorization.status.is_active() {
        return Ok(Some("the authorization is inactive".to_owned()));
    }
    let now = Timestamp::now();
    let expired = |end: Option<Timestamp>| end.filter(|end| *end <= now);
    if let Some(end) = expired(authorization.expires_at) {
        return Ok(Some(format!("the authorization expired at {end}")));
    }
    if let Some(end) = expired(authorization.password_expires_at) {
        return Ok(Some(format!("its password expired at {end}")));
    }
    if let Some(source) = source.filter(|_| !authorization.allowed_networks.allows(source)) {
        return Ok(Some(format!("the authorization may not be used from {source}")));
    }
    let reason = |what: &str, status: Option<portcullis::Status>| match status {
        None => Some(format!("its {what} does not exist")),
        Some(status) if status.is_active() => None,
        Some(_) => Some(format!("its {what} is inactive")),
    };
    let user = session.user(authorization.user).await?;
    if let Some(reason) = reason("user", user.map(|user| user.status)) {
        return Ok(Some(reason));
    }
    let org = session.org(authorization.org).await?;
    Ok(reason("org", org.map(|org| org.status)))
}

impl Finding {
    fn new(username: String, query: &Query) -> Self {
        let is_query = matches!(query, Query::Statements(_));
        let text = Some(query.to_string());
        Self {
            allowed: false,
            username,
            permission: text.clone().filter(|_| !is_query),
            query: text.filter(|_| is_query),
            statement: None,
            password_checked: false,
            granted_by: None,
            reason: None,
            explanation: None,
            authorization_id: None,
            token_id: None,
            notes: Vec::new(),
        }
    }

    /// Returns the permission to check, with ids, and shows it in the finding.
    async fn resolve(
        &mut self,
        session: &Session,
        query: Query,
        org: OrgId,
    ) -> anyhow::Result<Permission> {
        let permission = match query {
            Query::Permission(permission) => permission.to_query(session, Some(org)).await?,
            Query::Bucket(action, bucket) => {
                let found = resolve::bucket(session, org, &bucket, "the credential's org").await?;
                Permission::new(action, Resource::bucket(org, found.id))
            }
            Query::Statements(_) => bail!("a query is no permission"),
        };
        self.permission = Some(permission.to_string());
        Ok(permission)
    }

    fn decide(&mut self, explanation: &Explanation) {
        match explanation.decision {
            // The grant is the whole explanation.
            Decision::Allowed(granted) => {
                self.allowed = true;
                self.granted_by = Some(granted.to_string());
            }
            Decision::Denied(denial) => {
                self.reason = Some(denial.to_string());
                self.explanation = Some(explanation.to_string());
            }
        }
    }

    /// Takes the decision on a query.
    fn decide_query(&mut self, decision: QueryDecision) -> anyhow::Result<()> {
        match decision {
            QueryDecision::Allowed(_) => self.allowed = true,
            QueryDecision::Denied(denial) => {
                self.statement = Some(denial.number());
                self.reason = Some(denial.to_string());
            }
            QueryDecision::Unreadable(why) => bail!("{why}"),
            _ => bail!("the query could not be decided"),
        }
        Ok(())
    }

    fn text(&self) -> String {
        let verdict = if self.allowed { "allowed" } else { "denied" };
        let checked = self.permission.as_ref().or(self.query.as_ref()).cloned();
        let mut pairs =
            vec![(verdict, checked.unwrap_or_default()), ("username", self.username.clone())];
        let more = [
            ("authorization", &self.authorization_id),
            ("API token", &self.token_id),
            ("granted by", &self.granted_by),
            ("reason", &self.reason),
            ("explanation", &self.explanation),
        ];
        pairs.extend(more.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
        pairs.extend(self.notes.iter().map(|note| ("note", note.clone())));
        table::pairs(&pairs)
    }
}
