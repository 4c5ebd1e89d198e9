//! `portcullis check`.

use std::{fmt, io};

use anyhow::bail;
use portcullis::{
    Action, Authorization, Credentials, Decision, Engine, Explanation, Identity, OrgId, Permission,
    PermissionSet, Resource,
};
use serde::Serialize;

use crate::context::Context;
use crate::failure::Outcome;
use crate::passwords::{PasswordArgs, PolicyArgs, Secret};
use crate::permissions::PermissionArg;
use crate::resolve;
use crate::session::on_existing_store;
use crate::table;

#[derive(clap::Args)]
#[command(after_help = "\
Exit status: 0 allowed; 1 denied, or wrong credentials; 2 not decided.

Without a password, only the credential itself is checked: its status, its user and org, and
its permissions. With one (--password-stdin, --password-file or PORTCULLIS_PASSWORD), the
login is checked as the server would.

Examples:
  portcullis check telegraf --write-bucket telemetry
  portcullis check telegraf --permission read:orgs/acme/tasks")]
pub(crate) struct Args {
    #[command(flatten)]
    username: UsernameArgs,

    #[command(flatten)]
    query: QueryArgs,

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

/// The permission to check, in one of three ways.
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
}

/// The permission to check. A bucket is looked up once the credential's org is known.
enum Query {
    Permission(PermissionArg),
    Bucket(Action, String),
}

impl QueryArgs {
    fn query(self) -> anyhow::Result<Query> {
        match (self.permission, self.read_bucket, self.write_bucket) {
            (Some(permission), ..) => Ok(Query::Permission(permission)),
            (_, Some(bucket), _) => Ok(Query::Bucket(Action::Read, bucket)),
            (.., Some(bucket)) => Ok(Query::Bucket(Action::Write, bucket)),
            // clap requires one.
            (None, None, None) => bail!("there is no permission to check"),
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permission(permission) => permission.fmt(f),
            Self::Bucket(action, bucket) => write!(f, "{action} on the bucket {bucket}"),
        }
    }
}

/// The result of a check.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    allowed: bool,
    username: String,
    permission: String,
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
    let Args { username: UsernameArgs { positional, username }, query, password, policy } = args;
    let username = positional.or(username).unwrap_or_default();
    let query = query.query()?;
    let password = password.given()?;
    let finding =
        on_existing_store(&context.store, policy, async |engine: &Engine| match password {
            Some(password) => with_password(engine, username, query, &password).await,
            None => without_password(engine, username, query).await,
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
    engine: &Engine,
    username: String,
    query: Query,
    password: &Secret,
) -> anyhow::Result<Finding> {
    let mut finding = Finding::new(username, &query);
    finding.password_checked = true;
    let credentials = Credentials::password(&finding.username, password.as_slice());
    let principal = match engine.authenticate(credentials).await {
        Ok(principal) => principal,
        Err(error) => match error.refusal() {
            Some(refusal) => {
                finding.reason = Some(refusal.to_string());
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
    let permission = finding.resolve(engine, query, principal.org()).await?;
    finding.decide(&principal.explain(permission.action, &permission.resource));
    Ok(finding)
}

/// Checks everything that a login checks, except the password.
async fn without_password(
    engine: &Engine,
    username: String,
    query: Query,
) -> anyhow::Result<Finding> {
    let mut finding = Finding::new(username, &query);
    finding.notes.push("the password was not checked".to_owned());
    let Some(authorization) = engine.authorization_by_username(&finding.username).await? else {
        finding.reason = Some("no authorization has this username".to_owned());
        return Ok(finding);
    };
    finding.authorization_id = Some(authorization.id.to_string());
    if authorization.password_hash.is_none() {
        finding.notes.push("it has no password, so it cannot log in".to_owned());
    }
    let permission = finding.resolve(engine, query, authorization.org).await?;
    let held = PermissionSet::new(authorization.permissions.iter().copied());
    let explanation = held.explain(permission.action, &permission.resource);
    match inactive_reason(engine, &authorization).await? {
        Some(reason) => {
            finding.reason = Some(reason);
            finding.explanation = Some(format!("apart from that: {explanation}"));
        }
        None => finding.decide(&explanation),
    }
    Ok(finding)
}

/// Returns why no request with the authorization is accepted, if that is so.
async fn inactive_reason(
    engine: &Engine,
    authorization: &Authorization,
) -> Result<Option<String>, portcullis::Error> {
    if !authorization.status.is_active() {
        return Ok(Some("the authorization is inactive".to_owned()));
    }
    let reason = |what: &str, status: Option<portcullis::Status>| match status {
        None => Some(format!("its {what} does not exist")),
        Some(status) if status.is_active() => None,
        Some(_) => Some(format!("its {what} is inactive")),
    };
    let user = engine.directory().user(authorization.user).await?;
    if let Some(reason) = reason("user", user.map(|user| user.status)) {
        return Ok(Some(reason));
    }
    let org = engine.directory().org(authorization.org).await?;
    Ok(reason("org", org.map(|org| org.status)))
}

impl Finding {
    fn new(username: String, query: &Query) -> Self {
        Self {
            allowed: false,
            username,
            permission: query.to_string(),
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
        engine: &Engine,
        query: Query,
        org: OrgId,
    ) -> anyhow::Result<Permission> {
        let permission = match query {
            Query::Permission(permission) => permission.to_query(engine, Some(org)).await?,
            Query::Bucket(action, bucket) => {
                let found = resolve::bucket_of_credential(engine, org, &bucket).await?;
                Permission::new(action, Resource::bucket(org, found.id))
            }
        };
        self.permission = permission.to_string();
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

    fn text(&self) -> String {
        let verdict = if self.allowed { "allowed" } else { "denied" };
        let mut pairs =
            vec![(verdict, self.permission.clone()), ("username", self.username.clone())];
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
