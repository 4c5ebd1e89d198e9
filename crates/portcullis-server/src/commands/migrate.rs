//! `portcullis migrate` and `portcullis restore`.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use portcullis::AuditAction;
use portcullis::verify::verify;
use serde::Serialize;

use crate::command_audit::audited;
use crate::context::Context;
use crate::failure::Outcome;
use crate::progress::{ProgressMode, Unit};
use crate::runtime::block_on;
use crate::stores::{Contents, OpenMode, PersistentStore, StoreUrl, close, copy};

#[derive(clap::Args)]
#[command(after_help = "\
The new store appears when it is complete and has been compared with the old one. Ids, hashes
and revisions are kept. Stop the server first, or start it with `serve --read-only`: if a
record changes during the copy, nothing is done.

Examples:
  portcullis migrate --from sqlite:portcullis.db --to redb:portcullis.redb
  portcullis migrate --from sled:portcullis.sled --to sqlite:/var/lib/portcullis/portcullis.db
  portcullis migrate --from sqlite:portcullis.db --to postgres://portcullis@db1,db2/portcullis")]
pub(crate) struct MigrateArgs {
    /// The store to copy
    #[arg(long, value_name = "URL")]
    from: String,

    /// The store to create
    #[arg(long, value_name = "URL")]
    to: String,
}

#[derive(clap::Args)]
#[command(after_help = "\
The backup is verified first, and not changed. There must be no store at --store: move a
damaged one away first.

Example:
  mv portcullis.db damaged.db
  portcullis restore monday.db --store sqlite:portcullis.db")]
pub(crate) struct RestoreArgs {
    /// A backup by `portcullis backup`, of the same kind of store as --store
    backup: PathBuf,
}

#[derive(Serialize)]
struct Document<'a> {
    from: String,
    to: String,
    #[serde(flatten)]
    contents: &'a Contents,
}

pub(crate) fn run(args: MigrateArgs, context: Context) -> anyhow::Result<Outcome> {
    let from = StoreUrl::parse_persistent(&args.from)?;
    let to = StoreUrl::parse_persistent(&args.to)?;
    let contents = audited(AuditAction::Restore, || copy_to_new(&from, &to, context.progress))?;
    let text = format!("copied {from} to {to}, and compared them:\n{contents}");
    let document = Document { from: from.to_string(), to: to.to_string(), contents: &contents };
    context.output.document(&document, &text)?;
    Ok(Outcome::Done)
}

pub(crate) fn restore(args: RestoreArgs, context: Context) -> anyhow::Result<Outcome> {
    let persistent = StoreUrl::parse_persistent(&context.store)?;
    let to = persistent.as_file()?;
    let from = to.at(args.backup);
    if !to.is_absent().with_context(|| format!("cannot access `{}`", to.path().display()))? {
        bail!("there is a store at `{}`: move it out of the way first", to.path().display());
    }
    let backup = from.open_to_read()?;
    let damages = block_on(async {
        let mut progress = context.progress.begin("verifying", Unit::Records, None);
        let report = verify(&*backup, |count| progress.add(count)).await;
        close(&*backup).await;
        Ok(report.context("could not verify the backup")?.damages)
    })?;
    drop(backup);
    if damages > 0 {
        bail!("the backup is damaged: run `portcullis verify --store {from}` for details");
    }
    let contents = audited(AuditAction::Restore, || {
        copy_to_new(&PersistentStore::File(from.clone()), &persistent, context.progress)
    })?;
    let text = format!("restored {to} from {from}:\n{contents}");
    let document = Document { from: from.to_string(), to: to.to_string(), contents: &contents };
    context.output.document(&document, &text)?;
    Ok(Outcome::Done)
}

fn copy_to_new(
    from: &PersistentStore,
    to: &PersistentStore,
    progress: ProgressMode,
) -> anyhow::Result<Contents> {
    let old = from.open_to_read()?;
    let copied = to.create_whole(|unfinished| {
        let new = unfinished.open(OpenMode::Create)?;
        block_on(async {
            let mut progress = progress.begin("copying", Unit::Records, None);
            let copied = copy(&*old, &*new, |count| progress.add(count)).await;
            drop(progress);
            // A new store that is not closed in good order is not complete.
            let closed = new.close().await.context("could not complete the new store");
            closed.and(copied)
        })
    });
    block_on(async {
        close(&*old).await;
        copied
    })
}
