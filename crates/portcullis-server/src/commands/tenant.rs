//! `portcullis org` and `portcullis user`: the two kinds of tenants have the same commands.

use std::marker::PhantomData;

use portcullis::{Deletion, Error, Name, Org, Status, User};

use super::{PAGE, read_pages};
use crate::confirm::ConfirmArgs;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::Shown;
use crate::progress::{ProgressMode, Unit};
use crate::record_views::TenantView;
use crate::resolve;
use crate::session::{Session, show};

/// A kind of tenant: how its commands are described, and what they do.
pub(crate) trait Tenant: Sized {
    /// The help texts.
    const HELP: Help;

    async fn create(session: &Session, name: Name) -> Result<Self, Error>;
    async fn find(session: &Session, id_or_name: &str) -> anyhow::Result<Self>;
    async fn list(session: &Session) -> Result<Vec<Self>, Error>;
    async fn set_status(&self, session: &Session, status: Status) -> Result<Self, Error>;
    async fn delete(&self, session: &Session) -> Result<(), Error>;
    fn deletion(&self) -> Deletion;
    fn label(&self) -> String;
    fn view(&self) -> TenantView;
}

/// The help texts of the commands for a kind of tenant.
pub(crate) struct Help {
    create: &'static str,
    name: &'static str,
    list: &'static str,
    enable: &'static str,
    disable: &'static str,
    delete: &'static str,
    target: &'static str,
    value_name: &'static str,
}

impl Tenant for Org {
    const HELP: Help = Help {
        create: "Create an org",
        name: "Its name, which no other org has",
        list: "List all orgs",
        enable: "Enable an org, and with it the credentials in it",
        disable: "Disable an org, and with it every credential in it",
        delete: "Delete an org, its buckets and every credential in it",
        target: "The org, by id or name",
        value_name: "ORG",
    };

    async fn create(session: &Session, name: Name) -> Result<Self, Error> {
        session.create_org(name).await
    }

    async fn find(session: &Session, id_or_name: &str) -> anyhow::Result<Self> {
        resolve::org(session, id_or_name).await
    }

    async fn list(session: &Session) -> Result<Vec<Self>, Error> {
        let page = async |last: Option<&Self>| session.orgs(last.map(|last| last.id), PAGE).await;
        read_pages(page).await
    }

    async fn set_status(&self, session: &Session, status: Status) -> Result<Self, Error> {
        session.set_org_status(self.id, status).await
    }

    async fn delete(&self, session: &Session) -> Result<(), Error> {
        session.delete_org(self.id).await
    }

    fn deletion(&self) -> Deletion {
        Deletion::Org(self.id)
    }

    fn label(&self) -> String {
        format!("the org `{}`", self.name)
    }

    fn view(&self) -> TenantView {
        self.into()
    }
}

impl Tenant for User {
    const HELP: Help = Help {
        create: "Create a user, to whom credentials belong",
        name: "The name, which no other user has",
        list: "List all users",
        enable: "Enable a user, and with it the user's credentials",
        disable: "Disable a user, and with it every credential of the user",
        delete: "Delete a user and every credential of the user",
        target: "The user, by id or name",
        value_name: "USER",
    };

    async fn create(session: &Session, name: Name) -> Result<Self, Error> {
        session.create_user(name).await
    }

    async fn find(session: &Session, id_or_name: &str) -> anyhow::Result<Self> {
        resolve::user(session, id_or_name).await
    }

    async fn list(session: &Session) -> Result<Vec<Self>, Error> {
        let page = async |last: Option<&Self>| session.users(last.map(|last| last.id), PAGE).await;
        read_pages(page).await
    }

    async fn set_status(&self, session: &Session, status: Status) -> Result<Self, Error> {
        session.set_user_status(self.id, status).await
    }

    async fn delete(&self, session: &Session) -> Result<(), Error> {
        session.delete_user(self.id).await
    }

    fn deletion(&self) -> Deletion {
        Deletion::User(self.id)
    }

    fn label(&self) -> String {
        format!("the user `{}`", self.name)
    }

    fn view(&self) -> TenantView {
        self.into()
    }
}

#[derive(clap::Subcommand)]
pub(crate) enum Command<T: Tenant> {
    #[command(about = T::HELP.create)]
    Create {
        #[arg(help = T::HELP.name, value_parser = resolve::parse_name)]
        name: Name,
    },
    #[command(about = T::HELP.list)]
    List,
    #[command(about = T::HELP.enable, alias = "set-active")]
    Enable(Target<T>),
    #[command(about = T::HELP.disable, alias = "set-inactive")]
    Disable(Target<T>),
    #[command(about = T::HELP.delete)]
    Delete {
        #[command(flatten)]
        target: Target<T>,
        #[command(flatten)]
        confirm: ConfirmArgs,
    },
}

/// The tenant on which a command works.
#[derive(clap::Args)]
pub(crate) struct Target<T: Tenant> {
    #[arg(help = T::HELP.target, value_name = T::HELP.value_name)]
    id_or_name: String,

    #[arg(skip)]
    kind: PhantomData<T>,
}

pub(crate) fn run<T: Tenant>(command: Command<T>, context: Context) -> anyhow::Result<Outcome> {
    let progress = context.progress;
    show(context, async |session: &Session| command.run(session, progress).await)
}

impl<T: Tenant> Command<T> {
    async fn run(
        self,
        session: &Session,
        progress: ProgressMode,
    ) -> anyhow::Result<Shown<TenantView>> {
        let tenant = match self {
            Self::List => {
                return Ok(Shown::Many(T::list(session).await?.iter().map(T::view).collect()));
            }
            Self::Create { name } => T::create(session, name).await?,
            Self::Enable(target) => {
                target.find(session).await?.set_status(session, Status::Active).await?
            }
            Self::Disable(target) => {
                target.find(session).await?.set_status(session, Status::Inactive).await?
            }
            Self::Delete { target, confirm } => {
                let tenant = target.find(session).await?;
                confirm.confirm(session, &tenant.label(), tenant.deletion()).await?;
                let _shown = progress.begin("deleting", Unit::Time, None).ticking();
                tenant.delete(session).await?;
                tenant
            }
        };
        Ok(Shown::One(tenant.view()))
    }
}

impl<T: Tenant> Target<T> {
    async fn find(&self, session: &Session) -> anyhow::Result<T> {
        T::find(session, &self.id_or_name).await
    }
}
