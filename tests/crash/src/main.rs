//! Crash tests for the stores: `kills`, `cuts` and `faults`. See `tests/README.md`, "Crashes".

mod backend;
mod check;
mod child;
mod cuts;
mod disk;
mod faults;
mod kills;
mod ledger;
mod process;
mod strace;
mod workload;

use std::process::ExitCode;

use clap::Parser;

/// Kills, power cuts and failing disks for the stores of Portcullis.
#[derive(Debug, Parser)]
enum Command {
    /// Kill a writing process with SIGKILL again and again.
    Kills(kills::Options),
    /// Cut the power at random moments of what a writing process did.
    Cuts(cuts::Options),
    /// Simulate a disk that is full or fails at the n-th call.
    Faults(faults::Options),
    /// The process that writes; the others start it.
    #[command(hide = true)]
    Child(child::Orders),
}

fn main() -> anyhow::Result<ExitCode> {
    // Panics of a store are counted, and reported in a line each.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let survived = match Command::parse() {
        Command::Child(orders) => child::run(&orders).map(|()| true),
        Command::Cuts(options) => cuts::run(&options),
        Command::Faults(options) => faults::run(&options),
        Command::Kills(options) => kills::run(&options),
    }?;
    Ok(if survived { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns the seed given, or draws one.
fn seed(given: Option<u64>) -> u64 {
    given.unwrap_or_else(|| fastrand::u64(..1 << 32))
}
