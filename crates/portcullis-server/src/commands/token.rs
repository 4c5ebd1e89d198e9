//! `portcullis token`.

use anyhow::anyhow;
use portcullis::{ApiTokenId, Deletion, NewApiToken, OrgId, Permission, presets};

use super::{PAGE, read_pages};
use crate::confirm::ConfirmArgs;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::Shown;
use crate::passwords::PolicyArgs;
use crate::permissions::PermissionArg;
use crate::record_views::ApiTokenView;
use crate::resolve;
use crate::restrictions::{RestrictArgs, RestrictionArgs};
use crate::session::{ApiTokenRecord, Session, on_records};

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Create an API token; its secret is shown only once
    #[command(after_help = "\
Example, a new operator token after the first one was lost:
  portcullis token create --org default --user admin --operator")]
    Create(CreateArgs),
    /// List all API tokens, without their secrets
    List,
    /// Set or remove the end of an API token, and its networks
    Restrict {
        /// Its id
        id: ApiTokenId,
        #[command(flatten)]
        restrictions: RestrictArgs,
    },
    /// Delete an API token: it is refused from then on
    Revoke {
        /// Its id
        id: ApiTokenId,
        #[command(flatten)]
        confirm: ConfirmArgs,
    },
}

#[derive(clap::Args)]
pub(crate) struct CreateArgs {
    /// The org it belongs to, by id or name
    #[arg(long)]
    org: String,

    /// The user it belongs to, by id or name
    #[arg(long)]
    user: String,

    #[command(flatten)]
    preset: PresetArgs,

    /// Allow this permission: read or write, a colon, and TYPE, TYPE/ID, orgs/ORG/TYPE or
    /// orgs/ORG/TYPE/ID, with ids or names (can be repeated)
    #[arg(long, value_name = "TEXT", required_unless_present = "PresetArgs")]
    permission: Vec<PermissionArg>,

    /// What it is for
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,

    #[command(flatten)]
    restrictions: RestrictionArgs,
}

#[derive(clap::Args)]
#[group(multiple = false)]
struct PresetArgs {
    /// Allow everything, in every org
    #[arg(long)]
    operator: bool,

    /// Allow everything in the org. To manage the authorizations of a user, the token also needs
    /// read:users/USER and write:users/USER: add them with --permission
    #[arg(long)]
    owner: bool,

    /// Allow to read everything in the org
    #[arg(long)]
    member: bool,

    /// Allow to read everything, in every org
    #[arg(long)]
    read_all: bool,
}

impl PresetArgs {
    fn permissions(&self, org: OrgId) -> Vec<Permission> {
        match self {
            Self { operator: true, .. } => presets::operator(),
            Self { owner: true, .. } => presets::owner_of_org(org),
            Self { member: true, .. } => presets::member_of_org(org),
            Self { read_all: true, .. } => presets::read_all(),
            Self { .. } => Vec::new(),
        }
    }
}

pub(crate) fn run(command: Command, context: Context) -> anyhow::Result<Outcome> {
    let is_new = matches!(command, Command::Create(_));
    let shown = on_records(&context, PolicyArgs::default(), async |session: &Session| {
        command.run(session).await
    })?;
    context.output.records(&shown).map_err(|error| match is_new {
        // An error even if the reader has gone away: the secret is nowhere else.
        true => anyhow!(
            "the API token was created and its secret could not be shown ({error}): revoke it"
        ),
        false => error.into(),
    })?;
    Ok(Outcome::Done)
}

impl Command {
    async fn run(self, session: &Session) -> anyhow::Result<Shown<ApiTokenView>> {
        match self {
            Self::Create(args) => Ok(Shown::One(args.create(session).await?)),
            Self::List => Ok(Shown::Many(list(session).await?)),
            Self::Restrict { id, restrictions } => {
                let changed = session.update_api_token(id, restrictions.update()?).await?;
                Ok(Shown::One(ApiTokenView::new(&mut session.names(), &changed).await?))
            }
            Self::Revoke { id, confirm } => Ok(Shown::One(revoke(session, id, confirm).await?)),
        }
    }
}

impl CreateArgs {
    async fn create(self, session: &Session) -> anyhow::Result<ApiTokenView> {
        let org = resolve::org(session, &self.org).await?;
        let user = resolve::user(session, &self.user).await?;
        let mut permissions = self.preset.permissions(org.id);
        for permission in self.permission {
            permissions.push(permission.to_grant(session, org.id).await?);
        }
        let new = NewApiToken::new(org.id, user.id, permissions)
            .with_description(self.description)
            .with_allowed_networks(self.restrictions.allowed_networks()?);
        let new = match self.restrictions.expires_at() {
            Some(end) => new.with_expires_at(end),
            None => new,
        };
        let (token, secret) = session.create_api_token(new).await?;
        let view = ApiTokenView::new(&mut session.names(), &token).await?;
        Ok(view.with_secret(&secret))
    }
}

async fn list(session: &Session) -> anyhow::Result<Vec<ApiTokenView>> {
    let mut names = session.names();
    let page = async |last: Option<&ApiTokenRecord>| {
        session.list_api_tokens(last.map(|last| last.id), PAGE).await
    };
    let mut views = Vec::new();
    for token in &read_pages(page).await? {
        views.push(ApiTokenView::new(&mut names, token).await?);
    }
    Ok(views)
}

async fn revoke(
    session: &Session,
    id: ApiTokenId,
    confirm: ConfirmArgs,
) -> anyhow::Result<ApiTokenView> {
    let found = session.api_token(id).await?;
    let token = found.ok_or_else(|| anyhow!("there is no API token {id}"))?;
    let view = ApiTokenView::new(&mut session.names(), &token).await?;
    let what = match token.description.as_str() {
        "" => format!("the API token {id}"),
        description => format!("the API token {id} ({description})"),
    };
    confirm.confirm(session, &what, Deletion::ApiToken(id)).await?;
    session.revoke_api_token(id).await?;
    Ok(view)
}
