//! `portcullis verify`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use portcullis::store::MaintenanceStore;
use portcullis::verify::{Finding, Report, remove_orphaned_uses, verify};
use portcullis::{AuditAction, Timestamp};
use serde::Serialize;

use crate::command_audit::audited;
use crate::context::Context;
use crate::failure::Outcome;
use crate::progress::{ProgressMode, Unit};
use crate::runtime::block_on;
use crate::stores::{OpenMode, PersistentStore, StoreUrl, close};
use crate::table::escape;

#[derive(clap::Args)]
#[command(after_help = "\
Reads every record, and compares the unique keys and index entries with the records. A
reference to a user or org that does not exist is reported and is no damage: an import may
contain such records, and no login with them is accepted.

--repair makes a backup, rebuilds the unique keys and index entries from the records, and
verifies again. Of the records, it deletes last uses of credentials that do not exist, and
changes no other: restore records that cannot be read from a backup or snapshot.

Exit status: 0 sound, 1 damaged, 2 not determined.

Examples:
  portcullis verify
  portcullis verify --repair --backup before-repair.db")]
pub(crate) struct Args {
    /// Rebuild unique keys and index entries from the records, after a backup
    #[arg(long)]
    repair: bool,

    /// The path of the backup before a repair; by default beside the store
    #[arg(long, requires = "repair", value_name = "PATH")]
    backup: Option<PathBuf>,

    /// Repair without a backup: for stores in PostgreSQL, which makes its backups itself
    #[arg(long, requires = "repair", conflicts_with = "backup")]
    without_backup: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    sound: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<String>,
    records: BTreeMap<String, u64>,
    entries: u64,
    damages: u64,
    dangling: u64,
    /// The first ones.
    findings: Vec<FindingView>,
}

#[derive(Serialize)]
struct FindingView {
    damage: bool,
    text: String,
}

pub(crate) fn run(args: Args, context: Context) -> anyhow::Result<Outcome> {
    let persistent = StoreUrl::parse_persistent(&context.store)?;
    if args.repair && !args.without_backup {
        let local = persistent.as_file();
        local.context("back the store up first, then repair it with --without-backup")?;
    }
    let store = match args.repair {
        true => persistent.open(OpenMode::MustExist)?,
        false => persistent.open_to_read()?,
    };
    let work = || {
        block_on(async {
            let verified = work(&args, &persistent, &*store, context.progress).await;
            close(&*store).await;
            verified
        })
    };
    let (backup, report) = match args.repair {
        true => audited(AuditAction::Repair, work)?,
        false => work()?,
    };
    let sound = report.is_ok();
    let mut text = String::new();
    if let Some(backup) = &backup {
        writeln!(text, "backup before the repair: {backup}")?;
    }
    text.push_str(&describe(&report));
    let finding =
        |finding: &Finding| FindingView { damage: finding.is_damage(), text: finding.to_string() };
    let document = Document {
        sound,
        backup,
        records: report.records.iter().map(|(kind, count)| (kind.to_string(), *count)).collect(),
        entries: report.entries,
        damages: report.damages,
        dangling: report.dangling,
        findings: report.findings.iter().map(finding).collect(),
    };
    context.output.document(&document, &text)?;
    Ok(if sound { Outcome::Done } else { Outcome::NotDone })
}

async fn work(
    args: &Args,
    persistent: &PersistentStore,
    store: &dyn MaintenanceStore,
    progress: ProgressMode,
) -> anyhow::Result<(Option<String>, Report)> {
    let report = async || {
        let mut progress = progress.begin("verifying", Unit::Records, None);
        let verified = verify(store, |count| progress.add(count)).await;
        verified.context("could not verify the store")
    };
    if !args.repair {
        return Ok((None, report().await?));
    }
    let repair = async || {
        store.rebuild_entries().await.context("could not repair the store: nothing was changed")?;
        remove_orphaned_uses(store).await.context("could not remove last uses")
    };
    if args.without_backup {
        repair().await?;
        return Ok((None, report().await?));
    }
    let local = persistent.as_file()?;
    let backup = match &args.backup {
        Some(path) => path.clone(),
        None => {
            let at = Timestamp::now().to_string().replace(':', "");
            let mut name = local.path().to_owned().into_os_string();
            name.push(format!(".before-repair-{at}"));
            name.into()
        }
    };
    let backed_up = store.back_up(&backup).await;
    backed_up.context("could not make the backup before the repair: nothing was changed")?;
    repair().await?;
    Ok((Some(local.at(backup).to_string()), report().await?))
}

fn describe(report: &Report) -> String {
    let mut text = String::new();
    for (kind, count) in &report.records {
        text.push_str(&format!("{:<15} {count}\n", kind.to_string()));
    }
    text.push_str(&format!("{:<15} {}\n", "entries", report.entries));
    for finding in &report.findings {
        let what = if finding.is_damage() { "damage" } else { "note" };
        text.push_str(&format!("{what}: {}\n", escape(&finding.to_string())));
    }
    let more = (report.damages + report.dangling).saturating_sub(report.findings.len() as u64);
    if more > 0 {
        text.push_str(&format!("and {more} more\n"));
    }
    text.push_str(match report.damages {
        0 => "sound\n",
        _ => "damaged\n",
    });
    text
}
