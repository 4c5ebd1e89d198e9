//! `portcullis auth list`.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use portcullis::{AuthorizationFilter, AuthorizationId, Engine, Status};

use crate::commands::PAGE;
use crate::permissions::PermissionArg;
use crate::record_views::AuthorizationView;
use crate::resolve;

#[derive(clap::Args)]
#[command(after_help = "\
Example, the active authorizations that can write to a bucket:
  portcullis auth list --org acme --status active --permission write:buckets/telemetry")]
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

    /// With permissions that allow this: read or write, a colon, and a resource by id or name, such
    /// as write:buckets/BUCKET (a bucket by name needs --org, or write:orgs/ORG/buckets/BUCKET)
    #[arg(long, alias = "permits", value_name = "TEXT")]
    permission: Option<PermissionArg>,
}

impl Args {
    pub(super) async fn run(self, engine: &Engine) -> anyhow::Result<Vec<AuthorizationView>> {
        let filter = self.filter(engine).await?;
        let mut names = engine.name_resolver();
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
        let org = resolve::optional_org(engine, self.org.as_deref()).await?;
        let user = match &self.user {
            Some(user) => Some(resolve::user(engine, user).await?.id),
            None => None,
        };
        let permits = match self.permission {
            Some(permission) => Some(permission.to_query(engine, org).await?),
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
