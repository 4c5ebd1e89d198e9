//! One computation for all logins that ask the same at the same time.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};

use super::Overloaded;
use crate::sync::lock;
use crate::{Error, ErrorKind, Refusal};

/// The verifications that are running, by what stands for hash and password.
///
/// Nothing is kept of an answer once every login that waits has it.
pub(crate) struct SharedVerifications<T> {
    running: Mutex<Running<T>>,
}

struct Running<T> {
    by_key: HashMap<(u128, u128), WeakShared<Verification<T>>>,
    /// With how many those are looked for that have ended.
    tidy_at: usize,
}

type Verification<T> = BoxFuture<'static, Result<T, Failed>>;

/// A failure that several get.
#[derive(Clone, Copy, Debug)]
enum Failed {
    Throttled(Duration),
    Overloaded(Overloaded, Duration),
    /// What it was is in the log.
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
        Self { running: Mutex::new(Running { by_key: HashMap::new(), tidy_at: LEFT_OVER }) }
    }
}

impl<T: Clone + Send + Sync + 'static> SharedVerifications<T> {
    /// Waits for the verification that runs under the key, or for the one that `begin` begins.
    ///
    /// # Errors
    ///
    /// What `begin` refuses with; what the verification fails with.
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
        // What has ended is not looked at: each answer is for the logins that asked before it was
        // there.
        let current = running.by_key.get(&key).and_then(WeakShared::upgrade);
        if let Some(current) = current.filter(|current| current.peek().is_none()) {
            return Ok(current);
        }
        if running.by_key.len() >= running.tidy_at {
            running.by_key.retain(|_, other| other.upgrade().is_some());
            running.tidy_at = (2 * running.by_key.len()).max(LEFT_OVER);
        }
        let answer = begin()?.map(|answer| answer.map_err(|error| Failed::new(&error)));
        let verification = answer.boxed().shared();
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
    async fn who_asks_the_same_at_the_same_time_shares_the_answer() {
        let shared = Arc::new(SharedVerifications::<bool>::default());
        let begun = Arc::new(AtomicU32::new(0));
        let (answer, answered) = oneshot::channel::<bool>();
        let mut answered = Some(answered);
        let mut all = Vec::new();
        for _ in 0..10 {
            let answered = answered.take();
            let mut joined = Box::pin(shared.join((1, 1), || {
                begun.fetch_add(1, Ordering::Relaxed);
                Ok(async move { Ok(answered.unwrap().await.unwrap()) })
            }));
            assert!(futures_util::poll!(&mut joined).is_pending());
            all.push(joined);
        }
        // The login that began it is dropped: the others lose nothing.
        drop(all.remove(0));
        let other = shared.join((1, 2), || Ok(async { Ok(false) })).await;
        assert!(!other.unwrap(), "another key");
        answer.send(true).unwrap();
        for joined in all {
            assert!(joined.await.unwrap());
        }
        assert_eq!(begun.load(Ordering::Relaxed), 1);
        // Later it is computed anew.
        assert!(!shared.join((1, 1), || Ok(async { Ok(false) })).await.unwrap());
    }

    #[tokio::test]
    async fn nothing_is_left_of_those_who_left() {
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
    async fn a_failure_is_a_failure_for_all() {
        let shared = SharedVerifications::<bool>::default();
        let fails = || Ok(async { Err(Error::internal(Failed::Other(ErrorKind::Internal))) });
        assert_eq!(shared.join((1, 1), fails).await.unwrap_err().kind(), ErrorKind::Internal);
        let refused = shared.join((1, 1), || {
            Err::<std::future::Ready<Result<bool, Error>>, _>(Error::invalid("full"))
        });
        assert_eq!(refused.await.unwrap_err().kind(), ErrorKind::Invalid);
    }
}
