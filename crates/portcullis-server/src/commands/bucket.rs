//! `portcullis bucket`.

use portcullis::{Bucket, Deletion, Name};

use super::{PAGE, read_pages};
use crate::confirm::ConfirmArgs;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::Shown;
use crate::record_views::BucketView;
use crate::resolve;
use crate::session::{Names, Session, show};

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Create a bucket in an org
    Create {
        /// The org, by id or name
        #[arg(long)]
        org: String,
        /// The bucket's name, which no other bucket of the org has
        #[arg(value_parser = resolve::parse_name)]
        name: Name,
    },
    /// List the buckets of an org, or all of them
    List {
        /// The org, by id or name
        #[arg(long)]
        org: Option<String>,
    },
    /// Delete a bucket; permissions that name it are kept and grant nothing
    Delete {
        /// The org, by id or name
        #[arg(long)]
        org: String,
        /// The bucket, by id or name
        bucket: String,
        #[command(flatten)]
        confirm: ConfirmArgs,
    },
}

pub(crate) fn run(command: Command, context: Context) -> anyhow::Result<Outcome> {
    show(context, async |session: &Session| command.run(session).await)
}

impl Command {
    async fn run(self, session: &Session) -> anyhow::Result<Shown<BucketView>> {
        let mut names = session.names();
        let bucket = match self {
            Self::List { org } => return Ok(Shown::Many(list(session, &mut names, org).await?)),
            Self::Create { org, name } => {
                let org = resolve::org(session, &org).await?;
                session.create_bucket(org.id, name).await?
            }
            Self::Delete { org, bucket, confirm } => {
                let org = resolve::org(session, &org).await?;
                let bucket = resolve::bucket_of(session, &org, &bucket).await?;
                let what = format!("the bucket `{}` of the org `{}`", bucket.name, org.name);
                confirm.confirm(session, &what, Deletion::Bucket(bucket.id)).await?;
                session.delete_bucket(bucket.id).await?;
                bucket
            }
        };
        Ok(Shown::One(BucketView::new(&mut names, &bucket).await?))
    }
}

async fn list(
    session: &Session,
    names: &mut Names<'_>,
    org: Option<String>,
) -> anyhow::Result<Vec<BucketView>> {
    let org = resolve::optional_org(session, org.as_deref()).await?;
    let page =
        async |last: Option<&Bucket>| session.buckets(org, last.map(|last| last.id), PAGE).await;
    let mut views = Vec::new();
    for bucket in &read_pages(page).await? {
        views.push(BucketView::new(names, bucket).await?);
    }
    Ok(views)
}
