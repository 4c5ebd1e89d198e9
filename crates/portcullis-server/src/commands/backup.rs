//! `portcullis backup`.

use std::path::PathBuf;

use anyhow::Context as _;
use portcullis::AuditAction;
use serde::Serialize;

use crate::cli::Context;
use crate::command_audit::audited;
use crate::failure::Outcome;
use crate::local_store::IfMissing;
use crate::session::{close, run as run_async};
use crate::store_url::StoreUrl;

#[derive(clap::Args)]
#[command(after_help = "\
The backup shows one moment and is a store itself. For sqlite: it is a file, and a server may go on
working meanwhile; for sled: a directory, and no server may run (only one process can have it open).
PostgreSQL makes backups itself: pg_dump --schema=portcullis, or its continuous archiving.
It holds the hashes of passwords and tokens: its owner alone may read it.

Example:
  portcullis backup --store sqlite:portcullis.db monday.db")]
pub(crate) struct Args {
    /// Where to write it; nothing may be there
    destination: PathBuf,
}

#[derive(Serialize)]
struct Document {
    backup: String,
}

pub(crate) fn run(args: Args, context: Context) -> anyhow::Result<Outcome> {
    let lasting = StoreUrl::parse_lasting(&context.store)?;
    let local = lasting.local()?;
    audited(AuditAction::BackUp, || {
        let store = local.open(IfMissing::Fail)?;
        run_async(async {
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
