//! `portcullis apply`: makes the records what a file says.

mod desired;
mod execute;
mod file;
mod plan;
mod state;
#[cfg(test)]
mod tests;
mod wanted;

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use serde::Serialize;

use self::desired::Desired;
use self::execute::Execution;
use self::plan::{Change, Deletions, Options, Plan};
use self::state::State;
use crate::confirm::ConfirmArgs;
use crate::context::Context;
use crate::failure::Outcome;
use crate::passwords::PolicyArgs;
use crate::progress::{ProgressMode, Unit};
use crate::session::{Session, on_records};
use crate::table;

#[derive(clap::Args)]
#[command(after_help = "\
The file has users, and orgs with buckets, mappings and credentials, by name. What it does not state
stays as it is. Applying it again changes nothing. An apply that was interrupted is finished by the next.

Passwords are never in the file: it names a file or a variable for each, or has a hash. A store
compares them with its hashes. A server shows none, so there a password is set only if the credential
has none, or with --set-passwords.

Exit status with --diff: 0 nothing would change, 1 failed, 2 something would change.

Examples:
  portcullis apply -f credentials.yaml --diff
  portcullis apply -f credentials.yaml --prune --yes
  portcullis --url https://portcullis.example.com:8087 --token-file operator.token apply -f credentials.yaml")]
pub(crate) struct Args {
    /// The file; - is standard input
    #[arg(long, short, value_name = "FILE")]
    file: PathBuf,

    /// Show what would change, and change nothing
    #[arg(long)]
    diff: bool,

    /// Delete what orgs with `managed: true` have and the file does not list: credentials, mappings and
    /// buckets, each only if the org has the key
    #[arg(long)]
    prune: bool,

    /// Set passwords also where they cannot be compared with those of the file
    #[arg(long)]
    set_passwords: bool,

    #[command(flatten)]
    policy: PolicyArgs,

    #[command(flatten)]
    confirm: ConfirmArgs,
}

pub(crate) fn run(args: Args, context: Context) -> anyhow::Result<Outcome> {
    let content = file::read(&args.file)?;
    let desired = desired::check(content, &file::directory(&args.file))
        .map_err(|mistakes| file::refused(&args.file, mistakes))?;
    let progress = context.progress;
    let plan = on_records(&context, args.policy.clone(), async |session: &Session| {
        let (plan, state) = planned(session, &desired, &args, progress).await?;
        if !args.diff {
            args.confirm.confirm_deletions(question(plan.deletions).as_deref())?;
            execute(session, &plan, &state, progress).await?;
        }
        Ok(plan)
    })?;
    context.output.document(&Document::of(&plan, !args.diff), &shown(&plan, !args.diff))?;
    Ok(match args.diff && !plan.changes.is_empty() {
        true => Outcome::Differs,
        false => Outcome::Done,
    })
}

/// Plans everything before the first change.
async fn planned(
    session: &Session,
    desired: &Desired,
    args: &Args,
    progress: ProgressMode,
) -> anyhow::Result<(Plan, State)> {
    let Args { prune, set_passwords, ref policy, .. } = *args;
    let options = Options { prune, set_passwords, policy: policy.policy() };
    let mut mistakes = Vec::new();
    let state = state::read(session, desired, progress, &mut mistakes).await?;
    let wanted = wanted::of_credentials(session, desired, &state, &mut mistakes).await?;
    match plan::plan(desired, &state, &wanted, options) {
        Ok(plan) if mistakes.is_empty() => return Ok((plan, state)),
        Ok(_) => {}
        Err(others) => mistakes.extend(others),
    }
    Err(file::refused(&args.file, mistakes))
}

async fn execute(
    session: &Session,
    plan: &Plan,
    state: &State,
    progress: ProgressMode,
) -> anyhow::Result<()> {
    let mut execution = Execution::new(session, state);
    let total = plan.steps.len();
    let mut shown = progress.begin("applying", Unit::Records, Some(total as u64));
    for (done, step) in plan.steps.iter().enumerate() {
        execution.run(step).await.with_context(|| {
            format!("{done} of {total} steps are made; apply the file again to finish")
        })?;
        shown.add(1);
    }
    Ok(())
}

/// Returns the question before deletions; `None` if nothing is deleted.
fn question(deletions: Deletions) -> Option<String> {
    let Deletions { credentials, dbrps, buckets } = deletions;
    let counted =
        [(credentials, "credential"), (dbrps, "DBRP mapping"), (buckets, "bucket")].into_iter();
    let counted = counted.filter(|(count, _)| *count > 0);
    let counted: Vec<String> = counted.map(|(count, noun)| plural(count, noun)).collect();
    let (last, first) = counted.split_last()?;
    let first = if first.is_empty() { String::new() } else { first.join(", ") + " and " };
    Some(format!("Delete {first}{last} that the file does not list?"))
}

fn plural(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// The result as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    /// Whether the changes are made.
    applied: bool,
    changes: Vec<ChangeView<'a>>,
    /// How many records are as the file wants them.
    unchanged: u64,
    /// How many records of managed orgs the file does not list, and stay.
    unlisted: u64,
    notes: &'a [String],
}

#[derive(Serialize)]
struct ChangeView<'a> {
    action: &'static str,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    org: Option<&'a str>,
    name: &'a str,
    details: &'a [String],
}

impl<'a> Document<'a> {
    fn of(plan: &'a Plan, applied: bool) -> Self {
        let Plan { changes, unchanged, unlisted, notes, .. } = plan;
        let view = |change: &'a Change| ChangeView {
            action: change.action.as_str(),
            kind: change.kind.as_str(),
            org: change.org.as_deref(),
            name: &change.name,
            details: &change.details,
        };
        Self {
            applied,
            changes: changes.iter().map(view).collect(),
            unchanged: *unchanged,
            unlisted: *unlisted,
            notes,
        }
    }
}

/// Returns the result as text.
fn shown(plan: &Plan, applied: bool) -> String {
    let row = |change: &Change| {
        vec![
            change.action.as_str().to_owned(),
            change.kind.as_str().to_owned(),
            change.org.clone().unwrap_or_default(),
            change.name.clone(),
            change.details.join(", "),
        ]
    };
    let rows: Vec<Vec<String>> = plan.changes.iter().map(row).collect();
    let mut text = match rows.is_empty() {
        true => String::new(),
        false => table::table(&["action", "kind", "org", "name", "details"], &rows),
    };
    let changed = match (rows.len(), applied) {
        (0, true) => "nothing changed".to_owned(),
        (0, false) => "nothing would change".to_owned(),
        (1, true) => "1 record changed".to_owned(),
        (count, true) => format!("{count} records changed"),
        (1, false) => "1 record would change".to_owned(),
        (count, false) => format!("{count} records would change"),
    };
    // Writing to a string cannot fail.
    let _ = match plan.unchanged {
        1 => writeln!(text, "{changed}, 1 is as the file says"),
        unchanged => writeln!(text, "{changed}, {unchanged} are as the file says"),
    };
    if plan.unlisted > 0 {
        let unlisted = plural(plan.unlisted, "record");
        let _ = writeln!(
            text,
            "not in the file: {unlisted} of managed orgs; --prune deletes what is not"
        );
    }
    for note in &plan.notes {
        let _ = writeln!(text, "note: {}", table::escape(note));
    }
    text
}
