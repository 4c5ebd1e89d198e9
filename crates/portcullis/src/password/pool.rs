//! The threads that hash passwords: few, with memory of their own and a bounded queue.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot;

use super::hash::Arena;
use super::queue::{Lane, Queue};
use super::{HashParams, Password, PasswordHash};
use crate::{Error, ErrorKind, Random};

/// How passwords are hashed, and by how many threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HashPoolConfig {
    /// What a new hash costs.
    pub params: HashParams,
    /// Number of threads, each with memory for one computation while there is something to
    /// compute. Default: one for each core, at most 8. At least 1.
    pub threads: usize,
    /// How many log-ins may wait for a thread. Default: 64. At least 1. As many new passwords may
    /// wait besides, and go first: whoever floods the log-in does not keep operators from changing
    /// a password.
    pub queue: usize,
    /// How long a thread without work keeps its memory. Default: 10 seconds. To take it again makes
    /// the next computation a little longer; with [`Duration::MAX`] it is kept for good.
    pub memory_kept: Duration,
}

impl Default for HashPoolConfig {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self {
            params: HashParams::default(),
            threads: cores.min(8),
            queue: 64,
            memory_kept: Duration::from_secs(10),
        }
    }
}

/// A fixed number of threads that compute and verify password hashes.
///
/// Each thread reuses its memory, so that the whole takes `threads × memory` and no more, however
/// many log in at once, and none of it once nobody has for a while. A computation that has begun is
/// finished even if whoever asked has gone: leaving early frees nothing to be used again. Dropping
/// the last handle ends the threads.
pub struct HashPool {
    queue: Arc<Queue<Job>>,
    params: HashParams,
    computations: Arc<AtomicU64>,
}

enum Job {
    Hash(Password, oneshot::Sender<Result<PasswordHash, Error>>),
    Verify(Password, PasswordHash, oneshot::Sender<Result<bool, Error>>),
    /// Computes a hash and throws it away: what a username costs that has no hash to compare.
    Dummy(Password, oneshot::Sender<Result<bool, Error>>),
}

/// Says that the pool could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HashError {
    /// `threads` or `queue` is zero.
    #[error("{0} of the hash pool must be at least 1")]
    Zero(&'static str),
    /// A thread could not be started.
    #[error("could not start a thread of the hash pool")]
    Thread(#[source] std::io::Error),
}

impl HashPool {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// [`HashError::Zero`] for a number that is zero, [`HashError::Thread`] when the operating
    /// system starts no thread.
    pub fn start(config: HashPoolConfig, random: Arc<dyn Random>) -> Result<Self, HashError> {
        let HashPoolConfig { params, threads, queue, memory_kept } = config;
        if threads == 0 {
            return Err(HashError::Zero("threads"));
        }
        if queue == 0 {
            return Err(HashError::Zero("queue"));
        }
        let computations = Arc::new(AtomicU64::new(0));
        // Dropped, with the threads that it has by then, when one of them cannot be started.
        let pool = Self { queue: Arc::new(Queue::new(queue)), params, computations };
        for number in 0..threads {
            let worker = Worker {
                queue: Arc::clone(&pool.queue),
                params,
                memory_kept,
                random: Arc::clone(&random),
                computations: Arc::clone(&pool.computations),
            };
            thread::Builder::new()
                .name(format!("portcullis-hash-{number}"))
                .spawn(move || worker.run())
                .map_err(HashError::Thread)?;
        }
        Ok(pool)
    }

    /// Returns what a new hash costs.
    pub const fn params(&self) -> HashParams {
        self.params
    }

    /// Returns how many hashes were computed since the start, of every purpose.
    pub fn computations(&self) -> u64 {
        self.computations.load(Ordering::Relaxed)
    }

    /// Returns how many computations wait for a thread.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Hashes a new password with a fresh salt.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooManyRequests`] when the queue is full, [`ErrorKind::Internal`] when the
    /// computation fails.
    pub async fn hash(&self, password: &Password) -> Result<PasswordHash, Error> {
        let (reply, answer) = oneshot::channel();
        self.submit(Lane::First, Job::Hash(password.clone(), reply), answer)?.await
    }

    /// Tells whether the password is the one of the hash.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooManyRequests`] when the queue is full, [`ErrorKind::Internal`] when the
    /// computation fails.
    pub async fn verify(&self, password: &Password, hash: &PasswordHash) -> Result<bool, Error> {
        self.begin_verify(password.clone(), hash.clone())?.await
    }

    /// Takes as long as [`HashPool::verify`] does for a hash with the current parameters.
    ///
    /// # Errors
    ///
    /// The same as [`HashPool::verify`].
    pub async fn dummy(&self, password: &Password) -> Result<(), Error> {
        self.begin_dummy(password.clone())?.await.map(drop)
    }

    /// Puts a computation in vain into the queue at once, and returns its answer as a future: that
    /// of a password that is wrong.
    pub(crate) fn begin_dummy(
        &self,
        password: Password,
    ) -> Result<impl Future<Output = Result<bool, Error>> + Send + use<>, Error> {
        let (reply, answer) = oneshot::channel();
        self.submit(Lane::Second, Job::Dummy(password, reply), answer)
    }

    /// Puts a verification into the queue at once, and returns its answer as a future.
    pub(crate) fn begin_verify(
        &self,
        password: Password,
        hash: PasswordHash,
    ) -> Result<impl Future<Output = Result<bool, Error>> + Send + use<>, Error> {
        let (reply, answer) = oneshot::channel();
        self.submit(Lane::Second, Job::Verify(password, hash, reply), answer)
    }

    fn submit<T: Send>(
        &self,
        lane: Lane,
        job: Job,
        answer: oneshot::Receiver<Result<T, Error>>,
    ) -> Result<impl Future<Output = Result<T, Error>> + Send + use<T>, Error> {
        if !self.queue.push(lane, job) {
            return Err(Error::new(ErrorKind::TooManyRequests, "too many logins at once")
                .with_retry_after(Duration::from_secs(1)));
        }
        Ok(async { answer.await.unwrap_or_else(|_| Err(Error::internal(WorkersGone))) })
    }
}

impl Drop for HashPool {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl fmt::Debug for HashPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashPool").field("params", &self.params).finish_non_exhaustive()
    }
}

#[derive(Debug, Error)]
#[error("a thread of the hash pool ended early")]
struct WorkersGone;

struct Worker {
    queue: Arc<Queue<Job>>,
    params: HashParams,
    memory_kept: Duration,
    random: Arc<dyn Random>,
    computations: Arc<AtomicU64>,
}

impl Worker {
    fn run(self) {
        let mut arena = Arena::default();
        while let Some(job) = self.queue.pop(self.memory_kept, || arena.release()) {
            self.work(job, &mut arena);
            arena.release_above(self.params);
        }
    }

    /// Does the job, unless whoever asked has gone before it began.
    fn work(&self, job: Job, arena: &mut Arena) {
        // Nobody waits for an answer that cannot be sent any more.
        match job {
            Job::Hash(password, reply) if !reply.is_closed() => {
                self.count();
                let hash =
                    PasswordHash::compute(&password, self.params, self.random.as_ref(), arena);
                let _ = reply.send(hash);
            }
            Job::Verify(password, hash, reply) if !reply.is_closed() => {
                self.count();
                let _ = reply.send(hash.matches(&password, arena));
            }
            Job::Dummy(password, reply) if !reply.is_closed() => {
                self.count();
                let hash =
                    PasswordHash::compute(&password, self.params, self.random.as_ref(), arena);
                let _ = reply.send(hash.map(|_| false));
            }
            Job::Hash(..) | Job::Verify(..) | Job::Dummy(..) => {}
        }
    }

    fn count(&self) {
        self.computations.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemRandom;

    fn pool(threads: usize, queue: usize) -> HashPool {
        let params = HashParams::new(8, 1, 1).unwrap();
        let config = HashPoolConfig { params, threads, queue, memory_kept: Duration::MAX };
        HashPool::start(config, Arc::new(SystemRandom)).unwrap()
    }

    fn password(text: &str) -> Password {
        Password::new(text).unwrap()
    }

    #[tokio::test]
    async fn hashes_and_verifies_and_counts() {
        let pool = pool(2, 4);
        let hash = pool.hash(&password("grafana-pass-1")).await.unwrap();
        assert!(pool.verify(&password("grafana-pass-1"), &hash).await.unwrap());
        assert!(!pool.verify(&password("grafana-pass-2"), &hash).await.unwrap());
        pool.dummy(&password("whatever")).await.unwrap();
        assert_eq!(pool.computations(), 4);
    }

    #[tokio::test]
    async fn a_foreign_hash_with_more_memory_leaves_the_pool_usable() {
        let pool = pool(1, 4);
        let foreign = PasswordHash::parse(
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        )
        .unwrap();
        assert!(pool.verify(&password("password"), &foreign).await.unwrap());
        let hash = pool.hash(&password("grafana-pass-1")).await.unwrap();
        assert!(pool.verify(&password("grafana-pass-1"), &hash).await.unwrap());
    }

    #[tokio::test]
    async fn a_full_queue_says_when_to_come_again() {
        // Without threads everything waits.
        let params = HashParams::default();
        let pool =
            HashPool { queue: Arc::new(Queue::new(1)), params, computations: Arc::default() };
        let secret = password("grafana-pass-1");
        let mut waiting = Box::pin(pool.dummy(&secret));
        assert!(futures_util::poll!(&mut waiting).is_pending());

        let error = pool.dummy(&secret).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooManyRequests);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
        assert_eq!(pool.waiting(), 1);
    }

    #[tokio::test]
    async fn a_new_password_is_hashed_although_log_ins_fill_the_queue() {
        let queue = Arc::new(Queue::new(1));
        let params = HashParams::new(8, 1, 1).unwrap();
        let pool = HashPool { queue, params, computations: Arc::default() };
        let secret = password("grafana-pass-1");
        let (mut log_in, mut change) =
            (Box::pin(pool.dummy(&secret)), Box::pin(pool.hash(&secret)));
        assert!(futures_util::poll!(&mut log_in).is_pending());
        assert!(futures_util::poll!(&mut change).is_pending());
        assert!(
            matches!(pool.queue.pop(Duration::MAX, || {}), Some(Job::Hash(..))),
            "the log-in went first"
        );
    }

    #[test]
    fn zero_threads_and_an_empty_queue_are_refused() {
        for (threads, queue) in [(0, 1), (1, 0)] {
            let config = HashPoolConfig { threads, queue, ..HashPoolConfig::default() };
            assert!(HashPool::start(config, Arc::new(SystemRandom)).is_err());
        }
    }
}
