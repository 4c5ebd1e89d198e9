//! Changing and deleting one authorization.

use anyhow::Context as _;
use portcullis::{AuthorizationUpdate, Deletion, KeepPrevious, Status};

use super::ChangeTarget;
use super::create::check_rules;
use crate::confirm::ConfirmArgs;
use crate::context::Context;
use crate::passwords::{NewPasswordArgs, PolicyArgs};
use crate::permissions::GrantArgs;
use crate::record_views::AuthorizationView;
use crate::restrictions::{PasswordEndArgs, RestrictArgs};
use crate::session::{Session, on_records};

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
    target: ChangeTarget,

    #[command(flatten)]
    password: NewPasswordArgs,

    #[command(flatten)]
    policy: PolicyArgs,
}

impl SetPasswordArgs {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<AuthorizationView> {
        let password = self.password.password(&self.target.target.label())?;
        check_rules(&password, &self.policy)?;
        on_records(context, self.policy.clone(), async |session: &Session| {
            let id = self.target.target.find(session).await?.id;
            session.set_password(id, password.as_slice(), None, self.target.expected()).await?;
            let changed = session.authorization(id).await?;
            let changed = changed.with_context(|| format!("{id} was just deleted"))?;
            Ok(AuthorizationView::of(session, &changed).await?.with_password(&password))
        })
    }
}

#[derive(clap::Args)]
#[command(after_help = "\
Both passwords log in until the time is over. Then restart each agent with the new one, and end the
previous one with `auth end-previous`, or let it end. The password is read as by `set-password`.

Examples:
  portcullis auth rotate telegraf --generate
  portcullis auth rotate telegraf --keep-previous 7d --until-used --generate")]
pub(crate) struct RotateArgs {
    #[command(flatten)]
    target: ChangeTarget,

    /// For how long the previous password still works: from 1s to 90d
    #[arg(long, value_name = "TIME", default_value = "24h")]
    keep_previous: KeepPrevious,

    /// End the previous password at the first login with the new one, if that is earlier. Only for a
    /// credential that one agent uses
    #[arg(long)]
    until_used: bool,

    #[command(flatten)]
    password: NewPasswordArgs,

    #[command(flatten)]
    policy: PolicyArgs,
}

impl RotateArgs {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<AuthorizationView> {
        let password = self.password.password(&self.target.target.label())?;
        check_rules(&password, &self.policy)?;
        let keep = match self.until_used {
            true => self.keep_previous.until_new_is_used(),
            false => self.keep_previous,
        };
        on_records(context, self.policy.clone(), async |session: &Session| {
            let id = self.target.target.find(session).await?.id;
            let expected = self.target.expected();
            session.set_password(id, password.as_slice(), Some(keep), expected).await?;
            let changed = session.authorization(id).await?;
            let changed = changed.with_context(|| format!("{id} was just deleted"))?;
            Ok(AuthorizationView::of(session, &changed).await?.with_password(&password))
        })
    }
}

/// Ends the previous password of a rotation.
pub(super) async fn end_previous(
    session: &Session,
    target: &ChangeTarget,
) -> anyhow::Result<AuthorizationView> {
    let id = target.target.find(session).await?.id;
    session.end_previous_password(id, target.expected()).await?;
    let changed = session.authorization(id).await?;
    let changed = changed.with_context(|| format!("{id} was just deleted"))?;
    Ok(AuthorizationView::of(session, &changed).await?)
}

#[derive(clap::Args)]
#[command(after_help = "\
The permissions that are given replace those that were granted before.

Example:
  portcullis auth set-permissions grafana --read-bucket telemetry --read-bucket events")]
pub(crate) struct SetPermissionsArgs {
    #[command(flatten)]
    target: ChangeTarget,

    #[command(flatten)]
    grants: GrantArgs,
}

impl SetPermissionsArgs {
    pub(super) async fn run(self, session: &Session) -> anyhow::Result<AuthorizationView> {
        let found = self.target.target.find(session).await?;
        let org = session.org(found.org).await?;
        let org = org.with_context(|| format!("its org {} does not exist", found.org))?;
        let permissions = self.grants.resolve(session, &org).await?;
        let changed =
            session.set_permissions(found.id, permissions, self.target.expected()).await?;
        Ok(AuthorizationView::of(session, &changed).await?)
    }
}

#[derive(clap::Args)]
#[command(after_help = "\
What is not given stays as it is. A server on the same store observes the change within seconds.

Examples:
  portcullis auth restrict visitor --expires 30d --allow-network 10.0.0.0/8
  portcullis auth restrict visitor --expires never --any-network")]
pub(crate) struct RestrictCommandArgs {
    #[command(flatten)]
    target: ChangeTarget,

    #[command(flatten)]
    restrictions: RestrictArgs,

    #[command(flatten)]
    password: PasswordEndArgs,
}

impl RestrictCommandArgs {
    pub(super) async fn run(self, session: &Session) -> anyhow::Result<AuthorizationView> {
        let id = self.target.target.find(session).await?.id;
        let mut update = self.restrictions.update()?;
        update.password_expires_at = self.password.end();
        let changed = session.update_authorization(id, update, self.target.expected()).await?;
        Ok(AuthorizationView::of(session, &changed).await?)
    }
}

pub(super) async fn set_status(
    session: &Session,
    target: &ChangeTarget,
    status: Status,
) -> anyhow::Result<AuthorizationView> {
    let id = target.target.find(session).await?.id;
    let changed = session
        .update_authorization(id, AuthorizationUpdate::status(status), target.expected())
        .await?;
    Ok(AuthorizationView::of(session, &changed).await?)
}

pub(super) async fn delete(
    session: &Session,
    target: &ChangeTarget,
    confirm: ConfirmArgs,
) -> anyhow::Result<AuthorizationView> {
    let found = target.target.find(session).await?;
    let view = AuthorizationView::of(session, &found).await?;
    let what = format!("the authorization of `{}`", found.username);
    confirm.confirm(session, &what, Deletion::Authorization(found.id)).await?;
    session.delete_authorization(found.id, target.expected()).await?;
    Ok(view)
}
