//! The threads that hash passwords: few, with memory of their own and a bounded queue.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::hash::Arena;
use super::queue::{self, Full, Lane, Queue, Ticket};
use super::{HashParams, HashPoolConfig, Password, PasswordHash};
use crate::config::InvalidConfig;
use crate::{Error, ErrorKind, Random};

/// A fixed number of threads that compute and verify password hashes.
///
/// Each thread reuses its memory, so that the pool takes at most `threads × memory` however many logins
/// arrive at once, and none after a while without logins. A computation that has begun is finished even
/// if the future of its result was dropped; one that has not begun is dropped. Dropping the last handle
/// ends the threads.
pub struct HashPool {
    queue: Arc<Queue<Job>>,
    config: HashPoolConfig,
    counts: Arc<Counts>,
}

/// What the threads measure.
#[derive(Default)]
struct Counts {
    computations: AtomicU64,
    /// The mean time of a computation in nanoseconds, of which recent ones count more; 0 before
    /// the first.
    mean_nanos: AtomicU64,
}

impl Counts {
    fn add(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        let next = |mean: u64| match mean {
            0 => took,
            mean => mean - mean / 8 + took / 8,
        };
        // Of two concurrent updates one is lost, which is harmless.
        self.mean_nanos.store(next(self.mean_nanos.load(Ordering::Relaxed)), Ordering::Relaxed);
    }

    fn mean(&self) -> Duration {
        Duration::from_nanos(self.mean_nanos.load(Ordering::Relaxed))
    }
}

/// Hooks of the throttle at the begin and the end of a computation.
pub(crate) trait Admission: Send {
    /// Decides whether the computation may begin.
    fn begin(&mut self) -> Result<(), Error>;

    /// Called if the password is right and the login was dropped meanwhile.
    fn right_without_login(&mut self);
}

/// Admits every computation.
struct Always;

impl Admission for Always {
    fn begin(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn right_without_login(&mut self) {}
}

enum Job {
    Hash(Password, oneshot::Sender<Result<PasswordHash, Error>>),
    Verify { password: Password, against: Against, admission: Box<dyn Admission>, reply: Reply },
}

type Reply = oneshot::Sender<Result<bool, Error>>;

/// What a password is compared with.
pub(crate) enum Against {
    Hash(PasswordHash),
    /// Nothing: a hash is computed and discarded (the dummy verify), so that a username without a hash
    /// costs the same.
    Nothing,
}

impl queue::Job for Job {
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Hash(_, reply) => reply.is_closed(),
            Self::Verify { reply, .. } => reply.is_closed(),
        }
    }
}

/// Says that the pool could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HashError {
    /// A setting is out of bounds.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// A thread could not be started.
    #[error("could not start a thread of the hash pool")]
    Thread(#[source] std::io::Error),
}

/// Too many passwords wait for their hashes: the source of an [`ErrorKind::Unavailable`].
#[derive(Clone, Copy, Debug, Error)]
#[error("{waiting} password hashes wait for {threads} threads, and a hash takes {mean:?}")]
pub(crate) struct Overloaded {
    waiting: usize,
    threads: usize,
    mean: Duration,
}

impl Overloaded {
    /// Makes the error, with the time after which to retry.
    pub(crate) fn into_error(self, retry_after: Duration) -> Error {
        Error::new(ErrorKind::Unavailable, "too many logins at once, try again later")
            .with_source(self)
            .with_retry_after(retry_after)
    }
}

impl HashPool {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// [`HashError::Config`] for settings that are out of bounds, [`HashError::Thread`] when the
    /// operating system starts no thread.
    pub fn start(config: HashPoolConfig, random: Arc<dyn Random>) -> Result<Self, HashError> {
        config.validate()?;
        // If a thread cannot be started, dropping this ends those that were.
        let pool =
            Self { queue: Arc::new(Queue::new(config.queue)), config, counts: Arc::default() };
        for number in 0..config.threads {
            let worker = Worker {
                queue: Arc::clone(&pool.queue),
                params: config.params,
                idle_memory_timeout: config.idle_memory_timeout,
                random: Arc::clone(&random),
                counts: Arc::clone(&pool.counts),
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
        self.config.params
    }

    /// Returns how many hashes were computed since the start, for any purpose.
    pub fn computations(&self) -> u64 {
        self.counts.computations.load(Ordering::Relaxed)
    }

    /// Returns how many computations wait for a thread.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Returns the moving average of the time of a computation; zero before the first.
    pub fn mean_time(&self) -> Duration {
        self.counts.mean()
    }

    /// Hashes a new password with a random salt. Needs a tokio runtime with its time driver enabled.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] when it would have to wait for longer than
    /// [`HashPoolConfig::max_wait`], [`ErrorKind::Internal`] when the computation fails.
    pub async fn hash(&self, password: &Password) -> Result<PasswordHash, Error> {
        self.hash_for(password, None).await
    }

    /// Like [`HashPool::hash`], for a caller that takes turns with other callers.
    pub(crate) async fn hash_for(
        &self,
        password: &Password,
        caller: Option<u64>,
    ) -> Result<PasswordHash, Error> {
        let (reply, result) = oneshot::channel();
        let ticket = Ticket { lane: Lane::NewPassword, flows: [caller, None] };
        self.submit(ticket, Job::Hash(password.clone(), reply), result)?.await
    }

    /// Tells whether the password is the one of the hash. Needs a tokio runtime with its time
    /// driver enabled.
    ///
    /// # Errors
    ///
    /// The same as [`HashPool::hash`].
    pub async fn verify(&self, password: &Password, hash: &PasswordHash) -> Result<bool, Error> {
        let against = Against::Hash(hash.clone());
        self.begin(Ticket::LOGIN, password.clone(), against, Box::new(Always))?.await
    }

    /// Takes as long as [`HashPool::verify`] does for a hash with the current parameters.
    ///
    /// # Errors
    ///
    /// The same as [`HashPool::verify`].
    pub async fn dummy(&self, password: &Password) -> Result<(), Error> {
        let always = Box::new(Always);
        self.begin(Ticket::LOGIN, password.clone(), Against::Nothing, always)?.await.map(drop)
    }

    /// Queues a verification, and returns a future of its result. When its turn comes, `admission`
    /// decides whether it may still begin.
    pub(crate) fn begin(
        &self,
        ticket: Ticket,
        password: Password,
        against: Against,
        admission: Box<dyn Admission>,
    ) -> Result<impl Future<Output = Result<bool, Error>> + Send + use<>, Error> {
        let (reply, result) = oneshot::channel();
        self.submit(ticket, Job::Verify { password, against, admission, reply }, result)
    }

    fn submit<T: Send>(
        &self,
        ticket: Ticket,
        job: Job,
        result: oneshot::Receiver<Result<T, Error>>,
    ) -> Result<impl Future<Output = Result<T, Error>> + Send + use<T>, Error> {
        match self.queue.push(ticket, job, self.most_ahead()) {
            Ok(None) => {}
            Ok(Some(Job::Hash(_, reply))) => {
                let _ = reply.send(Err(self.overloaded(self.config.queue)));
            }
            Ok(Some(Job::Verify { reply, .. })) => {
                let _ = reply.send(Err(self.overloaded(self.config.queue)));
            }
            Err(Full { ahead }) => return Err(self.overloaded(ahead)),
        }
        let max_wait = self.config.max_wait;
        let timed_out = Overloaded { waiting: self.waiting(), ..self.overload() };
        Ok(async move {
            match timeout(max_wait, result).await {
                Ok(result) => result.unwrap_or_else(|_| Err(Error::internal(WorkerEnded))),
                Err(_) => Err(timed_out.into_error(Duration::from_secs(1))),
            }
        })
    }

    /// Returns how many computations can be done within the longest wait.
    fn most_ahead(&self) -> usize {
        let Some(mean) = Some(self.counts.mean()).filter(|mean| !mean.is_zero()) else {
            return self.config.queue;
        };
        let rounds = self.config.max_wait.as_nanos() / mean.as_nanos();
        usize::try_from(rounds).unwrap_or(usize::MAX).saturating_mul(self.config.threads).max(1)
    }

    fn overload(&self) -> Overloaded {
        Overloaded { waiting: 0, threads: self.config.threads, mean: self.counts.mean() }
    }

    /// The error for a job with so many ahead of it. Its time to retry is when, without further jobs, the
    /// wait would be short enough.
    fn overloaded(&self, ahead: usize) -> Error {
        let overload = Overloaded { waiting: ahead, ..self.overload() };
        let rounds = u32::try_from(ahead / self.config.threads.max(1)).unwrap_or(u32::MAX);
        let all = overload.mean.saturating_mul(rounds);
        let until = all.saturating_sub(self.config.max_wait).max(Duration::from_secs(1));
        overload.into_error(until)
    }
}

impl Drop for HashPool {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl fmt::Debug for HashPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashPool").field("config", &self.config).finish_non_exhaustive()
    }
}

#[derive(Debug, Error)]
#[error("a thread of the hash pool ended early")]
struct WorkerEnded;

struct Worker {
    queue: Arc<Queue<Job>>,
    params: HashParams,
    idle_memory_timeout: Duration,
    random: Arc<dyn Random>,
    counts: Arc<Counts>,
}

impl Worker {
    fn run(self) {
        let mut arena = Arena::default();
        while let Some(job) = self.queue.pop(self.idle_memory_timeout, || arena.release()) {
            // Abandoned since it was removed from the queue.
            if !queue::Job::is_abandoned(&job) {
                self.work(job, &mut arena);
            }
            arena.release_above(self.params);
        }
    }

    fn work(&self, job: Job, arena: &mut Arena) {
        match job {
            Job::Hash(password, reply) => {
                let _ = reply.send(self.measured(|| self.hash(&password, arena)));
            }
            Job::Verify { password, against, mut admission, reply } => {
                let result = admission.begin().and_then(|()| {
                    self.measured(|| match against {
                        Against::Hash(hash) => hash.matches(&password, arena),
                        Against::Nothing => self.hash(&password, arena).map(|_| false),
                    })
                });
                if let Err(Ok(true)) = reply.send(result) {
                    admission.right_without_login();
                }
            }
        }
    }

    fn hash(&self, password: &Password, arena: &mut Arena) -> Result<PasswordHash, Error> {
        PasswordHash::compute(password, self.params, self.random.as_ref(), arena)
    }

    fn measured<T>(&self, compute: impl FnOnce() -> T) -> T {
        self.counts.computations.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        let done = compute();
        self.counts.add(began.elapsed());
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemRandom;

    fn pool(threads: usize, queue: usize) -> HashPool {
        let params = HashParams::new(8, 1, 1).unwrap();
        let default = HashPoolConfig::default();
        let config = default.params(params).threads(threads).queue(queue);
        let config = config.idle_memory_timeout(Duration::MAX);
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

    /// A pool without threads, in which every job waits.
    fn stopped(change: impl FnOnce(HashPoolConfig) -> HashPoolConfig) -> HashPool {
        let params = HashParams::new(8, 1, 1).unwrap();
        let default = HashPoolConfig::default().params(params).threads(2);
        let config = change(default);
        HashPool { queue: Arc::new(Queue::new(config.queue)), config, counts: Arc::default() }
    }

    #[tokio::test]
    async fn a_full_queue_refuses_with_the_time_to_retry() {
        let pool = stopped(|config| config.queue(1));
        let secret = password("grafana-pass-1");
        let mut waiting = Box::pin(pool.dummy(&secret));
        assert!(futures_util::poll!(&mut waiting).is_pending());

        let error = pool.dummy(&secret).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
        assert_eq!(pool.waiting(), 1);
    }

    /// [QUEUE-2]
    #[tokio::test]
    async fn a_login_that_would_wait_too_long_is_refused_with_the_time_to_retry() {
        let pool = stopped(|config| config.max_wait(Duration::from_secs(2)));
        // Two threads and a second for each hash: four can be done within two seconds.
        pool.counts.add(Duration::from_secs(1));
        let secret = password("grafana-pass-1");
        let mut waiting: Vec<_> = (0..5).map(|_| Box::pin(pool.dummy(&secret))).collect();
        for login in &mut waiting {
            assert!(futures_util::poll!(login).is_pending());
        }
        let error = pool.dummy(&secret).await.unwrap_err();
        assert_eq!((error.kind(), pool.waiting()), (ErrorKind::Unavailable, 5));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));

        let queue = 100;
        let pool = stopped(|config| config.queue(queue));
        let mut waiting: Vec<_> = (0..100).map(|_| Box::pin(pool.dummy(&secret))).collect();
        for login in &mut waiting {
            assert!(futures_util::poll!(login).is_pending());
        }
        pool.counts.add(Duration::from_secs(1));
        let error = pool.dummy(&secret).await.unwrap_err();
        // One hundred are done in 50 seconds, of which a login may wait for ten.
        assert_eq!(error.retry_after(), Some(Duration::from_secs(40)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_waits_for_the_configured_time_and_is_refused_with_the_time_to_retry() {
        let pool = stopped(|config| config);
        let began = tokio::time::Instant::now();
        let error = pool.dummy(&password("grafana-pass-1")).await.unwrap_err();
        assert_eq!(began.elapsed(), Duration::from_secs(10));
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.retry_after().is_some());
    }

    /// [QUEUE-5]
    #[tokio::test]
    async fn new_passwords_and_logins_take_turns() {
        let pool = stopped(|config| config);
        let secret = password("grafana-pass-1");
        let mut logins: Vec<_> = (0..10).map(|_| Box::pin(pool.dummy(&secret))).collect();
        for login in &mut logins {
            assert!(futures_util::poll!(login).is_pending());
        }
        let mut change = Box::pin(pool.hash(&secret));
        assert!(futures_util::poll!(&mut change).is_pending());
        let first_two = [(); 2].map(|()| pool.queue.pop(Duration::MAX, || {}).unwrap());
        let new = first_two.iter().filter(|job| matches!(job, Job::Hash(..))).count();
        assert_eq!(new, 1);
    }

    #[tokio::test]
    async fn a_verification_that_is_no_longer_admitted_is_not_computed() {
        let pool = pool(1, 4);
        struct TooMany;
        impl Admission for TooMany {
            fn begin(&mut self) -> Result<(), Error> {
                Err(Error::invalid("too many by now"))
            }
            fn right_without_login(&mut self) {}
        }
        let admission = Box::new(TooMany);
        let secret = password("grafana-pass-1");
        let begun = pool.begin(Ticket::LOGIN, secret, Against::Nothing, admission);
        assert_eq!(begun.unwrap().await.unwrap_err().message(), "too many by now");
        assert_eq!(pool.computations(), 0);
    }
}
