//! `portcullis org`.

use portcullis::{Engine, Name, Status};

use super::PAGE;
use crate::context::Context;
use crate::failure::Outcome;
use crate::names;
use crate::output::Answer;
use crate::passwords::PolicyArgs;
use crate::record_views::TenantView;
use crate::session::on_existing_store;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Create an org
    Create {
        /// Its name, which no other org has
        #[arg(value_parser = names::parse)]
        name: Name,
    },
    /// List all orgs
    List,
    /// Switch an org on, and with it the credentials in it
    SetActive(Which),
    /// Switch an org off, and with it every credential in it
    SetInactive(Which),
    /// Delete an org, its buckets and every credential in it
    Delete(Which),
}

#[derive(clap::Args)]
pub(crate) struct Which {
    /// The org, by id or name
    org: String,
}

pub(crate) fn run(command: Command, context: Context) -> anyhow::Result<Outcome> {
    let Context { store, output } = context;
    let answer = on_existing_store(&store, PolicyArgs::default(), async |engine: &Engine| {
        command.run(engine).await
    })?;
    output.answer(&answer)?;
    Ok(Outcome::Done)
}

impl Command {
    async fn run(self, engine: &Engine) -> anyhow::Result<Answer<TenantView>> {
        let org = match self {
            Self::List => return Ok(Answer::Many(all(engine).await?)),
            Self::Create { name } => engine.create_org(name).await?,
            Self::SetActive(Which { org }) => {
                let id = names::org(engine, &org).await?.id;
                engine.set_org_status(id, Status::Active).await?
            }
            Self::SetInactive(Which { org }) => {
                let id = names::org(engine, &org).await?.id;
                engine.set_org_status(id, Status::Inactive).await?
            }
            Self::Delete(Which { org }) => {
                let org = names::org(engine, &org).await?;
                engine.delete_org(org.id).await?;
                org
            }
        };
        Ok(Answer::One(TenantView::from(&org)))
    }
}

async fn all(engine: &Engine) -> anyhow::Result<Vec<TenantView>> {
    let mut views = Vec::new();
    let mut after = None;
    loop {
        let page = engine.directory().orgs(after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(views) };
        after = Some(last.id);
        views.extend(page.iter().map(TenantView::from));
    }
}
