//! The signals that end the server, and the one that has it read files again.

use std::io;

/// SIGTERM and SIGINT, or Ctrl-C where there are no signals.
pub(super) struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    /// Begins to listen: from now on a signal does not end the process by itself.
    #[cfg(unix)]
    pub(super) fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    #[cfg(not(unix))]
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for a signal. After it, the next one ends the process at once.
    pub(super) async fn wait(mut self) {
        self.next().await;
        tracing::info!("finishing the requests in flight; a second signal ends this at once");
        tokio::spawn(async move { std::process::exit(self.next().await) });
    }

    /// Waits for the next signal and returns the exit status that stands for it.
    #[cfg(unix)]
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => 128 + 15,
            _ = self.interrupt.recv() => 128 + 2,
        }
    }

    #[cfg(not(unix))]
    async fn next(&mut self) -> i32 {
        if tokio::signal::ctrl_c().await.is_err() {
            // Nothing can be told from outside then: go on until killed.
            std::future::pending::<()>().await;
        }
        128 + 2
    }
}

/// SIGHUP, where there are signals: what was replaced is to be read again.
pub(super) struct Hangups(#[cfg(unix)] tokio::signal::unix::Signal);

impl Hangups {
    /// Begins to listen: from now on the signal does not end the process.
    #[cfg(unix)]
    pub(super) fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        Ok(Self(signal(SignalKind::hangup())?))
    }

    #[cfg(not(unix))]
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self())
    }

    /// Waits for the next one.
    #[cfg(unix)]
    pub(super) async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            // None will come any more.
            std::future::pending::<()>().await;
        }
    }

    #[cfg(not(unix))]
    pub(super) async fn next(&mut self) {
        std::future::pending::<()>().await;
    }
}
