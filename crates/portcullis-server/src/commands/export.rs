//! `portcullis export`.

use portcullis::Engine;

use crate::context::Context;
use crate::failure::Outcome;
use crate::progress::{LineCounter, Unit};
use crate::session::on_store_to_read;

#[derive(clap::Args)]
#[command(after_help = "\
The snapshot has one JSON object per line, with or without --json; the last line proves that
it is complete. It holds the hashes of passwords and tokens: keep it readable only by its
owner.

Example:
  (umask 077 && portcullis export > snapshot.jsonl)")]
pub(crate) struct Args {}

pub(crate) fn run(Args {}: Args, context: Context) -> anyhow::Result<Outcome> {
    let Context { store, output, progress, .. } = context;
    let out =
        LineCounter::new(output.into_inner(), progress.begin("exporting", Unit::Records, None));
    on_store_to_read(&store, async |engine: &Engine| Ok(engine.export(out).await?))?;
    Ok(Outcome::Done)
}
