//! Power cuts: a process is recorded; for chosen moments, each possible content of the disk is opened
//! and compared with what had been acknowledged by then.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, ensure};

use crate::backend::Backend;
use crate::check::check;
use crate::child::Orders;
use crate::disk::{Damage, Disk, Image, Model, write_image};
use crate::ledger::{Broken, Ledger, Loss};
use crate::process::{ChildOutput, ReportingChild, fast_directory};
use crate::strace::{self, Call};

/// How to cut.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Which store.
    #[arg(long)]
    store: Backend,
    /// How many cuts, of each model.
    #[arg(long, default_value_t = 40)]
    rounds: u32,
    /// The model of the file system; all models unless given.
    #[arg(long)]
    model: Option<Model>,
    /// Repeats the work and the choice of cuts. The scheduling of threads varies between runs.
    #[arg(long)]
    seed: Option<u64>,
    /// Copies the directory of each cut that was not survived to here.
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// How many cuts are made in one recording, of each model.
const CUTS_OF_ONE_RECORDING: u32 = 20;

/// How many losses are described; all are counted.
const DESCRIBED: u32 = 12;

/// What a child did, call by call.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) calls: Vec<Call>,
    /// Beginnings and ends of calls in the order of the trace.
    pub(crate) moments: Vec<Moment>,
    /// The durable content of the disk before, and its ledger.
    pub(crate) image: Image,
    pub(crate) ledger: Ledger,
    pub(crate) root: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    line: usize,
    pub(crate) is_end: bool,
    pub(crate) call: usize,
}

impl Recording {
    pub(crate) fn new(
        trace: &str,
        image: Image,
        ledger: Ledger,
        root: PathBuf,
    ) -> anyhow::Result<Self> {
        let calls = strace::parse(trace)?;
        let mut moments = Vec::new();
        for (index, call) in calls.iter().enumerate() {
            moments.push(Moment { line: call.begin, is_end: false, call: index });
            if call.end != usize::MAX {
                moments.push(Moment { line: call.end, is_end: true, call: index });
            }
        }
        moments.sort_unstable();
        Ok(Self { calls, moments, image, ledger, root })
    }

    /// The lines that the child reports with the call.
    pub(crate) fn reported(call: &Call) -> anyhow::Result<Option<String>> {
        if call.name != "writev" || !call.descriptor(0)?.path.starts_with("pipe:") {
            return Ok(None);
        }
        Ok(Some(String::from_utf8(call.bytes(1)?)?.trim_end().to_owned()))
    }

    /// Applies the call's beginning or end to the disk and to the ledger.
    pub(crate) fn step(
        &self,
        moment: Moment,
        disk: &mut Disk,
        ledger: &mut Ledger,
    ) -> anyhow::Result<Result<(), Broken>> {
        let call = self.calls.get(moment.call).context("a call")?;
        if moment.is_end {
            disk.end(moment.call, call);
            return Ok(Ok(()));
        }
        disk.begin(moment.call, call)?;
        // From the moment of the report on, other processes may rely on it.
        Ok(Self::reported(call)?.map_or(Ok(()), |line| ledger.take(&line)))
    }

    /// The moments at which the power is cut.
    fn choose(&self, count: u32, random: &mut fastrand::Rng) -> Vec<usize> {
        let starts = |moment: &Moment, word: &str| {
            let reported = self.calls.get(moment.call).map(Self::reported);
            !moment.is_end && matches!(reported, Some(Ok(Some(line))) if line.starts_with(word))
        };
        let places = |wanted: &dyn Fn(&Moment) -> bool| -> Vec<usize> {
            let found = self.moments.iter().enumerate().filter(|(_, moment)| wanted(moment));
            found.map(|(index, _)| index).collect()
        };
        let start = places(&|moment| starts(moment, "start")).first().copied().unwrap_or(0);
        let acknowledged = places(&|moment| starts(moment, "ack"));
        let name = |moment: &Moment| self.calls.get(moment.call).map(|call| call.name.as_str());
        let synced =
            places(&|moment| moment.is_end && matches!(name(moment), Some("fsync" | "fdatasync")));
        let mut chosen: Vec<_> = (0..count)
            .map(|_| {
                let special = match random.u8(..10) {
                    0..4 => &acknowledged,
                    4..7 => &synced,
                    _ => &Vec::new(),
                };
                // Just before the sync returns, or just when the acknowledgement is reported.
                match random.choice(special) {
                    Some(place) => place.saturating_sub(random.usize(..2)).max(start),
                    None => random.usize(start..self.moments.len()),
                }
            })
            .collect();
        chosen.sort_unstable();
        chosen
    }
}

/// Results by model.
#[derive(Debug, Default)]
struct Results {
    cuts: BTreeMap<(Model, Damage), u32>,
    losses: BTreeMap<(Model, Damage, Loss), u32>,
    described: u32,
}

/// Returns whether everything survived that the store promises to survive.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    strace::require()?;
    let seed = crate::seed(options.seed);
    println!("cuts: store {}, {} rounds, seed {seed}", options.store, options.rounds);
    let begin = Instant::now();
    let mut random = fastrand::Rng::with_seed(seed);
    let models = options.model.map_or(Model::ALL.to_vec(), |model| vec![model]);
    let mut results = Results::default();
    let (mut recordings, mut calls, mut acknowledged) = (0, 0, 0);
    let mut left = options.rounds;
    // Files that a survived cut has left, with which the next recording begins.
    let mut survivor: Option<(Image, Ledger)> = None;
    while left > 0 {
        let variant = recordings % 4;
        recordings += 1;
        let before = survivor.take().filter(|_| variant >= 2);
        let recording = record(options.store, &mut random, before, variant)?;
        calls += recording.calls.len();
        let count = left.min(CUTS_OF_ONE_RECORDING);
        left -= count;
        let chosen = recording.choose(count, &mut random);
        for model in &models {
            let seen = cut(options, *model, &recording, &chosen, &mut random, &mut results)?;
            acknowledged += seen.acknowledged;
            survivor = seen.survivor.or(survivor);
        }
    }
    println!("\n| file system | damage | cuts | survived | lost |\n|---|---|---:|---:|---|");
    let mut kept = true;
    for ((model, damage), cuts) in &results.cuts {
        let losses = results.losses.iter().filter(|((m, d, _), _)| (m, d) == (model, damage));
        let lost: u32 = losses.clone().map(|(_, times)| times).sum();
        let kinds: Vec<_> =
            losses.clone().map(|((.., loss), times)| format!("{loss}: {times}")).collect();
        kept &=
            losses.clone().all(|((.., loss), _)| options.store.known_under_cuts(*damage, *loss));
        println!("| {model:?} | {damage:?} | {cuts} | {} | {} |", cuts - lost, kinds.join(", "));
    }
    println!(
        "\n{recordings} recordings of {calls} calls, {acknowledged} acknowledged batches, in {:.0} s",
        begin.elapsed().as_secs_f64()
    );
    for model in models {
        let of = |(of, _): (&Model, u32)| *of == model;
        let sum = |numbers: Vec<(&Model, u32)>| -> u32 {
            numbers.into_iter().filter(|number| of(*number)).map(|(_, times)| times).sum()
        };
        let cuts = sum(results.cuts.iter().map(|((m, _), times)| (m, *times)).collect());
        let lost = sum(results.losses.iter().map(|((m, ..), times)| (m, *times)).collect());
        println!("{model:?}: {} of {cuts} cuts survived", cuts - lost);
    }
    Ok(kept)
}

struct Seen {
    acknowledged: u64,
    survivor: Option<(Image, Ledger)>,
}

/// Cuts one recording at the moments.
fn cut(
    options: &Options,
    model: Model,
    recording: &Recording,
    chosen: &[usize],
    random: &mut fastrand::Rng,
    results: &mut Results,
) -> anyhow::Result<Seen> {
    let mut disk = Disk::new(model, &recording.root, &recording.image)?;
    let mut ledger = recording.ledger.clone();
    let mut chosen = chosen.iter().copied().peekable();
    let mut survivor = None;
    for (place, moment) in recording.moments.iter().enumerate() {
        let taken = recording.step(*moment, &mut disk, &mut ledger)?;
        taken.map_err(|broken| anyhow::anyhow!("without a fault: {broken:?}"))?;
        while chosen.next_if_eq(&place).is_some() {
            let damage = *random.choice(&Damage::ALL).context("a damage")?;
            let image = disk.cut(damage, random);
            let mut found = ledger.clone();
            *results.cuts.entry((model, damage)).or_default() += 1;
            match open(options.store, &image, &mut found)? {
                Ok(()) => {
                    if survivor.is_none() && random.u8(..3) == 0 {
                        survivor = Some((image, found));
                    }
                }
                Err(Broken { loss, what }) => {
                    let losses = results.losses.entry((model, damage, loss)).or_default();
                    *losses += 1;
                    results.described += 1;
                    if results.described <= DESCRIBED {
                        let volatile = disk.volatile();
                        let what: String = what.chars().take(600).collect();
                        println!(
                            "{model:?}, {damage:?}, moment {place} of {}, {volatile} changes not \
                             durable: {loss}: {what}",
                            recording.moments.len()
                        );
                    }
                    if let Some(keep) = &options.keep {
                        let to = keep.join(format!("{}", results.described));
                        fs::create_dir_all(&to)?;
                        write_image(&image, &to)?;
                    }
                }
            }
        }
    }
    Ok(Seen { acknowledged: ledger.tally.acknowledged, survivor })
}

/// Opens the store on the disk's content.
pub(crate) fn open(
    store: Backend,
    image: &Image,
    ledger: &mut Ledger,
) -> anyhow::Result<Result<(), Broken>> {
    let directory = fast_directory()?;
    write_image(image, directory.path())?;
    let url = store.inside(directory.path());
    Ok(check(&url, ledger, None).map(drop))
}

/// Records a child on a new store, or on the files that a cut has left.
fn record(
    store: Backend,
    random: &mut fastrand::Rng,
    before: Option<(Image, Ledger)>,
    variant: u32,
) -> anyhow::Result<Recording> {
    let directory = fast_directory()?;
    // strace's output must not be in the store's directory.
    let traces = fast_directory()?;
    let (image, ledger) = before.unwrap_or_else(|| (Image::new(), Ledger::new()));
    write_image(&image, directory.path())?;
    let orders = Orders {
        store: store.inside(directory.path()),
        seed: random.u64(..),
        version: ledger.next_version + 64,
        writers: 3,
        steps: random.u64(20..60),
        rest: if variant.is_multiple_of(2) { 1_300 } else { 0 },
        close: variant != 1,
    };
    let trace = traces.path().join("trace");
    let child = ReportingChild::start(&strace::tracing(&trace, None), &orders.arguments())?;
    let last = if orders.close { "closed" } else { "done" };
    loop {
        match child.next() {
            ChildOutput::Line(line) if line == last => break,
            ChildOutput::Line(_) => {}
            other => anyhow::bail!("the recorded child: {other:?}"),
        }
    }
    let status = child.wait()?;
    ensure!(status.success(), "the recorded child ended with {status}");
    let trace = fs::read_to_string(trace)?;
    Recording::new(&trace, image, ledger, directory.path().to_owned())
}
