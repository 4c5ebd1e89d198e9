//! The session of a command: the records on which it works, in a store or on a server.
//!
//! A store is opened, an engine works on it, and it is closed.

mod names;
mod operations;
mod records;

use std::sync::Arc;

use portcullis::store::Store;
use portcullis::{Engine, EngineBuilder};

pub(crate) use self::names::Names;
pub(crate) use self::operations::{AuthorizationParts, AuthorizationsPage, Session};
pub(crate) use self::records::{ApiTokenRecord, AuthorizationRecord, RotationRecord};
use crate::command_audit;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::{Record, Shown};
use crate::passwords::PolicyArgs;
use crate::runtime::block_on;
use crate::stores::{OpenMode, PersistentStore, StoreUrl, close};

/// Works on the existing store that `--store` names.
pub(crate) fn on_existing_store<T>(
    store: &str,
    policy: PolicyArgs,
    work: impl AsyncFnOnce(&Engine) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    on_persistent_store(&StoreUrl::parse_persistent(store)?, OpenMode::MustExist, policy, work)
}

/// Works on the server of the context, or else on its store, which must exist.
pub(crate) fn on_records<T>(
    context: &Context,
    policy: PolicyArgs,
    work: impl AsyncFnOnce(&Session) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    if let Some(server) = &context.server {
        // Connections belong to the runtime, so the client is made in it.
        return block_on(async { work(&Session::Server(Box::new(server.connect()?))).await });
    }
    on_existing_store(&context.store, policy, async |engine: &Engine| {
        work(&Session::Store(engine.clone())).await
    })
}

/// Works on records, and shows the result.
pub(crate) fn show<R: Record>(
    context: Context,
    work: impl AsyncFnOnce(&Session) -> anyhow::Result<Shown<R>>,
) -> anyhow::Result<Outcome> {
    let shown = on_records(&context, PolicyArgs::default(), work)?;
    context.output.records(&shown)?;
    Ok(Outcome::Done)
}

/// Works on the store.
pub(crate) fn on_persistent_store<T>(
    store: &PersistentStore,
    mode: OpenMode,
    policy: PolicyArgs,
    work: impl AsyncFnOnce(&Engine) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    // Opening blocks, so it must be outside of the runtime.
    on_store(store.open(mode)?, policy, work)
}

/// Reads the existing store that `--store` names, also where it cannot be written.
pub(crate) fn on_store_to_read<T>(
    store: &str,
    work: impl AsyncFnOnce(&Engine) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let store: Arc<dyn Store> = StoreUrl::parse_persistent(store)?.open_to_read()?;
    block_on(closing(&store, async {
        let builder = || engine_builder(Arc::clone(&store), &PolicyArgs::default());
        let engine = match builder().build().await {
            Ok(engine) => engine,
            // An engine finishes deletions that were interrupted, which a read-only file does not allow.
            Err(error) => builder().read_only(true).build().await.map_err(|_| error)?,
        };
        work(&engine).await
    }))
}

/// Works on the store, and closes it in any case.
pub(crate) fn on_store<T>(
    store: Arc<dyn Store>,
    policy: PolicyArgs,
    work: impl AsyncFnOnce(&Engine) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    block_on(closing(&store, async {
        let engine = engine_builder(Arc::clone(&store), &policy).build().await?;
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

/// Returns the builder of an engine for a command.
fn engine_builder(store: Arc<dyn Store>, policy: &PolicyArgs) -> EngineBuilder {
    let builder = Engine::builder(store)
        .password_policy(policy.policy())
        // A command that only reads changes nothing, and a check of a password is no use of it.
        .rehash_on_login(false)
        .end_previous_on_use(false)
        .no_last_use();
    match command_audit::of_this_process() {
        Some(audit) => builder.audit(audit),
        None => builder,
    }
}
