//! How a store is opened and closed.

use portcullis::store::Store;

/// What opening does where there is no store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenMode {
    /// Create one.
    Create,
    /// Fail.
    MustExist,
}

/// Closes the store after work whose result stands. An error is logged and not returned: the work
/// is done, and its result may hold a secret that is shown this once.
pub(crate) async fn close(store: &dyn Store) {
    if let Err(error) = store.close().await {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        tracing::warn!(cause, "could not close the store in good order: {error}");
    }
}
