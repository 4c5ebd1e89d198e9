//! `portcullis setup`.

use std::fmt::Write as _;

use anyhow::{anyhow, bail};
use portcullis::{Engine, Name, Setup};
use serde::Serialize;

use crate::context::Context;
use crate::failure::Outcome;
use crate::passwords::PolicyArgs;
use crate::record_views::{BucketView, TenantView};
use crate::resolve;
use crate::session::{Names, on_persistent_store};
use crate::stores::{OpenMode, StoreUrl};
use crate::table;

#[derive(clap::Args)]
#[command(after_help = "\
The store is created if there is none. A store that is already set up is not changed.

Example:
  portcullis setup --org acme --user ada --bucket telemetry --bucket events")]
pub(crate) struct Args {
    /// Name of the first org
    #[arg(long, value_parser = resolve::parse_name)]
    org: Name,

    /// Name of the first user, to whom the operator token belongs
    #[arg(long, value_parser = resolve::parse_name)]
    user: Name,

    /// Name of a bucket of the org (can be repeated)
    #[arg(long = "bucket", value_name = "BUCKET", value_parser = resolve::parse_name)]
    buckets: Vec<Name>,
}

#[derive(Serialize)]
struct Document<'a> {
    org: TenantView,
    user: TenantView,
    buckets: Vec<BucketView>,
    #[serde(rename = "tokenID")]
    token_id: String,
    token: &'a str,
}

pub(crate) fn run(args: Args, context: Context) -> anyhow::Result<Outcome> {
    let Args { org, user, buckets } = args;
    // Before a file is created.
    let mut seen = Vec::new();
    for bucket in &buckets {
        if seen.contains(&bucket) {
            bail!("--bucket {bucket} is given twice");
        }
        seen.push(bucket);
    }
    let store = StoreUrl::parse_persistent(&context.store)?;
    let setup = Setup { org, user, buckets };
    let work = async |engine: &Engine| {
        let done = engine.setup(setup).await?;
        let mut names = Names::Store(Box::new(engine.name_resolver()));
        let mut buckets = Vec::new();
        for bucket in &done.buckets {
            buckets.push(BucketView::new(&mut names, bucket).await?);
        }
        Ok((done, buckets))
    };
    let (done, buckets) =
        on_persistent_store(&store, OpenMode::Create, PolicyArgs::default(), work)?;

    let mut pairs = vec![
        ("org", format!("{} ({})", done.org.name, done.org.id)),
        ("user", format!("{} ({})", done.user.name, done.user.id)),
    ];
    pairs.extend(done.buckets.iter().map(|b| ("bucket", format!("{} ({})", b.name, b.id))));
    pairs.push(("operator token", done.secret.expose().to_owned()));
    let mut text = table::pairs(&pairs);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "The token is shown only once and cannot be read later.");
    let document = Document {
        org: TenantView::from(&done.org),
        user: TenantView::from(&done.user),
        buckets,
        token_id: done.token.id.to_string(),
        token: done.secret.expose(),
    };
    context.output.document(&document, &text).map_err(|error| {
        // An error even if the reader has gone away: the token is nowhere else.
        anyhow!(
            "the store is set up and the operator token could not be shown ({error}): create \
             another one with `portcullis token create --operator`"
        )
    })?;
    Ok(Outcome::Done)
}
