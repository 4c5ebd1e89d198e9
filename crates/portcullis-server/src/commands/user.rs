//! `portcullis user`.

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
    /// Create a user: somebody whom credentials belong to
    Create {
        /// Their name, which no other user has
        #[arg(value_parser = names::parse)]
        name: Name,
    },
    /// List all users
    List,
    /// Switch a user on, and with them their credentials
    SetActive(Which),
    /// Switch a user off, and with them every credential of theirs
    SetInactive(Which),
    /// Delete a user and every credential of theirs
    Delete(Which),
}

#[derive(clap::Args)]
pub(crate) struct Which {
    /// The user, by id or name
    user: String,
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
        let user = match self {
            Self::List => return Ok(Answer::Many(all(engine).await?)),
            Self::Create { name } => engine.create_user(name).await?,
            Self::SetActive(Which { user }) => {
                let id = names::user(engine, &user).await?.id;
                engine.set_user_status(id, Status::Active).await?
            }
            Self::SetInactive(Which { user }) => {
                let id = names::user(engine, &user).await?.id;
                engine.set_user_status(id, Status::Inactive).await?
            }
            Self::Delete(Which { user }) => {
                let user = names::user(engine, &user).await?;
                engine.delete_user(user.id).await?;
                user
            }
        };
        Ok(Answer::One(TenantView::from(&user)))
    }
}

async fn all(engine: &Engine) -> anyhow::Result<Vec<TenantView>> {
    let mut views = Vec::new();
    let mut after = None;
    loop {
        let page = engine.directory().users(after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(views) };
        after = Some(last.id);
        views.extend(page.iter().map(TenantView::from));
    }
}
