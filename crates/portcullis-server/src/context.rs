//! What every command is given.

use crate::output::Output;

/// What a command needs besides its own options.
pub(crate) struct Context {
    /// The text of `--store`. It may hold a secret: show no more of it than its scheme.
    pub(crate) store: String,
    /// Where the answer goes.
    pub(crate) output: Output,
}
