//! The runtime of a command.

use std::io;
use std::sync::OnceLock;

use anyhow::anyhow;
use tokio::runtime::{Builder, Runtime};

/// Runs the work on the runtime of this process, to its end.
///
/// Every call uses the same runtime: the connections of a store that one call has opened belong to
/// it, and another call uses them.
pub(crate) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    static RUNTIME: OnceLock<io::Result<Runtime>> = OnceLock::new();
    match RUNTIME.get_or_init(|| Builder::new_current_thread().enable_all().build()) {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => Err(anyhow!("could not start the runtime: {error}")),
    }
}
