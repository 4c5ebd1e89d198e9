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
use crate::names;
use crate::passwords::{PasswordArgs, PolicyArgs, Secret};
use crate::permissions::complete;
use crate::session::on_existing_store;
use crate::table;

#[derive(clap::Args)]
#[command(after_help = "\
Exit status: 0 allowed; 1 denied, or wrong credentials; 2 it could not be decided.

Without a password, only the credential itself is looked at: its status, its user and org, and its
permissions. With one (--password-stdin, --password-file or PORTCULLIS_PASSWORD), it is checked as
the server would.

Examples:
  portcullis check --username telegraf --write-bucket telemetry
  portcullis check --username telegraf --permission write:buckets/0123456789abcdef")]
pub(crate) struct Args {
    /// The username to log in with
    #[arg(long)]
    username: String,

    #[command(flatten)]
    asked: AskedArgs,

    #[command(flatten)]
    password: PasswordArgs,

    #[command(flatten)]
    policy: PolicyArgs,
}

/// What is asked for, in one of three ways.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct AskedArgs {
    /// What is asked for: read or write, a colon, and a resource, such as write:buckets/ID
    #[arg(long, value_name = "TEXT")]
    permission: Option<Permission>,

    /// Ask for read on this bucket of the credential's org, by id or name
    #[arg(long, value_name = "BUCKET")]
    read_bucket: Option<String>,

    /// Ask for write on this bucket of the credential's org, by id or name
    #[arg(long, value_name = "BUCKET")]
    write_bucket: Option<String>,
}

/// What is asked for, of a credential whose org is not known yet.
enum Asked {
    Permission(Permission),
    Bucket(Action, String),
}

impl AskedArgs {
    fn asked(self) -> anyhow::Result<Asked> {
        match (self.permission, self.read_bucket, self.write_bucket) {
            (Some(permission), ..) => Ok(Asked::Permission(permission)),
            (_, Some(bucket), _) => Ok(Asked::Bucket(Action::Read, bucket)),
            (.., Some(bucket)) => Ok(Asked::Bucket(Action::Write, bucket)),
            // clap demands one.
            (None, None, None) => bail!("nothing is asked for"),
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permission(permission) => permission.fmt(f),
            Self::Bucket(action, bucket) => write!(f, "{action} on the bucket {bucket}"),
        }
    }
}

/// What was found out.
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
    let Args { username, asked, password, policy } = args;
    let asked = asked.asked()?;
    let password = password.given()?;
    let finding =
        on_existing_store(&context.store, policy, async |engine: &Engine| match password {
            Some(password) => with_password(engine, username, asked, &password).await,
            None => without_password(engine, username, asked).await,
        })?;
    let outcome = if finding.allowed { Outcome::Done } else { Outcome::Denied };
    // The status is the answer: it stands even if nobody reads the explanation.
    match context.output.document(&finding, &finding.text()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(outcome),
    }
}

/// Logs in as a client would.
async fn with_password(
    engine: &Engine,
    username: String,
    asked: Asked,
    password: &Secret,
) -> anyhow::Result<Finding> {
    let mut finding = Finding::new(username, &asked);
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
    let asked = finding.ask(engine, asked, principal.org()).await?;
    finding.decide(&principal.explain(asked.action, &asked.resource));
    Ok(finding)
}

/// Looks at everything that a login looks at but the password.
async fn without_password(
    engine: &Engine,
    username: String,
    asked: Asked,
) -> anyhow::Result<Finding> {
    let mut finding = Finding::new(username, &asked);
    finding.notes.push("the password was not checked".to_owned());
    let Some(authorization) = engine.authorization_by_username(&finding.username).await? else {
        finding.reason = Some("no authorization has this username".to_owned());
        return Ok(finding);
    };
    finding.authorization_id = Some(authorization.id.to_string());
    if authorization.password_hash.is_none() {
        finding.notes.push("it has no password, so nobody can log in with it".to_owned());
    }
    let asked = finding.ask(engine, asked, authorization.org).await?;
    let held = PermissionSet::new(authorization.permissions.iter().copied());
    let explanation = held.explain(asked.action, &asked.resource);
    match standing(engine, &authorization).await? {
        Some(reason) => {
            finding.reason = Some(reason);
            finding.explanation = Some(format!("but for that: {explanation}"));
        }
        None => finding.decide(&explanation),
    }
    Ok(finding)
}

/// Says what stands against the authorization, whatever it may do.
async fn standing(
    engine: &Engine,
    authorization: &Authorization,
) -> Result<Option<String>, portcullis::Error> {
    if !authorization.status.is_active() {
        return Ok(Some("the authorization is inactive".to_owned()));
    }
    let reason = |what: &str, status: Option<portcullis::Status>| match status {
        None => Some(format!("its {what} is gone")),
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
    fn new(username: String, asked: &Asked) -> Self {
        Self {
            allowed: false,
            username,
            permission: asked.to_string(),
            password_checked: false,
            granted_by: None,
            reason: None,
            explanation: None,
            authorization_id: None,
            token_id: None,
            notes: Vec::new(),
        }
    }

    /// Completes what is asked, and shows it as it was understood.
    async fn ask(
        &mut self,
        engine: &Engine,
        asked: Asked,
        org: OrgId,
    ) -> anyhow::Result<Permission> {
        let asked = match asked {
            Asked::Permission(permission) => complete(engine, permission, Some(org)).await?,
            Asked::Bucket(action, bucket) => {
                let found = names::bucket_of(engine, org, &bucket).await?;
                Permission::new(action, Resource::bucket(org, found.id))
            }
        };
        self.permission = asked.to_string();
        Ok(asked)
    }

    fn decide(&mut self, explanation: &Explanation) {
        match explanation.decision {
            // There is no more to say than the grant.
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
