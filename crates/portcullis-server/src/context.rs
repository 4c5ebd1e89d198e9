//! What every command is given.

use crate::output::Output;

/// The options that all commands share.
pub(crate) struct Context {
    /// The text of `--store`. It may hold a secret, so no more than its scheme may be shown.
    pub(crate) store: String,
    /// The output for results.
    pub(crate) output: Output,
}
