//! Contenders that take turns, so that other work on the machine affects all of them.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Runs for a while and returns how long one operation took, in nanoseconds.
pub type Contender<'a> = Box<dyn FnMut() -> f64 + 'a>;

/// What each contender needed in each round.
pub struct Rounds(Vec<Vec<f64>>);

/// Lets each contender run once a round, beginning with another one each time. The first round warms
/// up and is not counted.
pub fn rounds(count: usize, mut contenders: Vec<Contender<'_>>) -> Rounds {
    let mut taken = vec![Vec::with_capacity(count); contenders.len()];
    for round in 0..=count {
        for turn in 0..contenders.len() {
            let at = (round + turn) % contenders.len();
            let nanos = contenders[at]();
            if round > 0 {
                taken[at].push(nanos);
            }
        }
    }
    Rounds(taken)
}

impl Rounds {
    /// The median of what a contender needed.
    pub fn median(&self, contender: usize) -> f64 {
        median(&self.0[contender])
    }

    /// The first contender and one of the others.
    pub fn beside(&self, peer: usize) -> Self {
        Self(vec![self.0[0].clone(), self.0[peer].clone()])
    }

    /// How much longer one took than the other in each round.
    pub fn differences(&self, contender: usize, than: usize) -> Vec<f64> {
        self.0[contender].iter().zip(&self.0[than]).map(|(one, other)| one - other).collect()
    }

    /// The median of the ratios of the two in the same round.
    pub fn ratio(&self, contender: usize, peer: usize) -> f64 {
        let pairs = self.0[contender].iter().zip(&self.0[peer]);
        median(&pairs.map(|(one, other)| one / other).collect::<Vec<_>>())
    }
}

/// The value that as many lie below as above.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which this share of the values lies.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// The CPU time of this thread: on a shared machine, the cost of its work.
pub fn thread_time() -> Duration {
    time_of(ClockId::ThreadCPUTime)
}

/// The CPU time of all threads together.
pub fn process_time() -> Duration {
    time_of(ClockId::ProcessCPUTime)
}

fn time_of(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Runs the work `times` times and returns the CPU time of one in nanoseconds.
pub fn on_this_thread(times: usize, mut work: impl FnMut()) -> f64 {
    let begin = thread_time();
    for _ in 0..times {
        work();
    }
    (thread_time() - begin).as_nanos() as f64 / times as f64
}

/// Runs the work and returns its wall-clock time in nanoseconds.
pub fn took<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let begin = Instant::now();
    let done = work();
    (begin.elapsed().as_nanos() as f64, done)
}
