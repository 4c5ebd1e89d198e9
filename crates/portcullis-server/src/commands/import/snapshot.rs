//! `portcullis import` of a snapshot.

use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use portcullis::snapshot::{InvalidSnapshot, LineError, Snapshot};
use portcullis::{Engine, ImportError};
use serde::Serialize;

use crate::context::Context;
use crate::failure::Outcome;
use crate::passwords::PolicyArgs;
use crate::progress::{CountingReader, ProgressMode, Unit};
use crate::session::{on_persistent_store, on_store};
use crate::stores::{OpenMode, PersistentStore, StoreUrl, in_memory};
use crate::table::escape;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    imported: usize,
    unchanged: usize,
    dry_run: bool,
}

pub(super) fn run(file: &Path, dry_run: bool, context: Context) -> anyhow::Result<Outcome> {
    let store = StoreUrl::parse_persistent(&context.store)?;
    let snapshot = read(file, context.progress)?;
    let records = snapshot.len();
    let shown = context.progress.begin("importing", Unit::Time, None).ticking();
    let imported = match store.is_absent() {
        Ok(true) if dry_run => import_into_memory(snapshot),
        Ok(true) => import_into_new(&store, snapshot),
        // Any other error is reported by opening the store.
        _ if dry_run => import_into(&store, OpenMode::MustExist, snapshot, true),
        _ => import_into(&store, OpenMode::Create, snapshot, false),
    };
    // Gone before anything else is written to the terminal.
    drop(shown);
    let imported = imported.map_err(|error| match error.downcast::<ImportError>() {
        Ok(ImportError::Lines(lines)) => refused(&lines),
        Ok(error) => error.into(),
        Err(error) => error,
    })?;
    let unchanged = records.saturating_sub(imported);
    let done = if dry_run { "can be imported, nothing was stored" } else { "imported" };
    let text = format!("{imported} records {done} ({unchanged} were there already)\n");
    context.output.document(&Document { imported, unchanged, dry_run }, &text)?;
    Ok(Outcome::Done)
}

fn read(file: &Path, progress: ProgressMode) -> anyhow::Result<Snapshot> {
    let begin = |total| progress.begin("reading", Unit::Bytes, total);
    let mut input: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(BufReader::new(CountingReader::new(io::stdin().lock(), begin(None))))
    } else {
        let opened =
            File::open(file).with_context(|| format!("cannot open `{}`", file.display()))?;
        // A pipe has no length.
        let length = opened.metadata().ok().filter(Metadata::is_file).map(|file| file.len());
        Box::new(BufReader::new(CountingReader::new(opened, begin(length))))
    };
    // An export that failed at once writes nothing. A snapshot of an empty store has two lines.
    if input.fill_buf().context("could not read the snapshot")?.is_empty() {
        bail!("the snapshot is empty: nothing was imported");
    }
    Snapshot::read(input).map_err(|error| match error {
        InvalidSnapshot::Lines(lines) => refused(&lines),
        error => error.into(),
    })
}

fn import_into(
    store: &PersistentStore,
    mode: OpenMode,
    snapshot: Snapshot,
    dry_run: bool,
) -> anyhow::Result<usize> {
    on_persistent_store(store, mode, PolicyArgs::default(), async |engine: &Engine| {
        import(engine, snapshot, dry_run).await
    })
}

fn import_into_memory(snapshot: Snapshot) -> anyhow::Result<usize> {
    on_store(in_memory()?, PolicyArgs::default(), async |engine: &Engine| {
        import(engine, snapshot, true).await
    })
}

/// Imports into a store that appears when it is complete.
fn import_into_new(store: &PersistentStore, snapshot: Snapshot) -> anyhow::Result<usize> {
    store.create_whole(|unfinished| import_into(unfinished, OpenMode::Create, snapshot, false))
}

async fn import(engine: &Engine, snapshot: Snapshot, dry_run: bool) -> anyhow::Result<usize> {
    Ok(engine.import(snapshot, dry_run).await?)
}

/// Reports every line that is refused on standard error, and returns the error of the command.
fn refused(lines: &[LineError]) -> anyhow::Error {
    let mut stderr = io::stderr().lock();
    for line in lines {
        // There is no other place to report an error.
        let _ = writeln!(stderr, "{}", escape(&line.to_string()));
    }
    match lines.len() {
        1 => anyhow!("1 line of the snapshot is refused: nothing was imported"),
        count => anyhow!("{count} lines of the snapshot are refused: nothing was imported"),
    }
}
