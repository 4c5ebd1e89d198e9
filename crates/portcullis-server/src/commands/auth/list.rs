//! `portcullis auth list`.

use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::bail;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use portcullis::{AuthorizationFilter, AuthorizationId, Id, OrgId, Permission, Status, Timestamp};

use crate::commands::PAGE;
use crate::duration;
use crate::permissions::PermissionArg;
use crate::record_views::AuthorizationView;
use crate::resolve;
use crate::restrictions::Time;
use crate::session::Session;

#[derive(clap::Args)]
#[command(after_help = "\
Examples, the active authorizations that can write to a bucket:
  portcullis auth list --org acme --status active --can-write telemetry
  portcullis auth list --permission write:orgs/acme/buckets/telemetry --output csv

Those that were not used for 90 days, with when they were last used:
  portcullis auth list --unused-for 90d")]
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

    #[command(flatten)]
    permits: PermitsArgs,

    /// That expire before this time, or whose passwords do, with those that have expired: RFC 3339, or a
    /// time from now such as 30d
    #[arg(long, value_name = "TIME")]
    expires_before: Option<Time>,
    /// Not used for this time, such as 90d or 12h. One that was never used counts as used when it was
    /// created. Shows when each was last used, as far as servers have recorded it
    #[arg(long, value_name = "DURATION", conflicts_with = "unused_since", value_parser = duration::parse)]
    unused_for: Option<Duration>,

    /// Not used since this time, such as 2026-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    unused_since: Option<Timestamp>,

    /// At most this many. Standard error says how to list the following ones
    #[arg(long, value_name = "COUNT")]
    limit: Option<NonZeroUsize>,

    /// With higher ids than this one
    #[arg(long, value_name = "ID")]
    after: Option<AuthorizationId>,
}

/// What the permissions allow, in one of three ways.
#[derive(clap::Args)]
#[group(multiple = false)]
struct PermitsArgs {
    /// With permissions that allow this: read or write, a colon, and a resource by id or name, such
    /// as write:buckets/BUCKET (a bucket by name needs --org, or write:orgs/ORG/buckets/BUCKET)
    #[arg(long, alias = "permits", value_name = "TEXT")]
    permission: Option<PermissionArg>,

    /// With permissions that allow to read this bucket, by id, or with --org by name
    #[arg(long, value_name = "BUCKET")]
    can_read: Option<String>,

    /// With permissions that allow to write to this bucket, by id, or with --org by name
    #[arg(long, value_name = "BUCKET")]
    can_write: Option<String>,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> anyhow::Result<Vec<AuthorizationView>> {
        let (limit, mut after) = (self.limit, self.after);
        let filter = self.filter(session).await?;
        let mut names = session.names();
        let mut views = Vec::new();
        loop {
            let missing = limit.map(|limit| limit.get() - views.len());
            let page =
                missing.and_then(NonZeroUsize::new).map_or(PAGE, |missing| missing.min(PAGE));
            let page = session.list_authorizations(&filter, after, page).await?;
            for authorization in &page.items {
                views.push(AuthorizationView::new(&mut names, authorization).await?);
            }
            let Some(next) = page.next else { return Ok(views) };
            if limit.is_some_and(|limit| views.len() >= limit.get()) {
                // There is no other place for it: standard output has the records only.
                let _ = writeln!(io::stderr().lock(), "there are more: --after {next}");
                return Ok(views);
            }
            after = Some(next);
        }
    }

    async fn filter(self, session: &Session) -> anyhow::Result<AuthorizationFilter> {
        let org = resolve::optional_org(session, self.org.as_deref()).await?;
        let user = match &self.user {
            Some(user) => Some(resolve::user(session, user).await?.id),
            None => None,
        };
        let unused_since = self.unused_since.or(self.unused_for.map(before_now));
        Ok(AuthorizationFilter {
            unused_since,
            id: self.id,
            username: self.username,
            org,
            user,
            status: self.status,
            permits: self.permits.permission(session, org).await?,
            expires_before: self.expires_before.map(Time::time),
        })
    }
}

/// Returns the time that was so long ago.
fn before_now(duration: Duration) -> Timestamp {
    let now = Timestamp::now().as_unix_millis();
    let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_millis(now.saturating_sub(millis)).unwrap_or(Timestamp::UNIX_EPOCH)
}

impl PermitsArgs {
    async fn permission(
        &self,
        session: &Session,
        org: Option<OrgId>,
    ) -> anyhow::Result<Option<Permission>> {
        let (option, action, bucket) = match (&self.permission, &self.can_read, &self.can_write) {
            (Some(permission), ..) => return permission.to_query(session, org).await.map(Some),
            (_, Some(bucket), _) => ("--can-read", "read", bucket),
            (.., Some(bucket)) => ("--can-write", "write", bucket),
            (None, None, None) => return Ok(None),
        };
        if org.is_none() && bucket.parse::<Id>().is_err() {
            bail!("{option} {bucket}: a bucket by its name needs its org: give --org");
        }
        let permission: PermissionArg = format!("{action}:buckets/{bucket}").parse()?;
        permission.to_query(session, org).await.map(Some)
    }
}
