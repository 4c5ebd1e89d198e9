//! What every command is given.

use crate::output::Output;
use crate::progress::ProgressMode;
use crate::remote::Client;
use crate::server_args::{ServerArgs, Target};

/// The options that all commands share.
pub(crate) struct Context {
    /// The text of `--store`. It may hold a secret, so no more than its scheme may be shown.
    pub(crate) store: String,
    /// The server on which the command works in place of the store.
    pub(crate) server: Option<Server>,
    /// The output for results.
    pub(crate) output: Output,
    /// Where progress is shown.
    pub(crate) progress: ProgressMode,
}

/// The server on which a command works.
pub(crate) struct Server {
    pub(crate) args: ServerArgs,
    pub(crate) target: Target,
}

impl Server {
    /// Returns a client of it.
    pub(crate) fn connect(&self) -> anyhow::Result<Client> {
        self.args.connect(self.target)
    }
}
