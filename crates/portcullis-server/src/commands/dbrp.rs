//! `portcullis dbrp`.

use anyhow::anyhow;
use portcullis::{DbrpFilter, DbrpMapping, DbrpUpdate, Deletion, Error, NewDbrp, Org, OrgId};

use super::{PAGE, read_pages};
use crate::confirm::ConfirmArgs;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::Shown;
use crate::record_views::DbrpView;
use crate::resolve;
use crate::session::{Names, Session, show};

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Map a retention policy of a database to a bucket
    Create {
        /// The org, by id or name
        #[arg(long)]
        org: String,
        /// The bucket, by id or name
        #[arg(long)]
        bucket: String,
        /// Make it the mapping of the database alone, as the first mapping of a database always is
        #[arg(long)]
        default: bool,
        /// The database
        database: String,
        /// The retention policy
        #[arg(default_value = "autogen")]
        retention_policy: String,
    },
    /// List the mappings of an org, or all of them
    List {
        /// The org, by id or name
        #[arg(long)]
        org: Option<String>,
        /// Only those of this database
        #[arg(long)]
        database: Option<String>,
        /// Leave out those that follow from the names of buckets
        #[arg(long)]
        no_virtual: bool,
    },
    /// Show a mapping
    Show(MappingArgs),
    /// Change the retention policy of a mapping, or which mapping is the default
    Update {
        #[command(flatten)]
        mapping: MappingArgs,
        /// Make it the default of its database; with `=false`, make another one the default
        #[arg(
            long,
            num_args = 0..=1,
            require_equals = true,
            default_missing_value = "true",
            required_unless_present = "retention_policy"
        )]
        default: Option<bool>,
        /// The new name of the retention policy
        #[arg(long)]
        retention_policy: Option<String>,
    },
    /// Delete a mapping
    Delete {
        #[command(flatten)]
        mapping: MappingArgs,
        #[command(flatten)]
        confirm: ConfirmArgs,
    },
}

#[derive(clap::Args)]
pub(crate) struct MappingArgs {
    /// The org, by id or name
    #[arg(long)]
    org: String,
    /// The mapping, by id or as DATABASE/RETENTION_POLICY
    mapping: String,
}

pub(crate) fn run(command: Command, context: Context) -> anyhow::Result<Outcome> {
    show(context, async |session: &Session| command.run(session).await)
}

impl Command {
    async fn run(self, session: &Session) -> anyhow::Result<Shown<DbrpView>> {
        let mut names = session.names();
        let mapping = match self {
            Self::List { org, database, no_virtual } => {
                let orgs = match resolve::optional_org(session, org.as_deref()).await? {
                    Some(org) => vec![org],
                    None => orgs(session).await?,
                };
                let is_virtual = no_virtual.then_some(false);
                let filter = |org| DbrpFilter {
                    database: database.clone(),
                    is_virtual,
                    ..DbrpFilter::all(org)
                };
                let filters = orgs.into_iter().map(filter);
                return Ok(Shown::Many(list(session, &mut names, filters).await?));
            }
            Self::Create { org, bucket, default, database, retention_policy } => {
                let org = resolve::org(session, &org).await?;
                let bucket = resolve::bucket_of(session, &org, &bucket).await?.id;
                let is_default = default;
                let org = org.id;
                let new = NewDbrp { org, database, retention_policy, is_default, bucket };
                session.create_dbrp(new).await?
            }
            Self::Show(mapping) => mapping.find(session).await?,
            Self::Update { mapping, default: is_default, retention_policy } => {
                let found = mapping.find(session).await?;
                let update = DbrpUpdate { retention_policy, is_default };
                session.update_dbrp(found.org, found.id, update).await?
            }
            Self::Delete { mapping, confirm } => {
                let found = mapping.find(session).await?;
                let DbrpMapping { database, retention_policy, .. } = &found;
                let what = format!("the mapping of `{database}/{retention_policy}`");
                confirm.confirm(session, &what, Deletion::Dbrp(found.org, found.id)).await?;
                session.delete_dbrp(found.org, found.id).await?;
                found
            }
        };
        Ok(Shown::One(DbrpView::new(&mut names, &mapping).await?))
    }
}

impl MappingArgs {
    async fn find(&self, session: &Session) -> anyhow::Result<DbrpMapping> {
        let org = resolve::org(session, &self.org).await?.id;
        let name = &self.mapping;
        if let Some((database, policy)) = name.split_once('/') {
            let filter = DbrpFilter {
                database: Some(database.to_owned()),
                retention_policy: Some(policy.to_owned()),
                ..DbrpFilter::all(org)
            };
            let found = session.list_dbrps(&filter).await?.into_iter().next();
            return found.ok_or_else(|| anyhow!("there is no mapping of `{name}` in the org"));
        }
        let id = name.parse().map_err(|_| {
            anyhow!("`{name}` is neither an id nor DATABASE/RETENTION_POLICY: see `dbrp list`")
        })?;
        let found = session.dbrp(org, id).await?;
        found.ok_or_else(|| anyhow!("there is no mapping with the id {id} in the org"))
    }
}

async fn orgs(session: &Session) -> Result<Vec<OrgId>, Error> {
    let page = async |last: Option<&Org>| session.orgs(last.map(|last| last.id), PAGE).await;
    Ok(read_pages(page).await?.into_iter().map(|org| org.id).collect())
}

async fn list(
    session: &Session,
    names: &mut Names<'_>,
    filters: impl Iterator<Item = DbrpFilter>,
) -> anyhow::Result<Vec<DbrpView>> {
    let mut views = Vec::new();
    for filter in filters {
        for mapping in &session.list_dbrps(&filter).await? {
            views.push(DbrpView::new(names, mapping).await?);
        }
    }
    Ok(views)
}
