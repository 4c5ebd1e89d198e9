//! The disk is full or fails at the n-th call: the store must return an error, no change may be half
//! done, the process must live, and a failed sync must never count as a successful one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::Context as _;

use crate::backend::Backend;
use crate::check::check;
use crate::child::Orders;
use crate::cuts::{Recording, open};
use crate::disk::{Damage, Disk, Image, Model};
use crate::ledger::{Broken, Ledger, Loss, Tally};
use crate::process::{ChildOutput, ReportingChild, fast_directory};
use crate::strace;

/// How to fail.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Which store.
    #[arg(long)]
    store: Backend,
    /// Tests every n, not only some of them.
    #[arg(long)]
    all: bool,
    /// How many n to test, unless all.
    #[arg(long, default_value_t = 2)]
    sample: usize,
    /// Only faults of this call.
    #[arg(long)]
    call: Option<String>,
    /// Only at this call, for repeating one.
    #[arg(long)]
    at: Option<u32>,
    /// Shows the lines of the process whenever a promise is broken.
    #[arg(long)]
    show_lines: bool,
    /// Repeats the work and the choice of calls.
    #[arg(long)]
    seed: Option<u64>,
}

/// What fails, how, and whether all later calls of the same thread fail as well.
const FAULTS: [(&str, &str, bool); 22] = [
    ("pwrite64", "EIO", false),
    ("pwrite64", "EIO", true),
    ("pwrite64", "ENOSPC", false),
    ("pwrite64", "ENOSPC", true),
    ("write", "EIO", false),
    ("write", "ENOSPC", true),
    ("fsync", "EIO", false),
    ("fsync", "EIO", true),
    ("fdatasync", "EIO", false),
    ("fdatasync", "EIO", true),
    ("fdatasync", "ENOSPC", false),
    ("sync_file_range", "EIO", false),
    ("sync_file_range", "EIO", true),
    ("ftruncate", "ENOSPC", false),
    ("ftruncate", "EIO", true),
    ("fallocate", "ENOSPC", true),
    ("pread64", "EIO", false),
    ("pread64", "EIO", true),
    ("openat", "EMFILE", false),
    ("openat", "ENOSPC", true),
    ("rename", "EIO", false),
    ("unlink", "EIO", false),
];

/// When a broken promise is detected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// In the process, or when the store is opened after it.
    Alive,
    /// If the power is cut after it.
    Cut,
}

/// A broken promise, and when it was detected.
type Findings = Vec<(When, Broken)>;

/// How many losses are described; all are counted.
const DESCRIBED: u32 = 20;

/// The results of one kind of fault.
#[derive(Debug, Default)]
struct Row {
    runs: u32,
    reached: u32,
    unopened: u32,
    tally: Tally,
    /// Runs in which something was acknowledged after the fault.
    went_on: u32,
    losses: BTreeMap<Loss, u32>,
    /// The losses of a power cut after the fault.
    cut_losses: BTreeMap<Loss, u32>,
}

/// Returns whether every promise was kept.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    strace::require()?;
    let seed = crate::seed(options.seed);
    println!("faults: store {}, seed {seed}", options.store);
    let begin = Instant::now();
    let mut random = fastrand::Rng::with_seed(seed);
    let work = random.u64(..);
    let calls = calls_on_the_store(options.store, work)?;
    let mut rows: Vec<(String, Row)> = Vec::new();
    let mut described = 0;
    for (call, error, forever) in FAULTS {
        if options.call.as_deref().is_some_and(|only| only != call) {
            continue;
        }
        let mut row = Row::default();
        let mut places: Vec<u32> = calls.get(call).into_iter().flatten().copied().collect();
        if let Some(at) = options.at {
            places.retain(|place| *place == at);
        } else if !options.all {
            random.shuffle(&mut places);
            places.truncate(options.sample);
        }
        for place in places {
            row.runs += 1;
            let when = if forever { format!("{place}+") } else { place.to_string() };
            let inject = format!("{call}:error={error}:when={when}");
            // Half of the processes are killed, the others close the store first.
            let close = place % 2 == 0;
            let (broken, lines) = fail(options.store, work, close, &inject, !forever, &mut row)?;
            if options.show_lines && !broken.is_empty() {
                lines.iter().for_each(|line| println!("  {line}"));
            }
            for (when, Broken { loss, what }) in broken {
                let losses = match when {
                    When::Alive => &mut row.losses,
                    When::Cut => &mut row.cut_losses,
                };
                *losses.entry(loss).or_default() += 1;
                described += 1;
                if described <= DESCRIBED {
                    let what: String = what.chars().take(500).collect();
                    println!("{inject}, close {close}: {loss}: {what}");
                }
            }
        }
        let times = if forever { "from then on" } else { "once" };
        rows.push((format!("{call} | {error}, {times}"), row));
    }
    println!(
        "\n| call | fault | runs | hit | did not open | ok | failed | unknown | came back | went on | broken | power cut after it |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---|---|");
    let mut kept = true;
    for (name, row) in &rows {
        let Row { runs, reached, unopened, went_on, tally, losses, cut_losses } = row;
        let kinds = |losses: &BTreeMap<Loss, u32>| -> String {
            let kinds = losses.iter().map(|(loss, times)| format!("{loss}: {times}"));
            kinds.collect::<Vec<_>>().join(", ")
        };
        println!(
            "| {name} | {runs} | {reached} | {unopened} | {} | {} | {} | {} | {went_on} | {} | {} |",
            tally.acknowledged,
            tally.failed,
            tally.unknown,
            tally.came_back,
            kinds(losses),
            kinds(cut_losses)
        );
        kept &= losses.keys().all(|loss| options.store.known_under_faults(*loss));
        kept &= cut_losses.is_empty() || !options.store.survives_failed_syncs();
    }
    let runs: u32 = rows.iter().map(|(_, row)| row.runs).sum();
    println!("\n{runs} runs in {:.0} s", begin.elapsed().as_secs_f64());
    println!("{}", if kept { "nothing was broken that is promised" } else { "BROKEN" });
    Ok(kept)
}

/// Counts, for each kind of call, which of a thread's calls concern the store's files.
fn calls_on_the_store(
    store: Backend,
    work: u64,
) -> anyhow::Result<BTreeMap<String, BTreeSet<u32>>> {
    let run = Run::start(store, work, true, None)?;
    anyhow::ensure!(run.ended == Ended::Done, "without faults: {:?}", run.ended);
    let root = run.directory.path().to_str().context("a path")?;
    let mut numbers: BTreeMap<(u32, String), u32> = BTreeMap::new();
    let mut calls: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    for call in strace::parse(&run.trace)? {
        let number = numbers.entry((call.thread, call.name.clone())).or_default();
        *number += 1;
        let number = *number;
        let on_store = call.descriptor(0).is_ok_and(|descriptor| descriptor.path.starts_with(root))
            || (0..2).any(|path| call.path(path).is_ok_and(|path| path.starts_with(root)));
        if on_store {
            calls.entry(call.name).or_default().insert(number);
        }
    }
    Ok(calls)
}

/// How a child ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Done,
    /// It died, and not by the parent.
    Died,
    Hung,
}

/// A child under faults, from start to end.
struct Run {
    directory: tempfile::TempDir,
    trace: String,
    lines: Vec<String>,
    ended: Ended,
}

impl Run {
    fn start(store: Backend, work: u64, close: bool, inject: Option<&str>) -> anyhow::Result<Self> {
        let directory = fast_directory()?;
        // strace's output must not be in the store's directory.
        let traces = fast_directory()?;
        let trace: PathBuf = traces.path().join("trace");
        let orders = Orders {
            store: store.inside(directory.path()),
            seed: work,
            version: 1,
            writers: 2,
            steps: 16,
            rest: 0,
            close,
        };
        let child = ReportingChild::start(&strace::tracing(&trace, inject), &orders.arguments())?;
        let mut lines = Vec::new();
        let ended = loop {
            match child.next() {
                ChildOutput::Line(line) => {
                    let last = match line.split(' ').next() {
                        Some("unopened") => true,
                        Some("closed" | "unclosed") => close,
                        Some("done") => !close,
                        _ => false,
                    };
                    lines.push(line);
                    if last {
                        break Ended::Done;
                    }
                }
                ChildOutput::End => break Ended::Died,
                ChildOutput::Hangs => break Ended::Hung,
            }
        };
        let process = lines.first().and_then(|line| line.strip_prefix("start "));
        match process {
            // After its last line it is killed, unless it has closed the store. strace ends with it.
            Some(process) if ended == Ended::Hung || (ended == Ended::Done && !close) => {
                Command::new("kill").args(["-KILL", process]).status()?;
                child.wait()?;
            }
            None if ended == Ended::Hung => drop(child.kill()?),
            _ => drop(child.wait()?),
        }
        Ok(Self { directory, trace: fs::read_to_string(trace)?, lines, ended })
    }
}

/// Runs a child with the fault, and returns the promises that it has broken.
fn fail(
    store: Backend,
    work: u64,
    close: bool,
    inject: &str,
    passes: bool,
    row: &mut Row,
) -> anyhow::Result<(Findings, Vec<String>)> {
    let run = Run::start(store, work, close, Some(inject))?;
    Ok((judge(store, work, &run, passes, row)?, run.lines))
}

fn judge(
    store: Backend,
    work: u64,
    run: &Run,
    passes: bool,
    row: &mut Row,
) -> anyhow::Result<Findings> {
    let mut broken = Vec::new();
    match run.ended {
        Ended::Done => {}
        // A failure before `main` does not concern the store.
        Ended::Died if run.lines.is_empty() => return Ok(broken),
        Ended::Died => {
            broken.push((When::Alive, Broken::new(Loss::Misbehaved, "the process died")))
        }
        Ended::Hung => {
            broken.push((When::Alive, Broken::new(Loss::Misbehaved, "the process hung")))
        }
    }
    let mut recording =
        Recording::new(&run.trace, Image::new(), Ledger::new(), run.directory.path().to_owned())?;
    recording.ledger.with_faults = true;
    row.reached += u32::from(recording.calls.iter().any(|call| call.injected));

    let mut ledger = recording.ledger.clone();
    let mut after_the_fault = 0;
    for line in &run.lines {
        if let Err(broken_line) = ledger.take(line) {
            broken.push((When::Alive, broken_line));
            return Ok(broken);
        }
    }
    let mut injected = false;
    for moment in &recording.moments {
        let call = recording.calls.get(moment.call).context("a call")?;
        injected |= call.injected;
        let reported = if moment.is_end { None } else { Recording::reported(call)? };
        let acknowledged = reported.is_some_and(|line| line.contains(" ok "));
        after_the_fault += u32::from(injected && acknowledged);
    }
    let unopened = run.lines.iter().any(|line| line.starts_with("unopened"));
    row.unopened += u32::from(unopened);
    row.went_on += u32::from(after_the_fault > 0);
    if passes && injected && !unopened && run.ended == Ended::Done && !lives(&run.lines) {
        broken.push((
            When::Alive,
            Broken::new(Loss::Misbehaved, "it still fails when the fault is over"),
        ));
    }

    // The files of the process, as other processes read them.
    let url = store.inside(run.directory.path());
    let reopened = check(&url, &mut ledger, None);
    row.tally.add(ledger.tally);
    if let Err(found) = reopened {
        let what = format!("reopened: {}", found.what);
        broken.push((When::Alive, Broken { what, ..found }));
        return Ok(broken);
    }
    // And the content of the disk after a power cut: without anything that a failed sync was to save.
    for damage in [Damage::Dropped, Damage::Kept] {
        let mut disk = Disk::new(Model::Journal, &recording.root, &recording.image)?;
        let mut ledger = recording.ledger.clone();
        for moment in &recording.moments {
            if recording.step(*moment, &mut disk, &mut ledger)?.is_err() {
                break;
            }
        }
        let image = disk.cut(damage, &mut fastrand::Rng::with_seed(work));
        if let Err(found) = open(store, &image, &mut ledger)? {
            let what = format!("power cut, {damage:?}: {}", found.what);
            broken.push((When::Cut, Broken { what, ..found }));
        }
    }
    Ok(broken)
}

/// Whether each writer succeeded in the end: its last outcome is no failure.
fn lives(lines: &[String]) -> bool {
    (0..2).all(|writer| {
        let of = |line: &&String| line.starts_with(&format!("ack {writer} "));
        let last = lines.iter().rfind(of);
        last.is_some_and(|line| line.contains(" ok ") || line.contains(" refused "))
    })
}
