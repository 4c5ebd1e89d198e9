//! `portcullis import --from`: the files of other programs.

use std::path::Path;

use anyhow::bail;
use portcullis::Engine;
use portcullis_import::{Format, Options, Plan, PlanError, StorePlanError, plan};

use super::report;
use crate::context::Context;
use crate::failure::Outcome;
use crate::passwords::PolicyArgs;
use crate::session::{on_persistent_store, on_store};
use crate::stores::{OpenMode, StoreUrl, in_memory};

/// What the operator decides.
pub(super) struct Decisions {
    pub(super) options: Options,
    pub(super) allow_skipped: bool,
    pub(super) dry_run: bool,
}

impl Decisions {
    /// Returns why the plan is not carried out.
    fn refuse(&self, plan: &Plan) -> Option<String> {
        let report = plan.report();
        let items = |count: u64| match count {
            1 => "1 item is".to_owned(),
            count => format!("{count} items are"),
        };
        match (report.undecided(), report.skipped()) {
            (0, 0) => None,
            (0, skipped) if !self.allow_skipped => Some(format!(
                "{} skipped: nothing was imported; --allow-skipped imports the others",
                items(skipped)
            )),
            (0, _) => None,
            (undecided, _) => Some(format!(
                "{} undecided: nothing was imported; say with --admins what becomes of administrators",
                items(undecided)
            )),
        }
    }
}

pub(super) fn run(
    format: Format,
    file: &Path,
    decisions: Decisions,
    context: Context,
) -> anyhow::Result<Outcome> {
    let store = StoreUrl::parse_persistent(&context.store)?;
    let planned = async |engine: &Engine| plan_file(format, file, &decisions, engine).await;
    // An error of this is reported by opening the store.
    let is_absent = store.is_absent().unwrap_or(false);
    let mut plan = if is_absent {
        let mut plan = on_store(in_memory()?, PolicyArgs::default(), planned)?;
        if !decisions.dry_run && decisions.refuse(&plan).is_none() {
            store.create_whole(|unfinished| {
                let work = async |engine: &Engine| Ok(plan.store_in_parts(engine).await?);
                on_persistent_store(unfinished, OpenMode::Create, PolicyArgs::default(), work)
            })?;
        }
        plan
    } else {
        on_persistent_store(&store, OpenMode::MustExist, PolicyArgs::default(), async |engine| {
            let mut plan = planned(engine).await?;
            if !decisions.dry_run && decisions.refuse(&plan).is_none() {
                plan.store(engine).await.map_err(described)?;
            }
            Ok(plan)
        })?
    };
    let refusal = decisions.refuse(&plan);
    let is_stored = !decisions.dry_run && refusal.is_none();
    report::show(format, &mut plan, is_stored, context.output)?;
    match refusal {
        Some(refusal) => bail!(refusal),
        None => Ok(Outcome::Done),
    }
}

async fn plan_file(
    format: Format,
    file: &Path,
    decisions: &Decisions,
    engine: &Engine,
) -> anyhow::Result<Plan> {
    let mut source = format.open(file)?;
    plan(&mut *source, engine, &decisions.options).await.map_err(|error| match error {
        PlanError::OrgRequired => anyhow::anyhow!("{error} with --org"),
        PlanError::UserRequired => anyhow::anyhow!("{error} with --user"),
        error => error.into(),
    })
}

fn described(error: StorePlanError) -> anyhow::Error {
    anyhow::Error::from(error).context("nothing was imported")
}
