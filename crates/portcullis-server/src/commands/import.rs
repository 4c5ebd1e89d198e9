//! `portcullis import`.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use portcullis::snapshot::{InvalidSnapshot, LineError, Snapshot};
use portcullis::{Engine, ImportError};
use serde::Serialize;
use tempfile::TempPath;

use crate::cli::Context;
use crate::failure::Outcome;
use crate::session::{PolicyArgs, on_file, on_store};
use crate::store_url::{IfMissing, StoreUrl, in_memory};
use crate::table::escape;

#[derive(clap::Args)]
#[command(after_help = "\
Nothing is stored unless every line can be. Each line that is refused is named on standard error.
The store is created if there is none. A record that is there already, exactly so, is left alone.

Examples:
  portcullis import --dry-run snapshot.jsonl
  portcullis export --store sqlite:old.db | portcullis import --store sqlite:new.db -")]
pub(crate) struct Args {
    /// The snapshot; - is standard input
    file: PathBuf,

    /// Check everything and store nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    imported: usize,
    unchanged: usize,
    dry_run: bool,
}

pub(crate) fn run(args: Args, context: Context) -> anyhow::Result<Outcome> {
    let Args { file, dry_run } = args;
    let store = StoreUrl::parse_lasting(&context.store)?;
    let snapshot = read(&file)?;
    let records = snapshot.len();
    let imported = match fs::metadata(&store) {
        Ok(file) if dry_run && file.len() == 0 => import_into_memory(snapshot)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound && dry_run => {
            import_into_memory(snapshot)?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => import_into_new(&store, snapshot)?,
        // What else is wrong with the file, opening it says best.
        _ if dry_run => import_into(&store, IfMissing::Fail, snapshot, true)?,
        _ => import_into(&store, IfMissing::Create, snapshot, false)?,
    };
    let unchanged = records.saturating_sub(imported);
    let done = if dry_run { "can be imported, nothing was stored" } else { "imported" };
    let text = format!("{imported} records {done} ({unchanged} were there already)\n");
    context.output.document(&Document { imported, unchanged, dry_run }, &text)?;
    Ok(Outcome::Done)
}

fn read(file: &Path) -> anyhow::Result<Snapshot> {
    let mut input: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let opened =
            File::open(file).with_context(|| format!("cannot open `{}`", file.display()))?;
        Box::new(BufReader::new(opened))
    };
    // What an export leaves behind that failed at once. A snapshot of nothing has two lines.
    if input.fill_buf().context("could not read the snapshot")?.is_empty() {
        bail!("the snapshot is empty: nothing was imported");
    }
    Snapshot::read(input).map_err(|error| match error {
        InvalidSnapshot::Lines(lines) => refused(&lines),
        error => error.into(),
    })
}

fn import_into(
    path: &Path,
    if_missing: IfMissing,
    snapshot: Snapshot,
    dry_run: bool,
) -> anyhow::Result<usize> {
    on_file(path, if_missing, PolicyArgs::default(), async |engine: &Engine| {
        import(engine, snapshot, dry_run).await
    })
}

fn import_into_memory(snapshot: Snapshot) -> anyhow::Result<usize> {
    on_store(in_memory()?, PolicyArgs::default(), async |engine: &Engine| {
        import(engine, snapshot, true).await
    })
}

/// Imports into a store that appears only when everything is in it: whatever goes wrong leaves
/// none behind, and nobody, a server for instance, can find it half done.
fn import_into_new(path: &Path, snapshot: Snapshot) -> anyhow::Result<usize> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let cannot_create = || format!("cannot create `{}`", path.display());
    refuse_left_overs(path)?;
    let mut workshop = tempfile::Builder::new();
    workshop.prefix(".portcullis-import-");
    // For the owner alone, whatever the umask is.
    #[cfg(unix)]
    workshop.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    let workshop = workshop.tempdir_in(directory).with_context(cannot_create)?;
    let unfinished = workshop.path().join("portcullis.db");
    let imported = import_into(&unfinished, IfMissing::Create, snapshot, false)?;
    let mut beside = unfinished.clone().into_os_string();
    beside.push("-wal");
    if Path::new(&beside).try_exists().with_context(cannot_create)? {
        // Closing has moved everything into the file. If it could not, the file alone is useless.
        return Err(anyhow!("the new store could not be completed").context(cannot_create()));
    }
    let unfinished = TempPath::try_from_path(unfinished).with_context(cannot_create)?;
    unfinished.persist_noclobber(path).map_err(|error| error.error).with_context(cannot_create)?;
    sync_directory(directory).with_context(cannot_create)?;
    Ok(imported)
}

/// Refuses to put a store beside what SQLite kept beside an earlier one: it would take the earlier
/// one's log for the new one's, and bring back what was there.
fn refuse_left_overs(path: &Path) -> anyhow::Result<()> {
    for suffix in ["-wal", "-shm", "-journal"] {
        let mut beside = path.to_owned().into_os_string();
        beside.push(suffix);
        let beside = Path::new(&beside);
        if beside.try_exists().with_context(|| format!("cannot look at `{}`", beside.display()))? {
            bail!(
                "`{}` is left over from a store that was at `{}`: put that store back, or delete \
                 what is left of it, and try again",
                beside.display(),
                path.display()
            );
        }
    }
    Ok(())
}

/// Makes a new name in the directory survive a power cut.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

async fn import(engine: &Engine, snapshot: Snapshot, dry_run: bool) -> anyhow::Result<usize> {
    engine.import(snapshot, dry_run).await.map_err(|error| match error {
        ImportError::Lines(lines) => refused(&lines),
        error => error.into(),
    })
}

/// Names every line that is refused on standard error; returns what else there is to say.
fn refused(lines: &[LineError]) -> anyhow::Error {
    let mut stderr = io::stderr().lock();
    for line in lines {
        // Nobody is left to be told when this fails.
        let _ = writeln!(stderr, "{}", escape(&line.to_string()));
    }
    match lines.len() {
        1 => anyhow!("1 line of the snapshot is refused: nothing was imported"),
        count => anyhow!("{count} lines of the snapshot are refused: nothing was imported"),
    }
}
