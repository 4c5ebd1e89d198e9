//! What a command does with a store: open it, work with an engine on it, close it.

use std::io;
use std::sync::{Arc, OnceLock};

use anyhow::anyhow;
use portcullis::password::PasswordPolicy;
use portcullis::store::Store;
use portcullis::{Engine, EngineBuilder};
use tokio::runtime::{self, Runtime};

use crate::command_audit;
use crate::lasting_store::LastingStore;
use crate::local_store::IfMissing;
use crate::store_url::StoreUrl;

/// The rules for passwords, as an option.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct PolicyArgs {
    /// Demand three of upper case, lower case, numbers and special characters in passwords, also
    /// at login
    #[arg(long)]
    strong_passwords: bool,
}

impl PolicyArgs {
    pub(crate) fn policy(self) -> PasswordPolicy {
        if self.strong_passwords { PasswordPolicy::strong() } else { PasswordPolicy::default() }
    }
}

/// Works on the existing store that `--store` names.
pub(crate) fn on_existing_store<T>(
    store: &str,
    policy: PolicyArgs,
    work: impl AsyncFnOnce(&Engine) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    on_lasting_store(&StoreUrl::parse_lasting(store)?, IfMissing::Fail, policy, work)
}

/// Works on the store.
pub(crate) fn on_lasting_store<T>(
    store: &LastingStore,
    if_missing: IfMissing,
    policy: PolicyArgs,
    work: impl AsyncFnOnce(&Engine) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    // Opening blocks, so it is done before there is a runtime.
    on_store(store.open(if_missing)?, policy, work)
}

/// Reads the existing store that `--store` names, also where it cannot be written.
pub(crate) fn on_store_to_read<T>(
    store: &str,
    work: impl AsyncFnOnce(&Engine) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let store: Arc<dyn Store> = StoreUrl::parse_lasting(store)?.open_to_read()?;
    run(closing(&store, async {
        let builder = || engine_builder(Arc::clone(&store), PolicyArgs::default());
        let engine = match builder().build().await {
            Ok(engine) => engine,
            // A deletion that was not finished cannot be finished in a read-only place.
            Err(error) => builder().read_only(true).build().await.map_err(|_| error)?,
        };
        work(&engine).await
    }))
}

/// Works on the store, and closes it whatever comes of it.
pub(crate) fn on_store<T>(
    store: Arc<dyn Store>,
    policy: PolicyArgs,
    work: impl AsyncFnOnce(&Engine) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    run(closing(&store, async {
        let engine = engine_builder(Arc::clone(&store), policy).build().await?;
        work(&engine).await
    }))
}

/// Closes the store after the work.
async fn closing<T>(
    store: &Arc<dyn Store>,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let result = work.await;
    close(&**store).await;
    result
}

/// Runs the work on the runtime of this process. A store that was opened in one call is used in
/// another, and its connections belong to the runtime.
pub(crate) fn run<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    static RUNTIME: OnceLock<io::Result<Runtime>> = OnceLock::new();
    let runtime =
        RUNTIME.get_or_init(|| runtime::Builder::new_current_thread().enable_all().build());
    match runtime {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => Err(anyhow!("could not start the runtime: {error}")),
    }
}

/// Closes the store after work whose result stands: what was done is done, and its answer may hold
/// a secret that is shown this once.
pub(crate) async fn close(store: &dyn Store) {
    if let Err(error) = store.close().await {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        tracing::warn!(cause, "could not close the store in good order: {error}");
    }
}

/// An engine on the store, for a command.
fn engine_builder(store: Arc<dyn Store>, policy: PolicyArgs) -> EngineBuilder {
    let builder = Engine::builder(store)
        .password_policy(policy.policy())
        // A command that asks changes nothing.
        .rehash_on_login(false);
    match command_audit::of_this_process() {
        Some(audit) => builder.audit(audit),
        None => builder,
    }
}
