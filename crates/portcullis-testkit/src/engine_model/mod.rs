//! Compares the engine on your store with a model of it: random requests, equal responses.
//!
//! A run starts an engine on an empty store, another one on a [`MemoryStore`] with the same clock and
//! the same randomness, and a model in plain collections, written from the behaviour reference alone.
//! Then it takes random steps: it creates, changes and deletes users, orgs, buckets, API tokens and
//! authorizations, sets passwords and logs in, lists with every filter, imports, exports into another
//! store, and closes and reopens the store. Names and ids come from small pools, so that they collide,
//! are outdated, or differ only in the case of one letter.
//!
//! After each step the response and a list of everything are compared. Every few steps each record is
//! looked up in each way, every combination of a filter's fields is compared with "check every
//! record", compiled permissions with the rule, and logins are tried with every password that an
//! authorization ever had. The exports of both stores must be the same to the last byte.
//!
//! # Running it on your store
//!
//! ```
//! use std::sync::Arc;
//!
//! use portcullis::store::MemoryStore;
//! use portcullis_testkit::Capabilities;
//!
//! portcullis_testkit::engine_model! {
//!     capabilities: Capabilities { survives_reopen: false, shared_between_handles: false },
//!     fresh: async || Arc::new(MemoryStore::new().expect("there is randomness")),
//! }
//! # fn main() {}
//! ```
//!
//! makes one `#[test]`, which takes some seconds. The environment makes it longer:
//!
//! | variable | default | what it sets |
//! |---|---|---|
//! | `PROPTEST_CASES` | 48 | runs |
//! | `PORTCULLIS_MODEL_STEPS` | 60 | the most steps of a run; the average is half of them |
//!
//! # When it fails
//!
//! The run is reduced as far as possible and printed, and its seed is written to
//! `proptest-regressions/engine_model.txt` in your crate: commit it. Seeds in that file run before
//! all others.
//!
//! [`MemoryStore`]: portcullis::store::MemoryStore

mod action;
mod compare;
mod expect;
mod machine;
mod perform;
mod rows;
mod rule;
mod state;
mod step;

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use proptest::test_runner::{
    Config, FileFailurePersistence, RngSeed, TestCaseError, TestError, TestRunner,
};

use crate::harness::Harness;
use machine::Machine;

/// The amount of runs and steps, and the file of failures.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// The number of runs. Default: 48.
    pub runs: u32,
    /// The most steps of a run; the average is half of them. Default: 60.
    pub steps: usize,
    /// The file with the seeds of earlier failures, to which new ones are added. Default: `None`, no
    /// file.
    pub regressions: Option<&'static str>,
    /// The seed of the randomness. Default: `None`, another one each time.
    pub seed: Option<u64>,
    /// How many shorter runs are tried after a failure. Default: 500.
    pub shorter_runs: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { runs: 48, steps: 60, regressions: None, seed: None, shorter_runs: 500 }
    }
}

impl Settings {
    /// Reads the numbers of runs and steps from the environment, with their defaults.
    ///
    /// # Panics
    ///
    /// If a variable is not a number.
    pub fn from_env() -> Self {
        let default = Self::default();
        Self {
            runs: crate::engines::number_from_env("PROPTEST_CASES", default.runs),
            steps: crate::engines::number_from_env("PORTCULLIS_MODEL_STEPS", default.steps),
            ..default
        }
    }

    /// Sets the file for the seeds of failures.
    #[must_use]
    pub const fn with_regressions(self, file: &'static str) -> Self {
        Self { regressions: Some(file), ..self }
    }

    /// Sets the seed, so that the runs are the same each time.
    #[must_use]
    pub const fn with_seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// Sets the number of runs.
    #[must_use]
    pub const fn with_runs(self, runs: u32) -> Self {
        Self { runs, ..self }
    }

    /// Sets how many shorter runs are tried after a failure.
    #[must_use]
    pub const fn with_shorter_runs(self, shorter_runs: u32) -> Self {
        Self { shorter_runs, ..self }
    }
}

/// The amount that was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Runs, including those of earlier failures.
    pub runs: u64,
    /// Operations on the store under test, each also on a memory store and on the model.
    pub operations: u64,
    /// Compared responses: of operations, lists, lookups, logins and permissions.
    pub responses: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, operations, responses } = self;
        write!(f, "{runs} runs, {operations} operations, {responses} responses compared")
    }
}

/// A difference between the engine and the model.
#[derive(Clone, Debug)]
pub struct Disagreement {
    /// The request, the expected response and the actual one.
    pub what: String,
    /// The steps that lead there, reduced as far as possible.
    pub steps: String,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nafter {}", self.what, self.steps)
    }
}

impl std::error::Error for Disagreement {}

/// Makes the runs on stores of the harness.
///
/// # Errors
///
/// [`Disagreement`], reduced as far as possible, if a response differs from the model's.
///
/// # Panics
///
/// If the fixture contradicts the capabilities, or there is no runtime.
pub fn compare(harness: &Harness, settings: &Settings) -> Result<Report, Disagreement> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut config = Config::with_cases(settings.runs);
    config.failure_persistence = match settings.regressions {
        Some(file) => Some(Box::new(FileFailurePersistence::Direct(file))),
        None => None,
    };
    config.max_shrink_iters = settings.shorter_runs;
    if let Some(seed) = settings.seed {
        config.rng_seed = RngSeed::Fixed(seed);
    }
    let total = Cell::new(Report::default());
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&step::runs(settings.steps), |run| {
        // A store that hangs fails the test instead of blocking the whole run.
        let limit = Harness::DEADLINE * 6 + Duration::from_millis(20) * settings.steps as u32;
        let running = async { tokio::time::timeout(limit, Machine::run(harness, &run)).await };
        let report = match runtime.block_on(running) {
            Ok(outcome) => outcome.map_err(TestCaseError::fail)?,
            Err(_) => return Err(TestCaseError::fail(format!("not done within {limit:?}"))),
        };
        let so_far = total.get();
        total.set(Report {
            runs: so_far.runs + 1,
            operations: so_far.operations + report.operations,
            responses: so_far.responses + report.responses,
        });
        Ok(())
    });
    // Without waiting for tasks of a broken store.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => Ok(total.get()),
        Err(TestError::Fail(what, run)) => {
            Err(Disagreement { what: what.to_string(), steps: format!("{run:#?}") })
        }
        Err(TestError::Abort(what)) => {
            Err(Disagreement { what: what.to_string(), steps: String::new() })
        }
    }
}

/// Compares with settings from the environment, and prints the amount on standard error. Used by
/// [`engine_model!`](crate::engine_model!).
///
/// # Panics
///
/// If a response differs from the model's.
pub fn assert_agrees(harness: &Harness, regressions: &'static str) {
    if harness.is_absent() {
        return;
    }
    match compare(harness, &Settings::from_env().with_regressions(regressions)) {
        Ok(report) => eprintln!("engine model: {report}"),
        Err(disagreement) => panic!("{disagreement}"),
    }
}

/// Makes a `#[test]` that compares the engine on your store with the [model](mod@crate::engine_model).
///
/// Takes the same arguments as [`conformance!`](crate::conformance!). The test is named
/// `engine_model::agrees`. Seeds of failures are kept in `proptest-regressions/engine_model.txt` of your
/// crate, or in the file of that directory that `regressions` names.
#[macro_export]
macro_rules! engine_model {
    (
        capabilities: $capabilities:expr,
        fresh: $fresh:expr
        $(, regressions: $file:literal)?
        $(, absent: $absent:expr)? $(,)?
    ) => {
        #[cfg(test)]
        fn engine_model_harness() -> $crate::Harness {
            $crate::Harness::new($capabilities, $fresh)$(.absent($absent))?
        }

        #[cfg(test)]
        mod engine_model {
            #[test]
            fn agrees() {
                $crate::engine_model::assert_agrees(
                    &super::engine_model_harness(),
                    concat!(
                        env!("CARGO_MANIFEST_DIR"),
                        "/proptest-regressions/",
                        $crate::__regressions!($($file)?),
                    ),
                );
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __regressions {
    () => {
        "engine_model.txt"
    };
    ($file:literal) => {
        $file
    };
}
