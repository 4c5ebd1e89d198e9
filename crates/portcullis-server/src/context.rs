//! What every command is given.

use crate::output::Output;
use crate::progress::ProgressMode;

/// The options that all commands share.
pub(crate) struct Context {
    /// The text of `--store`. It may hold a secret, so no more than its scheme may be shown.
    pub(crate) store: String,
    /// The output for results.
    pub(crate) output: Output,
    /// Where progress is shown.
    pub(crate) progress: ProgressMode,
}
