//! `portcullis auth list`.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use portcullis::{AuthorizationFilter, AuthorizationId, Engine, Permission, Status};

use crate::commands::PAGE;
use crate::names::{self, Names};
use crate::permissions::complete;
use crate::record_views::AuthorizationView;

#[derive(clap::Args)]
#[command(after_help = "\
Example, who can write to this bucket?
  portcullis auth list --status active --permits write:buckets/0123456789abcdef")]
pub(crate) struct Args {
    /// In this org, by id or name
    #[arg(long)]
    org: Option<String>,

    /// Of this user, by id or name
    #[arg(long)]
    user: Option<String>,

    /// With this username
    #[arg(long)]
    username: Option<String>,

    /// With this id
    #[arg(long)]
    id: Option<AuthorizationId>,

    /// With this status
    #[arg(long, value_parser = PossibleValuesParser::new(["active", "inactive"])
        .try_map(|text| text.parse::<Status>()))]
    status: Option<Status>,

    /// With permissions that allow this, such as write:buckets/ID
    #[arg(long, value_name = "TEXT")]
    permits: Option<Permission>,
}

impl Args {
    pub(super) async fn run(self, engine: &Engine) -> anyhow::Result<Vec<AuthorizationView>> {
        let filter = self.filter(engine).await?;
        let mut names = Names::new(engine);
        let mut views = Vec::new();
        let mut after = None;
        loop {
            let page = engine.list_authorizations(&filter, after, PAGE).await?;
            for authorization in &page.items {
                views.push(AuthorizationView::new(&mut names, authorization).await?);
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(views),
            }
        }
    }

    async fn filter(self, engine: &Engine) -> anyhow::Result<AuthorizationFilter> {
        let org = match &self.org {
            Some(org) => Some(names::org(engine, org).await?.id),
            None => None,
        };
        let user = match &self.user {
            Some(user) => Some(names::user(engine, user).await?.id),
            None => None,
        };
        let permits = match self.permits {
            Some(asked) => Some(complete(engine, asked, org).await?),
            None => None,
        };
        Ok(AuthorizationFilter {
            id: self.id,
            username: self.username,
            org,
            user,
            status: self.status,
            permits,
        })
    }
}
