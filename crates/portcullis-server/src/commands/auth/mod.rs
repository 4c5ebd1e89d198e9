//! `portcullis auth`: the credentials that v1 clients log in with.

mod change;
mod create;
mod list;

use anyhow::anyhow;
use portcullis::{Authorization, AuthorizationId, Engine};

use crate::context::Context;
use crate::failure::Outcome;
use crate::output::Answer;
use crate::passwords::PolicyArgs;
use crate::record_views::AuthorizationView;
use crate::session::on_existing_store;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Create an authorization
    Create(create::Args),
    /// List authorizations: those that match every option
    List(list::Args),
    /// Show one authorization with all its permissions
    Show(Which),
    /// Switch an authorization on
    SetActive(Which),
    /// Switch an authorization off: nobody can log in with it
    SetInactive(Which),
    /// Set the password of an authorization
    SetPassword(change::SetPasswordArgs),
    /// Replace the permissions of an authorization
    SetPermissions(change::SetPermissionsArgs),
    /// Delete an authorization; its username is free again
    Delete(Which),
}

/// Which authorization: there is no default.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// Its id
    #[arg(long)]
    id: Option<AuthorizationId>,

    /// Its username
    #[arg(long)]
    username: Option<String>,
}

impl Which {
    async fn find(&self, engine: &Engine) -> anyhow::Result<Authorization> {
        match (self.id, &self.username) {
            (Some(id), _) => {
                let found = engine.authorization(id).await?;
                found.ok_or_else(|| anyhow!("there is no authorization with the id {id}"))
            }
            (None, username) => {
                let username = username.as_deref().unwrap_or_default();
                let found = engine.authorization_by_username(username).await?;
                found.ok_or_else(|| anyhow!("there is no authorization for `{username}`"))
            }
        }
    }

    /// How the one that is meant is called in a prompt.
    fn label(&self) -> String {
        match (self.id, &self.username) {
            (_, Some(username)) => username.clone(),
            (id, None) => id.map(|id| id.to_string()).unwrap_or_default(),
        }
    }
}

pub(crate) fn run(command: Command, context: Context) -> anyhow::Result<Outcome> {
    let store = &context.store;
    let any = PolicyArgs::default();
    let answer = match command {
        Command::Create(args) => Answer::One(args.run(store)?),
        Command::List(args) => {
            Answer::Many(on_existing_store(store, any, async |engine| args.run(engine).await)?)
        }
        Command::SetPassword(args) => Answer::One(args.run(store)?),
        Command::SetPermissions(args) => {
            Answer::One(on_existing_store(store, any, async |engine| args.run(engine).await)?)
        }
        Command::Show(which) => Answer::One(on_existing_store(store, any, async |engine| {
            let found = which.find(engine).await?;
            Ok(AuthorizationView::of(engine, &found).await?)
        })?),
        Command::SetActive(which) => Answer::One(on_existing_store(store, any, async |engine| {
            change::set_status(engine, &which, portcullis::Status::Active).await
        })?),
        Command::SetInactive(which) => {
            Answer::One(on_existing_store(store, any, async |engine| {
                change::set_status(engine, &which, portcullis::Status::Inactive).await
            })?)
        }
        Command::Delete(which) => Answer::One(on_existing_store(store, any, async |engine| {
            change::delete(engine, &which).await
        })?),
    };
    context.output.answer(&answer)?;
    Ok(Outcome::Done)
}
