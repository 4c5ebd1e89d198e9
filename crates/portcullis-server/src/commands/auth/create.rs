//! `portcullis auth create`.

use anyhow::{Context as _, anyhow};
use portcullis::{ErrorKind, InvalidUsername, Status, Username};

use crate::context::Context;
use crate::failure::describe;
use crate::passwords::{NewPassword, NewPasswordArgs, PolicyArgs};
use crate::permissions::GrantArgs;
use crate::record_views::AuthorizationView;
use crate::resolve;
use crate::restrictions::RestrictionArgs;
use crate::session::{AuthorizationParts, Session, on_records};

#[derive(clap::Args)]
#[command(after_help = "\
The password is read from a prompt, unless it is generated (--generate) or comes from
--password-stdin, --password-file or the variable PORTCULLIS_PASSWORD. It is never an argument:
every user of the machine can read those.

Examples:
  portcullis auth create telegraf --org acme --user ada --write-bucket telemetry --generate
  portcullis auth create grafana --org acme --user ada \\
      --read-bucket telemetry --read-bucket events --password-file grafana.secret
  portcullis auth create visitor --org acme --user ada --read-bucket telemetry --generate \\
      --expires 30d --allow-network 10.0.0.0/8")]
pub(crate) struct Args {
    #[command(flatten)]
    username: UsernameArgs,

    /// The org, by id or name
    #[arg(long)]
    org: String,

    /// The user to whom it belongs, by id or name
    #[arg(long)]
    user: String,

    #[command(flatten)]
    grants: GrantArgs,

    /// What it is for
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,

    /// Create it disabled
    #[arg(long)]
    inactive: bool,

    #[command(flatten)]
    restrictions: RestrictionArgs,

    #[command(flatten)]
    password: NewPasswordArgs,

    /// Set no password now: no login is accepted until there is one
    #[arg(long, conflicts_with_all = ["PasswordArgs", "generate"])]
    no_password: bool,

    #[command(flatten)]
    policy: PolicyArgs,
}

/// The username, as an argument or an option.
#[derive(clap::Args)]
struct UsernameArgs {
    /// The username to log in with, which no other authorization has
    // Not required where the option that conflicts with it is present.
    #[arg(value_name = "USERNAME", required = true, conflicts_with = "username", value_parser = parse_username)]
    positional: Option<Username>,

    #[arg(long, value_name = "USERNAME", hide = true, value_parser = parse_username)]
    username: Option<Username>,
}

impl UsernameArgs {
    fn username(&self) -> anyhow::Result<&Username> {
        // clap requires one.
        self.positional.as_ref().or(self.username.as_ref()).context("the username is missing")
    }
}

/// The message of [`InvalidUsername`] names the username as the API does: a token.
fn parse_username(text: &str) -> Result<Username, String> {
    Username::new(text).map_err(|error| match error {
        InvalidUsername::Empty => "a username must not be empty".to_owned(),
        _ => format!("a username must be at most {} bytes long", Username::MAX_BYTES),
    })
}

impl Args {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<AuthorizationView> {
        let password = if self.no_password {
            None
        } else {
            let password = self.password.password(self.username.username()?.as_str())?;
            // Before anything is created.
            check_rules(&password, &self.policy)?;
            Some(password)
        };
        on_records(context, self.policy.clone(), async |session: &Session| {
            self.create(session, password).await
        })
    }

    async fn create(
        self,
        session: &Session,
        password: Option<NewPassword>,
    ) -> anyhow::Result<AuthorizationView> {
        let org = resolve::org(session, &self.org).await?;
        let user = resolve::user(session, &self.user).await?;
        let permissions = self.grants.resolve(session, &org).await?;
        let status = if self.inactive { Status::Inactive } else { Status::Active };
        let username = self.username.username()?;
        let new = AuthorizationParts {
            username: username.clone(),
            org: org.id,
            user: user.id,
            permissions,
            status,
            description: self.description,
            expires_at: self.restrictions.expires_at(),
            allowed_networks: self.restrictions.allowed_networks()?,
        };
        let mut created = match session.create_authorization(new).await {
            Ok(created) => created,
            Err(error) if error.kind() == ErrorKind::Conflict => {
                return Err(anyhow!("there is an authorization for `{username}` already"));
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(password) = &password {
            if let Err(error) =
                session.set_password(created.id, password.as_slice(), None, None).await
            {
                // All or nothing: an authorization without its password is not kept.
                let error = anyhow::Error::from(error).context("could not set the password");
                return Err(match session.delete_authorization(created.id, None).await {
                    Ok(()) => error.context("nothing was created"),
                    Err(undo) => error.context(format!(
                        "the authorization {} is left without a password ({})",
                        created.id,
                        describe(&undo.into())
                    )),
                });
            }
            created = session
                .authorization(created.id)
                .await?
                .with_context(|| format!("the authorization {} was just deleted", created.id))?;
        }
        let view = AuthorizationView::of(session, &created).await?;
        Ok(match &password {
            Some(password) => view.with_password(password),
            None => view,
        })
    }
}

/// Checks a password before anything is changed. The engine checks it again, once there is an
/// authorization to set it for.
pub(super) fn check_rules(password: &NewPassword, policy: &PolicyArgs) -> anyhow::Result<()> {
    Ok(policy.policy().check_new(password.as_slice())?)
}
