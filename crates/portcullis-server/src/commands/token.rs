//! `portcullis token`.

use anyhow::anyhow;
use portcullis::store::StoreExt;
use portcullis::{ApiToken, ApiTokenId, Deletion, Engine, NewApiToken, OrgId, Permission, presets};

use super::{PAGE, read_pages};
use crate::confirm::ConfirmArgs;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::Shown;
use crate::passwords::PolicyArgs;
use crate::permissions::PermissionArg;
use crate::record_views::ApiTokenView;
use crate::resolve;
use crate::session::on_existing_store;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Create an API token; its secret is shown only once
    #[command(after_help = "\
Example, a new operator token after the first one was lost:
  portcullis token create --org default --user admin --operator")]
    Create(CreateArgs),
    /// List all API tokens, without their secrets
    List,
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
    let Context { store, output, .. } = context;
    let is_new = matches!(command, Command::Create(_));
    let shown = on_existing_store(&store, PolicyArgs::default(), async |engine: &Engine| {
        command.run(engine).await
    })?;
    output.records(&shown).map_err(|error| match is_new {
        // An error even if the reader has gone away: the secret is nowhere else.
        true => anyhow!(
            "the API token was created and its secret could not be shown ({error}): revoke it"
        ),
        false => error.into(),
    })?;
    Ok(Outcome::Done)
}

impl Command {
    async fn run(self, engine: &Engine) -> anyhow::Result<Shown<ApiTokenView>> {
        match self {
            Self::Create(args) => Ok(Shown::One(args.create(engine).await?)),
            Self::List => Ok(Shown::Many(list(engine).await?)),
            Self::Revoke { id, confirm } => Ok(Shown::One(revoke(engine, id, confirm).await?)),
        }
    }
}

impl CreateArgs {
    async fn create(self, engine: &Engine) -> anyhow::Result<ApiTokenView> {
        let org = resolve::org(engine, &self.org).await?;
        let user = resolve::user(engine, &self.user).await?;
        let mut permissions = self.preset.permissions(org.id);
        for permission in self.permission {
            permissions.push(permission.to_grant(engine, org.id).await?);
        }
        let new = NewApiToken::new(org.id, user.id, permissions).with_description(self.description);
        let (token, secret) = engine.create_api_token(new).await?;
        let view = ApiTokenView::new(&mut engine.name_resolver(), &token).await?;
        Ok(view.with_secret(&secret))
    }
}

async fn list(engine: &Engine) -> anyhow::Result<Vec<ApiTokenView>> {
    let mut names = engine.name_resolver();
    let page = async |last: Option<&ApiToken>| {
        engine.list_api_tokens(last.map(|last| last.id), PAGE).await
    };
    let mut views = Vec::new();
    for token in &read_pages(page).await? {
        views.push(ApiTokenView::new(&mut names, token).await?);
    }
    Ok(views)
}

async fn revoke(
    engine: &Engine,
    id: ApiTokenId,
    confirm: ConfirmArgs,
) -> anyhow::Result<ApiTokenView> {
    let found = engine.store().find::<ApiToken>(id.untyped()).await?;
    let (token, _) = found.ok_or_else(|| anyhow!("there is no API token {id}"))?;
    let view = ApiTokenView::new(&mut engine.name_resolver(), &token).await?;
    let what = match token.description.as_str() {
        "" => format!("the API token {id}"),
        description => format!("the API token {id} ({description})"),
    };
    confirm.confirm(engine, &what, Deletion::ApiToken(id)).await?;
    engine.revoke_api_token(id).await?;
    Ok(view)
}
