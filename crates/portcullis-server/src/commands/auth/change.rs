//! Changing and deleting one authorization.

use anyhow::Context as _;
use portcullis::{AuthorizationUpdate, Deletion, Engine, Status};

use super::Target;
use super::create::check_rules;
use crate::confirm::ConfirmArgs;
use crate::passwords::{NewPasswordArgs, PolicyArgs};
use crate::permissions::GrantArgs;
use crate::record_views::AuthorizationView;
use crate::session::on_existing_store;

#[derive(clap::Args)]
#[command(after_help = "\
The password is read from a prompt, unless it is generated (--generate) or comes from
--password-stdin, --password-file or the variable PORTCULLIS_PASSWORD. A server on the same
store refuses the old password within seconds.

Examples:
  portcullis auth set-password telegraf --generate
  pass show telegraf | portcullis auth set-password telegraf --password-stdin")]
pub(crate) struct SetPasswordArgs {
    #[command(flatten)]
    target: Target,

    #[command(flatten)]
    password: NewPasswordArgs,

    #[command(flatten)]
    policy: PolicyArgs,
}

impl SetPasswordArgs {
    pub(super) fn run(self, store: &str) -> anyhow::Result<AuthorizationView> {
        let password = self.password.password(&self.target.label())?;
        check_rules(&password, self.policy)?;
        on_existing_store(store, self.policy, async |engine: &Engine| {
            let id = self.target.find(engine).await?.id;
            engine.set_password(id, password.as_slice()).await?;
            let changed = engine.authorization(id).await?;
            let changed = changed.with_context(|| format!("{id} was just deleted"))?;
            Ok(AuthorizationView::of(engine, &changed).await?.with_password(&password))
        })
    }
}

#[derive(clap::Args)]
#[command(after_help = "\
The permissions that are given replace those that were granted before.

Example:
  portcullis auth set-permissions grafana --read-bucket telemetry --read-bucket events")]
pub(crate) struct SetPermissionsArgs {
    #[command(flatten)]
    target: Target,

    #[command(flatten)]
    grants: GrantArgs,
}

impl SetPermissionsArgs {
    pub(super) async fn run(self, engine: &Engine) -> anyhow::Result<AuthorizationView> {
        let found = self.target.find(engine).await?;
        let org = engine.directory().org(found.org).await?;
        let org = org.with_context(|| format!("its org {} does not exist", found.org))?;
        let permissions = self.grants.resolve(engine, &org).await?;
        let changed = engine.set_permissions(found.id, permissions).await?;
        Ok(AuthorizationView::of(engine, &changed).await?)
    }
}

pub(super) async fn set_status(
    engine: &Engine,
    target: &Target,
    status: Status,
) -> anyhow::Result<AuthorizationView> {
    let id = target.find(engine).await?.id;
    let changed = engine.update_authorization(id, AuthorizationUpdate::status(status)).await?;
    Ok(AuthorizationView::of(engine, &changed).await?)
}

pub(super) async fn delete(
    engine: &Engine,
    target: &Target,
    confirm: ConfirmArgs,
) -> anyhow::Result<AuthorizationView> {
    let found = target.find(engine).await?;
    let view = AuthorizationView::of(engine, &found).await?;
    let what = format!("the authorization of `{}`", found.username);
    confirm.confirm(engine, &what, Deletion::Authorization(found.id)).await?;
    engine.delete_authorization(found.id).await?;
    Ok(view)
}
