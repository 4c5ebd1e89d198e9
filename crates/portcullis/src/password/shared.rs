//! One computation for all concurrent logins with the same password and hash.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};

use super::Overloaded;
use crate::sync::lock;
use crate::{Error, ErrorKind, Refusal};

/// The running verifications, by digests of hash and password.
///
/// A result is dropped when every login that waits for it has received it.
pub(crate) struct SharedVerifications<T> {
    running: Mutex<Running<T>>,
}

struct Running<T> {
    by_key: HashMap<(u128, u128), WeakShared<Verification<T>>>,
    /// The number of entries at which finished ones are removed.
    sweep_at: usize,
}

type Verification<T> = BoxFuture<'static, Result<T, Failed>>;

/// A failure that several logins receive.
#[derive(Clone, Copy, Debug)]
enum Failed {
    Throttled(Duration),
    Overloaded(Overloaded, Duration),
    /// Its cause is in the log.
    Other(ErrorKind),
}

impl Failed {
    fn new(error: &Error) -> Self {
        let retry_after = error.retry_after().unwrap_or(Duration::from_secs(1));
        let source = std::error::Error::source(error);
        if error.refusal() == Some(Refusal::Throttled) {
            return Self::Throttled(retry_after);
        }
        if let Some(overloaded) = source.and_then(|source| source.downcast_ref()) {
            return Self::Overloaded(*overloaded, retry_after);
        }
        tracing::error!(cause = ?source, "{error}");
        Self::Other(error.kind())
    }

    fn into_error(self) -> Error {
        match self {
            Self::Throttled(wait) => Error::throttled(wait),
            Self::Overloaded(overloaded, retry_after) => overloaded.into_error(retry_after),
            Self::Other(ErrorKind::Unavailable) => Error::unavailable(self),
            Self::Other(_) => Error::internal(self),
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the verification of a password failed")
    }
}

impl std::error::Error for Failed {}

/// How many may have ended without being forgotten.
const LEFT_OVER: usize = 256;

impl<T> Default for SharedVerifications<T> {
    fn default() -> Self {
        Self { running: Mutex::new(Running { by_key: HashMap::new(), sweep_at: LEFT_OVER }) }
    }
}

impl<T: Clone + Send + Sync + 'static> SharedVerifications<T> {
    /// Waits for the running verification with the key, or else for the one that `begin` starts.
    ///
    /// # Errors
    ///
    /// Those of `begin` and of the verification.
    pub(crate) async fn join<F>(
        &self,
        key: (u128, u128),
        begin: impl FnOnce() -> Result<F, Error>,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        self.find_or_begin(key, begin)?.await.map_err(Failed::into_error)
    }

    fn find_or_begin<F>(
        &self,
        key: (u128, u128),
        begin: impl FnOnce() -> Result<F, Error>,
    ) -> Result<Shared<Verification<T>>, Error>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let mut running = lock(&self.running);
        // A result is only for logins that joined before it was there: a finished one is not used.
        let current = running.by_key.get(&key).and_then(WeakShared::upgrade);
        if let Some(current) = current.filter(|current| current.peek().is_none()) {
            return Ok(current);
        }
        if running.by_key.len() >= running.sweep_at {
            running.by_key.retain(|_, other| other.upgrade().is_some());
            running.sweep_at = (2 * running.by_key.len()).max(LEFT_OVER);
        }
        let result = begin()?.map(|result| result.map_err(|error| Failed::new(&error)));
        let verification = result.boxed().shared();
        if let Some(weak) = verification.downgrade() {
            running.by_key.insert(key, weak);
        }
        Ok(verification)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn concurrent_verifications_with_one_key_share_the_result() {
        let shared = Arc::new(SharedVerifications::<bool>::default());
        let begun = Arc::new(AtomicU32::new(0));
        let (send, result) = oneshot::channel::<bool>();
        let mut result = Some(result);
        let mut all = Vec::new();
        for _ in 0..10 {
            let result = result.take();
            let mut joined = Box::pin(shared.join((1, 1), || {
                begun.fetch_add(1, Ordering::Relaxed);
                Ok(async move { Ok(result.unwrap().await.unwrap()) })
            }));
            assert!(futures_util::poll!(&mut joined).is_pending());
            all.push(joined);
        }
        // Dropping the login that began it does not affect the others.
        drop(all.remove(0));
        let other = shared.join((1, 2), || Ok(async { Ok(false) })).await;
        assert!(!other.unwrap(), "another key");
        send.send(true).unwrap();
        for joined in all {
            assert!(joined.await.unwrap());
        }
        assert_eq!(begun.load(Ordering::Relaxed), 1);
        // A later login begins another computation.
        assert!(!shared.join((1, 1), || Ok(async { Ok(false) })).await.unwrap());
    }

    #[tokio::test]
    async fn abandoned_verifications_are_removed() {
        let shared = SharedVerifications::<bool>::default();
        for key in 0..10_000 {
            let mut joined = Box::pin(
                shared.join((key, 0), || Ok(std::future::pending::<Result<bool, Error>>())),
            );
            assert!(futures_util::poll!(&mut joined).is_pending());
        }
        assert!(shared.running.lock().unwrap().by_key.len() <= LEFT_OVER);
    }

    #[tokio::test]
    async fn every_login_that_joined_gets_the_failure() {
        let shared = SharedVerifications::<bool>::default();
        let fails = || Ok(async { Err(Error::internal(Failed::Other(ErrorKind::Internal))) });
        assert_eq!(shared.join((1, 1), fails).await.unwrap_err().kind(), ErrorKind::Internal);
        let refused = shared.join((1, 1), || {
            Err::<std::future::Ready<Result<bool, Error>>, _>(Error::invalid("full"))
        });
        assert_eq!(refused.await.unwrap_err().kind(), ErrorKind::Invalid);
    }
}
