//! A writing process is killed at any moment; every acknowledged batch must be there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::check::{Bookmark, check};
use crate::child::Orders;
use crate::ledger::{Broken, Ledger, Loss};
use crate::process::{ChildOutput, ReportingChild, fast_directory};

/// How to kill.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Which store.
    #[arg(long)]
    store: Backend,
    /// How many kills.
    #[arg(long, default_value_t = 60)]
    rounds: u32,
    /// Repeats a run: the same work, and kills after the same lines; the microseconds after them vary.
    #[arg(long)]
    seed: Option<u64>,
}

/// The number of kills after which a new store is created.
const KILLS_OF_ONE_STORE: u32 = 40;

/// When a child is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    /// While it opens the store, which may be a recovery.
    Opening,
    /// While it writes.
    Writing,
    /// While it closes the store.
    Closing,
}

/// Returns whether everything survived.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let seed = crate::seed(options.seed);
    println!("kills: store {}, {} rounds, seed {seed}", options.store, options.rounds);
    let begin = Instant::now();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut kills: BTreeMap<Moment, u32> = BTreeMap::new();
    let mut losses: BTreeMap<Loss, u32> = BTreeMap::new();
    let (mut checks, mut stores) = (0, 0);
    let mut totals = [0; 4];
    let mut round = 0;
    while round < options.rounds {
        stores += 1;
        let directory = fast_directory()?;
        let url = options.store.inside(directory.path());
        let mut ledger = Ledger::new();
        let mut bookmark: Option<Bookmark> = None;
        let last = options.rounds.min(round + KILLS_OF_ONE_STORE);
        while round < last {
            round += 1;
            let moment = match random.u8(..20) {
                0..13 => Moment::Writing,
                13..17 => Moment::Opening,
                _ => Moment::Closing,
            };
            let orders = Orders {
                store: url.clone(),
                seed: random.u64(..),
                // Skips the versions that the last child had drawn and not reported.
                version: ledger.next_version + 64,
                writers: 4,
                steps: if moment == Moment::Closing { random.u64(1..40) } else { u64::MAX },
                rest: 0,
                close: moment == Moment::Closing,
            };
            ledger.next_version = orders.version;
            let mut result = kill_once(&orders, moment, &mut random, &mut ledger)?;
            *kills.entry(moment).or_default() += 1;
            // Sometimes the store is not checked: the next child recovers, and is killed meanwhile.
            if result.is_ok() && (round == last || random.u8(..5) > 0) {
                checks += 1;
                result = check(&url, &mut ledger, bookmark.as_ref())
                    .map(|checked| bookmark = Some(checked));
            }
            if let Err(Broken { loss, what }) = result {
                *losses.entry(loss).or_default() += 1;
                println!("round {round}, killed while {moment:?}: {loss}: {what}");
                // A store that has lost something is not used again.
                break;
            }
        }
        let tally = ledger.tally;
        let of_this =
            [tally.begun, tally.acknowledged, tally.refused, ledger.accounts.len() as u64];
        totals.iter_mut().zip(of_this).for_each(|(total, number)| *total += number);
    }
    println!("\n| killed while | times |\n|---|---:|");
    for (moment, times) in &kills {
        println!("| {} | {times} |", format!("{moment:?}").to_lowercase());
    }
    let [begun, acknowledged, refused, _] = totals;
    println!(
        "\n{stores} stores, {begun} batches begun, {acknowledged} acknowledged, {refused} refused; \
         {checks} times opened and compared, in {:.0} s",
        begin.elapsed().as_secs_f64()
    );
    for (loss, times) in &losses {
        println!("LOST: {loss}: {times} times");
    }
    if losses.is_empty() {
        println!("nothing was lost");
    }
    Ok(losses.is_empty())
}

/// Starts a child, kills it, and enters its report into the ledger.
fn kill_once(
    orders: &Orders,
    moment: Moment,
    random: &mut fastrand::Rng,
    ledger: &mut Ledger,
) -> anyhow::Result<Result<(), Broken>> {
    let child = ReportingChild::start(&[], &orders.arguments())?;
    let lines = match moment {
        Moment::Opening => 1,
        // Often early, now and then late.
        Moment::Writing => {
            let most = 40 << random.u32(0..6);
            random.u32(1..most)
        }
        Moment::Closing => u32::MAX,
    };
    let mut outcome = Ok(());
    for _ in 0..lines {
        match child.next() {
            ChildOutput::Line(line) => {
                outcome = outcome.and_then(|()| ledger.take(&line));
                if line == "closing" {
                    break;
                }
            }
            ChildOutput::End => {
                outcome = outcome.and(Err(Broken::new(Loss::Misbehaved, "the child has ended")));
                break;
            }
            ChildOutput::Hangs => {
                outcome = outcome.and(Err(Broken::new(Loss::Misbehaved, "the child hangs")));
                break;
            }
        }
    }
    let longest = if moment == Moment::Writing { 2_000 } else { 8_000 };
    spin(Duration::from_micros(random.u64(..longest)));
    for line in child.kill()? {
        outcome = outcome.and_then(|()| ledger.take(&line));
    }
    Ok(outcome)
}

/// Waits for a moment that no scheduler rounds up.
fn spin(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        std::hint::spin_loop();
    }
}
