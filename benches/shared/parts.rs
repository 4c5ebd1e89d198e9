//! Which parts of a bench run.

use std::env;

/// The parts that the command line selects by their names.
#[derive(Debug)]
pub struct Parts {
    filter: Option<String>,
}

impl Parts {
    /// Reads the command line. `None` without `--bench`, which `cargo bench` passes:
    /// `cargo test --all-targets` runs benches as tests, and then nothing is measured.
    pub fn from_arguments() -> Option<Self> {
        let arguments: Vec<String> = env::args().skip(1).collect();
        let filter = arguments.iter().find(|argument| !argument.starts_with('-')).cloned();
        arguments.iter().any(|argument| argument == "--bench").then_some(Self { filter })
    }

    /// Whether the part is selected: its name contains the first argument that is no option, or there
    /// is no such argument.
    pub fn has(&self, name: &str) -> bool {
        self.filter.as_deref().is_none_or(|filter| name.contains(filter))
    }
}
