//! Work that blocks, off the runtime's workers.

use tokio::runtime::Handle;

use crate::store::StoreError;

/// Runs the work on a thread that may block. It runs to its end whether or not the future is dropped.
///
/// # Errors
///
/// Those of the work; [`StoreError::Unavailable`] when the runtime is shutting down.
///
/// # Panics
///
/// Outside a tokio runtime.
pub async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = Handle::current().spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(StoreError::unavailable("the runtime is shutting down")))
}
