//! `portcullis backup`.

use std::path::PathBuf;

use anyhow::Context as _;
use portcullis::AuditAction;
use serde::Serialize;

use crate::command_audit::audited;
use crate::context::Context;
use crate::failure::Outcome;
use crate::progress::Unit;
use crate::runtime::block_on;
use crate::stores::{OpenMode, StoreUrl, close};

#[derive(clap::Args)]
#[command(after_help = "\
The backup is consistent and a store itself. For sqlite: it is a file, and a server may run
during the backup. For redb: it is a file; for sled: a directory. No server may run then, since
only one process can open a store. PostgreSQL makes backups itself: pg_dump
--schema=portcullis, or its continuous archiving. A backup holds the hashes of passwords and
tokens: only its owner may read it.

Example:
  portcullis backup --store sqlite:portcullis.db monday.db")]
pub(crate) struct Args {
    /// The path of the backup, where nothing may exist
    destination: PathBuf,
}

#[derive(Serialize)]
struct Document {
    backup: String,
}

pub(crate) fn run(args: Args, context: Context) -> anyhow::Result<Outcome> {
    let persistent = StoreUrl::parse_persistent(&context.store)?;
    let local = persistent.as_file()?;
    let progress = context.progress.begin("backing up", Unit::Time, None);
    audited(AuditAction::BackUp, || {
        let _shown = progress.ticking();
        let store = local.open(OpenMode::MustExist)?;
        block_on(async {
            let done = store.back_up(&args.destination).await;
            close(&*store).await;
            done.with_context(|| format!("could not back up to `{}`", args.destination.display()))
        })
    })?;
    let backup = local.at(args.destination).to_string();
    let text = format!("backup written: {backup}\n");
    context.output.document(&Document { backup }, &text)?;
    Ok(Outcome::Done)
}
