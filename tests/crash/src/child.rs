//! The process that is killed: it writes, and reports what it begins and what was acknowledged.
//!
//! Each report is a line in one system call of its own kind (`writev`, which no store uses), so that a
//! trace shows it in order with the store's calls and no injected fault hits it.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::AsFd;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use portcullis::store::{Lookup, MaintenanceStore, Position, StoreError};

use crate::backend::StoreUrl;
use crate::workload::{SLOTS, Slot, State, Step, version_of};

/// How many more steps there may be until one succeeds.
const TRIES: u64 = 5;

/// The work of a child.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Orders {
    /// The store, as SCHEME:PATH.
    #[arg(long)]
    pub(crate) store: StoreUrl,
    /// Seed of the changes.
    #[arg(long)]
    pub(crate) seed: u64,
    /// Versions count up from here.
    #[arg(long)]
    pub(crate) version: u64,
    /// How many writers there are.
    #[arg(long)]
    pub(crate) writers: u8,
    /// How many steps each writer takes.
    #[arg(long)]
    pub(crate) steps: u64,
    /// A pause half way, in milliseconds, in which the store does its maintenance.
    #[arg(long, default_value_t = 0)]
    pub(crate) rest: u64,
    /// Close the store when done.
    #[arg(long)]
    pub(crate) close: bool,
}

impl Orders {
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["child".to_owned()];
        let mut give = |name: &str, value: &dyn Display| {
            arguments.extend([format!("--{name}"), value.to_string()]);
        };
        give("store", &self.store);
        give("seed", &self.seed);
        give("version", &self.version);
        give("writers", &self.writers);
        give("steps", &self.steps);
        give("rest", &self.rest);
        arguments.extend(self.close.then(|| "--close".to_owned()));
        arguments
    }
}

/// The channel to the parent.
#[derive(Debug)]
struct Report(File);

impl Report {
    fn to_standard_output() -> io::Result<Self> {
        Ok(Self(io::stdout().as_fd().try_clone_to_owned()?.into()))
    }

    fn send(&self, line: impl Display) {
        let line = format!("{line}\n");
        // Without a reader the work has no purpose.
        if (&self.0).write_vectored(&[IoSlice::new(line.as_bytes())]).is_err() {
            process::exit(9);
        }
    }
}

/// Does the work, and then waits until it is killed or standard input ends.
pub(crate) fn run(orders: &Orders) -> anyhow::Result<()> {
    let report = Arc::new(Report::to_standard_output()?);
    report.send(format_args!("start {}", process::id()));
    let opened = orders.store.open();
    let store = match opened {
        Ok(store) => store,
        Err(error) => {
            report.send(format_args!("unopened {}", one_line(&error)));
            return wait_for_the_end();
        }
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(work(orders, store, &report));
    wait_for_the_end()
}

async fn work(orders: &Orders, store: Arc<dyn MaintenanceStore>, report: &Arc<Report>) {
    match store.position().await {
        Ok(position) => report.send(format_args!("opened {}", place(position))),
        Err(error) => report.send(format_args!("failed {}", one_line(&error.into()))),
    }
    let version = Arc::new(AtomicU64::new(orders.version));
    let writers: Vec<_> = (0..orders.writers)
        .map(|number| {
            let writer = Writer {
                number,
                store: Arc::clone(&store),
                report: Arc::clone(report),
                version: Arc::clone(&version),
                random: fastrand::Rng::with_seed(orders.seed ^ u64::from(number) << 56),
                state: State::new(),
            };
            tokio::spawn(writer.write(orders.steps, Duration::from_millis(orders.rest)))
        })
        .collect();
    for writer in writers {
        if let Err(error) = writer.await {
            report.send(format_args!("panicked {}", one_line(&error.into())));
        }
    }
    report.send("done");
    if orders.close {
        report.send("closing");
        match store.close().await {
            Ok(()) => report.send("closed"),
            Err(error) => report.send(format_args!("unclosed {}", one_line(&error.into()))),
        }
    }
    // Otherwise the parent ends the process: dropping the store would close it.
    std::mem::forget(store);
}

/// A writer with slots of its own.
struct Writer {
    number: u8,
    store: Arc<dyn MaintenanceStore>,
    report: Arc<Report>,
    version: Arc<AtomicU64>,
    random: fastrand::Rng,
    state: State,
}

impl Writer {
    async fn write(mut self, steps: u64, rest: Duration) {
        let number = self.number;
        if !self.read_state().await {
            return;
        }
        let mut index = 0;
        let mut failed = false;
        // If the last one failed, a few more, to find out whether later ones succeed.
        while index < steps || (failed && index < steps.saturating_add(TRIES)) {
            if index == steps / 2 && !rest.is_zero() {
                tokio::time::sleep(rest).await;
            }
            index += 1;
            let next = || self.version.fetch_add(1, Ordering::Relaxed);
            let step = Step::draw(&mut self.random, &self.state, next);
            let batch = step.batch(number);
            self.report.send(format_args!("begin {number} {step}"));
            match self.store.commit(batch).await {
                Ok(position) => {
                    self.report.send(format_args!("ack {number} ok {}", place(position)));
                    failed = false;
                    // The parent detects a step that had to be refused and was not.
                    self.state = step.after(&self.state);
                }
                Err(error) => {
                    let outcome = outcome(&error);
                    failed = outcome != "refused";
                    let error = one_line(&error.into());
                    self.report.send(format_args!("ack {number} {outcome} {error}"));
                    if outcome == "unknown" && !self.read_state().await {
                        return;
                    }
                }
            }
        }
    }

    /// Reads its slots, and reports them. After a failure it retries a few times.
    async fn read_state(&mut self) -> bool {
        let number = self.number;
        for _ in 0..20 {
            match self.read().await {
                Ok(state) => {
                    let slots = state.iter().map(|(slot, version)| format!(" {slot}:{version}"));
                    let slots: String = slots.collect();
                    self.report.send(format_args!("state {number}{slots}"));
                    self.state = state;
                    return true;
                }
                Err(error) => {
                    let error = one_line(&error.into());
                    self.report.send(format_args!("unread {number} {error}"));
                }
            }
        }
        false
    }

    async fn read(&self) -> Result<State, StoreError> {
        let mut state = State::new();
        for number in 0..SLOTS {
            let slot = Slot { writer: self.number, number };
            let found = self.store.get(Lookup::Id(slot.kind(), slot.id())).await?;
            state.extend(found.map(|record| (number, version_of(&record).unwrap_or(u64::MAX))));
        }
        Ok(state)
    }
}

/// The outcome of a change, by its error.
fn outcome(error: &StoreError) -> &'static str {
    match error {
        StoreError::AlreadyExists { .. }
        | StoreError::Conflict { .. }
        | StoreError::Missing { .. } => "refused",
        StoreError::Indeterminate { .. } => "unknown",
        StoreError::Backend { .. } | StoreError::Unavailable { .. } => "failed",
        _ => "odd",
    }
}

fn place(position: Position) -> String {
    format!("{:032x} {}", position.incarnation(), position.sequence())
}

fn one_line(error: &anyhow::Error) -> String {
    format!("{error:#}").replace('\n', " ")
}

/// The parent holds the other end of standard input, and may also kill this process.
fn wait_for_the_end() -> anyhow::Result<()> {
    io::stdin().read_to_end(&mut Vec::new())?;
    process::exit(0)
}
