//! `portcullis auth`: the credentials that v1 clients log in with.

mod change;
mod create;
mod list;

use std::str::FromStr;

use anyhow::{Context as _, anyhow};
use portcullis::store::Revision;
use portcullis::{AuthorizationId, Status};

use crate::confirm::ConfirmArgs;
use crate::context::Context;
use crate::failure::Outcome;
use crate::generated_password;
use crate::output::{Record, Shown};
use crate::passwords::PolicyArgs;
use crate::record_views::AuthorizationView;
use crate::resolve;
use crate::session::{AuthorizationRecord, Session, on_records};

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Create an authorization
    Create(create::Args),
    /// List authorizations: those that match every option
    List(list::Args),
    /// Show one authorization with all its permissions
    Show {
        #[command(flatten)]
        target: Target,
        /// Show its tag as well, for --if-match
        #[arg(long)]
        tag: bool,
    },
    /// Enable an authorization
    #[command(alias = "set-active")]
    Enable(ChangeTarget),
    /// Disable an authorization: no login with it is accepted
    #[command(alias = "set-inactive")]
    Disable(ChangeTarget),
    /// Set the password of an authorization
    SetPassword(change::SetPasswordArgs),
    /// Set the password of an authorization, and keep the previous one working for a time
    Rotate(change::RotateArgs),
    /// End the previous password of a rotation before its time
    EndPrevious(ChangeTarget),
    /// Replace the permissions of an authorization
    SetPermissions(change::SetPermissionsArgs),
    /// Set or remove the end of an authorization, of its password, and its networks
    Restrict(change::RestrictCommandArgs),
    /// Delete an authorization; its username is free again
    Delete {
        #[command(flatten)]
        target: ChangeTarget,
        #[command(flatten)]
        confirm: ConfirmArgs,
    },
}

/// The authorization on which a command works, as an argument or an option.
#[derive(clap::Args)]
pub(crate) struct Target {
    /// The authorization, by username or id
    // Not required where an option that conflicts with it is present.
    #[arg(value_name = "NAME", required = true, conflicts_with_all = ["id", "username"])]
    name: Option<String>,

    #[arg(long, hide = true, conflicts_with = "username")]
    id: Option<AuthorizationId>,

    #[arg(long, hide = true)]
    username: Option<String>,
}

/// The authorization that a command changes.
#[derive(clap::Args)]
pub(crate) struct ChangeTarget {
    #[command(flatten)]
    target: Target,

    /// Only if it still has this tag (`auth show --tag`): if it was changed since, nothing is changed
    #[arg(long, value_name = "TAG")]
    if_match: Option<Tag>,
}

impl ChangeTarget {
    /// Returns the revision that it must have.
    fn expected(&self) -> Option<Revision> {
        self.if_match.map(|Tag(revision)| revision)
    }
}

/// A tag: that of the `ETag` of a server, with or without its quotation marks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tag(Revision);

impl FromStr for Tag {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let digits = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        let revision = Revision::parse(digits.unwrap_or(text));
        revision.map(Self).ok_or("a tag has 32 hexadecimal digits in lower case")
    }
}

impl Target {
    async fn find(&self, session: &Session) -> anyhow::Result<AuthorizationRecord> {
        match (&self.name, self.id, &self.username) {
            (Some(name), ..) => resolve::authorization(session, name).await,
            (None, Some(id), _) => resolve::authorization_with_id(session, id).await,
            (None, None, username) => {
                let username = username.as_deref().unwrap_or_default();
                resolve::authorization_with_username(session, username).await
            }
        }
    }

    /// Returns the name of the authorization for a prompt.
    fn label(&self) -> String {
        let name = self.name.as_ref().or(self.username.as_ref()).cloned();
        name.or(self.id.map(|id| id.to_string())).unwrap_or_default()
    }
}

pub(crate) fn run(command: Command, context: Context) -> anyhow::Result<Outcome> {
    let any = PolicyArgs::default();
    let shown = match command {
        Command::Create(args) => Shown::One(args.run(&context)?),
        Command::List(args) => {
            Shown::Many(on_records(&context, any, async |session| args.run(session).await)?)
        }
        Command::SetPassword(args) => Shown::One(args.run(&context)?),
        Command::Rotate(args) => Shown::One(args.run(&context)?),
        Command::EndPrevious(target) => Shown::One(on_records(&context, any, async |session| {
            change::end_previous(session, &target).await
        })?),
        Command::SetPermissions(args) => {
            Shown::One(on_records(&context, any, async |session| args.run(session).await)?)
        }
        Command::Restrict(args) => {
            Shown::One(on_records(&context, any, async |session| args.run(session).await)?)
        }
        Command::Show { target, tag } => Shown::One(on_records(&context, any, async |session| {
            let mut found = target.find(session).await?;
            if !tag {
                return Ok(AuthorizationView::of(session, &found).await?);
            }
            let deleted = || format!("{} was just deleted", found.id);
            // The tag first: what is shown is then never older than it.
            let tag = session.revision_of_authorization(found.id).await?.with_context(deleted)?;
            found = session.authorization(found.id).await?.with_context(deleted)?;
            Ok(AuthorizationView::of(session, &found).await?.with_tag(tag))
        })?),
        Command::Enable(target) => Shown::One(on_records(&context, any, async |session| {
            change::set_status(session, &target, Status::Active).await
        })?),
        Command::Disable(target) => Shown::One(on_records(&context, any, async |session| {
            change::set_status(session, &target, Status::Inactive).await
        })?),
        Command::Delete { target, confirm } => {
            Shown::One(on_records(&context, any, async |session| {
                change::delete(session, &target, confirm).await
            })?)
        }
    };
    let is_generated = match &shown {
        Shown::One(shown) => shown.secret().is_some(),
        Shown::Many(_) => false,
    };
    context.output.records(&shown).map_err(|error| match is_generated {
        // An error even if the reader has gone away: the password is nowhere else.
        true => anyhow!(
            "the password was set and could not be shown ({error}): set another one with `auth \
             set-password`"
        ),
        false => error.into(),
    })?;
    if is_generated {
        generated_password::report_strength();
    }
    Ok(Outcome::Done)
}
