//! One computation for all who ask the same at the same time.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};

use crate::{Error, ErrorKind};

/// The verifications that are running, by what stands for hash and password.
///
/// Nothing is kept of an answer once everybody has it.
#[derive(Default)]
pub(crate) struct SharedVerifications {
    running: Mutex<HashMap<(u128, u128), WeakShared<Verification>>>,
}

type Verification = BoxFuture<'static, Result<bool, Failed>>;

/// A failure that several get. What it was is in the log.
#[derive(Clone, Copy, Debug)]
struct Failed(ErrorKind);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the verification of a password failed")
    }
}

impl std::error::Error for Failed {}

/// How many may have ended without being forgotten.
const LEFT_OVER: usize = 256;

impl SharedVerifications {
    /// Waits for the verification that runs under the key, or for the one that `begin` begins. It
    /// is told whether the password is right, and whether somebody else had begun.
    ///
    /// # Errors
    ///
    /// What `begin` refuses with; what the verification fails with.
    pub(crate) async fn join<F>(
        &self,
        key: (u128, u128),
        begin: impl FnOnce() -> Result<F, Error>,
    ) -> Result<bool, Error>
    where
        F: Future<Output = Result<bool, Error>> + Send + 'static,
    {
        let verification = self.find_or_begin(key, begin)?;
        verification.await.map_err(|failed| match failed.0 {
            ErrorKind::Unavailable => Error::unavailable(failed),
            _ => Error::internal(failed),
        })
    }

    fn find_or_begin<F>(
        &self,
        key: (u128, u128),
        begin: impl FnOnce() -> Result<F, Error>,
    ) -> Result<Shared<Verification>, Error>
    where
        F: Future<Output = Result<bool, Error>> + Send + 'static,
    {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // What has ended is not looked at: each answer is for those who asked before it was there.
        let current = running.get(&key).and_then(WeakShared::upgrade);
        if let Some(current) = current.filter(|current| current.peek().is_none()) {
            return Ok(current);
        }
        if running.len() >= LEFT_OVER {
            running.retain(|_, other| other.upgrade().is_some());
        }
        let answer = begin()?.map(|answer| {
            answer.map_err(|error| {
                tracing::error!(cause = ?std::error::Error::source(&error), "{error}");
                Failed(error.kind())
            })
        });
        let verification = answer.boxed().shared();
        if let Some(weak) = verification.downgrade() {
            running.insert(key, weak);
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
        let shared = Arc::new(SharedVerifications::default());
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
        // Whoever began leaves: the others lose nothing.
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
        let shared = SharedVerifications::default();
        for key in 0..10_000 {
            let mut joined = Box::pin(
                shared.join((key, 0), || Ok(std::future::pending::<Result<bool, Error>>())),
            );
            assert!(futures_util::poll!(&mut joined).is_pending());
        }
        assert!(shared.running.lock().unwrap().len() <= LEFT_OVER);
    }

    #[tokio::test]
    async fn a_failure_is_a_failure_for_all() {
        let shared = SharedVerifications::default();
        let fails = || Ok(async { Err(Error::internal(Failed(ErrorKind::Internal))) });
        assert_eq!(shared.join((1, 1), fails).await.unwrap_err().kind(), ErrorKind::Internal);
        let refused = shared.join((1, 1), || {
            Err::<std::future::Ready<Result<bool, Error>>, _>(Error::invalid("full"))
        });
        assert_eq!(refused.await.unwrap_err().kind(), ErrorKind::Invalid);
    }
}
