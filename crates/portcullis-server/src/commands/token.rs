//! `portcullis token`.

use anyhow::anyhow;
use portcullis::store::StoreExt;
use portcullis::{ApiToken, ApiTokenId, Engine, NewApiToken, OrgId, Permission, presets};

use super::PAGE;
use crate::context::Context;
use crate::failure::Outcome;
use crate::names::{self, Names};
use crate::output::Answer;
use crate::passwords::PolicyArgs;
use crate::permissions::complete;
use crate::record_views::ApiTokenView;
use crate::session::on_existing_store;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Create an API token; its secret is shown this once
    #[command(after_help = "\
Example, a new operator token when the first one is lost:
  portcullis token create --org default --user admin --operator")]
    Create(CreateArgs),
    /// List all API tokens, without their secrets
    List,
    /// Delete an API token: it no longer works
    Revoke {
        /// Its id
        id: ApiTokenId,
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

    /// Let it do this: read or write, a colon, and TYPE, TYPE/ID, orgs/ORG/TYPE or
    /// orgs/ORG/TYPE/ID (can be repeated)
    #[arg(long, value_name = "TEXT", required_unless_present = "PresetArgs")]
    permission: Vec<Permission>,

    /// What it is for
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
}

#[derive(clap::Args)]
#[group(multiple = false)]
struct PresetArgs {
    /// Let it do everything, in every org
    #[arg(long)]
    operator: bool,

    /// Let it do everything in the org. To manage the authorizations of a user it also needs
    /// read:users/ID and write:users/ID: add them with --permission
    #[arg(long)]
    owner: bool,

    /// Let it read everything in the org
    #[arg(long)]
    member: bool,

    /// Let it read everything, in every org
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
    let Context { store, output } = context;
    let is_new = matches!(command, Command::Create(_));
    let answer = on_existing_store(&store, PolicyArgs::default(), async |engine: &Engine| {
        command.run(engine).await
    })?;
    output.answer(&answer).map_err(|error| match is_new {
        // Said even if nobody reads: the secret is nowhere else.
        true => anyhow!(
            "the API token was created and its secret could not be shown ({error}): revoke it"
        ),
        false => error.into(),
    })?;
    Ok(Outcome::Done)
}

impl Command {
    async fn run(self, engine: &Engine) -> anyhow::Result<Answer<ApiTokenView>> {
        match self {
            Self::Create(args) => Ok(Answer::One(args.create(engine).await?)),
            Self::List => Ok(Answer::Many(list(engine).await?)),
            Self::Revoke { id } => Ok(Answer::One(revoke(engine, id).await?)),
        }
    }
}

impl CreateArgs {
    async fn create(self, engine: &Engine) -> anyhow::Result<ApiTokenView> {
        let org = names::org(engine, &self.org).await?;
        let user = names::user(engine, &self.user).await?;
        let mut permissions = self.preset.permissions(org.id);
        for permission in self.permission {
            permissions.push(complete(engine, permission, None).await?);
        }
        let new =
            NewApiToken { org: org.id, user: user.id, permissions, description: self.description };
        let (token, secret) = engine.create_api_token(new).await?;
        let view = ApiTokenView::new(&mut Names::new(engine), &token).await?;
        Ok(view.with_secret(&secret))
    }
}

async fn list(engine: &Engine) -> anyhow::Result<Vec<ApiTokenView>> {
    let mut names = Names::new(engine);
    let mut views = Vec::new();
    let mut after = None;
    loop {
        let page = engine.list_api_tokens(after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(views) };
        after = Some(last.id);
        for token in &page {
            views.push(ApiTokenView::new(&mut names, token).await?);
        }
    }
}

async fn revoke(engine: &Engine, id: ApiTokenId) -> anyhow::Result<ApiTokenView> {
    let found = engine.store().find::<ApiToken>(id.untyped()).await?;
    let (token, _) = found.ok_or_else(|| anyhow!("there is no API token {id}"))?;
    let view = ApiTokenView::new(&mut Names::new(engine), &token).await?;
    engine.revoke_api_token(id).await?;
    Ok(view)
}
