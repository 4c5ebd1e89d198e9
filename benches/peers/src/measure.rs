//! Contenders taking turns.

use std::time::Duration;

use cpu_time::ThreadTime;

/// One way to decide.
pub(crate) struct Contender<'a> {
    pub(crate) name: &'static str,
    /// How many requests a pass makes.
    pub(crate) requests: usize,
    /// Makes every request once and returns how many were allowed.
    pub(crate) pass: Box<dyn FnMut() -> usize + 'a>,
}

/// The median of a contender, for one request.
pub(crate) struct Median {
    pub(crate) name: &'static str,
    pub(crate) nanoseconds: f64,
}

/// How long a batch takes at least.
const BATCH: Duration = Duration::from_millis(1);

/// How many batches each contender has.
const ROUNDS: usize = 101;

/// Lets every contender have its turn in every round, each time in another order.
pub(crate) fn medians(mut contenders: Vec<Contender<'_>>, allowed: usize) -> Vec<Median> {
    let passes: Vec<usize> = contenders
        .iter_mut()
        .map(|contender| {
            let found = (contender.pass)();
            // The empty loop decides nothing.
            assert!(found == allowed || found == 0, "{}: {found} allowed", contender.name);
            passes_of_a_batch(contender)
        })
        .collect();
    let mut batches = vec![Vec::with_capacity(ROUNDS); contenders.len()];
    for round in 0..ROUNDS {
        for turn in 0..contenders.len() {
            let which = (turn + round) % contenders.len();
            let time = time(&mut contenders[which], passes[which]);
            batches[which].push(time / (passes[which] * contenders[which].requests) as f64);
        }
    }
    let median = |mut all: Vec<f64>| {
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    contenders
        .iter()
        .zip(batches)
        .map(|(contender, all)| Median { name: contender.name, nanoseconds: median(all) })
        .collect()
}

fn passes_of_a_batch(contender: &mut Contender<'_>) -> usize {
    let mut passes = 1;
    while time(contender, passes) < BATCH.as_nanos() as f64 {
        passes *= 2;
    }
    passes
}

/// Nanoseconds of this thread's CPU time.
fn time(contender: &mut Contender<'_>, passes: usize) -> f64 {
    let start = ThreadTime::now();
    for _ in 0..passes {
        (contender.pass)();
    }
    start.elapsed().as_nanos() as f64
}
